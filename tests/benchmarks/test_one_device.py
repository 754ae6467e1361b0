"""One real measurement of the quickest case; all else with programs in the benchmark's place."""

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks import one_device
from tests.launching import ROOT, environment

RESULT = {"step_seconds": 0.5, "step_cpu_seconds": 0.25, "first_step_seconds": 7.5, "device": "X"}


@pytest.fixture
def given(tmp_path):
    return one_device.read(
        [f"--output={tmp_path / 'out.jsonl'}", "--cases=rnn_search,input_pipeline", "--warm="]
    )


@pytest.fixture
def programs(monkeypatch):
    """Python code for each `how`, in the benchmark's place; returns it and what was started."""
    code = dict.fromkeys(("plain", "compiled", "warm"), f"print({json.dumps(RESULT)!r})")
    started = []

    def command(one, given):
        started.append((one["case"], one["how"]))
        return [sys.executable, "-c", code[one["how"]]]

    monkeypatch.setattr(one_device, "command", command)
    return code, started


def records(given):
    return [json.loads(line) for line in given.output.read_text().splitlines()]


def test_all_is_every_space_and_the_pipeline_compiled_and_not():
    given = one_device.read(["--output=x", "--precisions=float32,mixed_bfloat16"])
    wanted = list(map(one_device.name_of, one_device.wanted(given)))
    # 18 cases, 2 precisions, compiled and not; warm of one case; the pipeline once.
    assert len(set(wanted)) == len(wanted) == 18 * 2 * 2 + 2 + 1
    assert wanted[:3] == [("micro_search", "float32", how) for how in ("plain", "compiled", "warm")]
    assert wanted[-1] == ("input_pipeline", "float32", "plain")


def test_gives_the_benchmark_its_flags(given):
    one = {"case": "rnn_search", "precision": "mixed_bfloat16", "how": "warm"}
    assert one_device.command(one, given)[3:] == [
        "--case=rnn_search",
        "--precision=mixed_bfloat16",
        "--json",
        "--jit_compile=true",
        "--batch=0",
        "--steps=20",
    ]
    assert "--jit_compile=false" in one_device.command(one | {"how": "plain"}, given)


def test_goes_on_after_what_the_file_holds(given, programs, capsys):
    _, started = programs
    old = {"case": "rnn_search", "precision": "float32", "how": "plain", **RESULT}
    given.output.write_text(json.dumps(old | {"step_seconds": 0.125, "peak_gpu_mb": 12.5}) + "\n")
    one_device.run(given)
    assert started == [("rnn_search", "compiled"), ("input_pipeline", "plain")]
    assert [one["step_seconds"] for one in records(given)] == [0.125, 0.5, 0.5]
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == [
        ["rnn_search", "float32", "plain", "125", "250", "7.5", "12.5", "X"],
        ["rnn_search", "float32", "compiled", "500", "250", "7.5", "X"],
        ["input_pipeline", "float32", "plain", "500", "250", "7.5", "X"],
    ]
    one_device.run(given)
    assert len(started) == 2


def test_a_measurement_that_fails_does_not_stop_the_rest(given, programs, tmp_path):
    code, _ = programs
    child = "import time; time.sleep(3); open({!r}, 'w')".format(str(tmp_path / "alive"))
    code["plain"] = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    code["compiled"] = (
        "import sys; print('first', 'error: no memory', sep='\\n', file=sys.stderr); sys.exit(2)"
    )
    given.limit = 1
    one_device.run(given)
    assert [one["error"] for one in records(given)] == [
        "did not end within 1 s",
        "status 2: error: no memory",
        "did not end within 1 s",
    ]
    # Nor does a process that the benchmark started live on.
    time.sleep(3)
    assert not (tmp_path / "alive").exists()


def test_starts_nothing_that_may_not_end_within_the_budget(given, programs, capsys):
    given.budget = given.limit - 1
    one_device.run(given)
    assert not programs[1] and not given.output.exists()
    printed = capsys.readouterr()
    assert "the budget is spent" in printed.err and printed.out == "nothing is measured yet\n"


def test_a_warm_start_finds_the_programs_of_the_first_and_of_no_earlier_one(given, programs):
    code, _ = programs
    given.warm = ["rnn_search"]
    kept = "import json, os; flag = os.environ['ENAS_TF_XLA_CACHE'];"
    code["compiled"] = kept + "os.makedirs(flag); open(flag + '/program', 'w'); print('{}')"
    code["warm"] = kept + "print(json.dumps({'found': os.listdir(flag)}))"
    old = given.output.with_name("out.jsonl.programs") / "float32/rnn_search/old"
    old.parent.mkdir(parents=True)
    old.touch()
    one_device.run(given)
    assert records(given)[2] == {
        "case": "rnn_search",
        "precision": "float32",
        "how": "warm",
        "found": ["program"],
    }
    assert os.environ["ENAS_TF_XLA_CACHE"] == ""


def test_there_is_no_warm_start_without_programs(given, programs):
    given.warm = ["rnn_search"]
    one_device.run(given)
    assert records(given)[2]["error"] == "XLA kept no program of the first time"


@pytest.mark.parametrize("wrong", ["--cases=rnn_serach", "--precisions=float16"])
def test_names_what_it_does_not_know(wrong, capsys):
    with pytest.raises(SystemExit):
        one_device.read(["--output=x", wrong])
    assert wrong.split("=")[1] in capsys.readouterr().err


def test_measures_in_fact(tmp_path):
    options = [f"--output={tmp_path / 'out.jsonl'}", "--cases=input_pipeline", "--steps=1"]
    command = [sys.executable, "-m", "benchmarks.one_device", *options, "--batch=2"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (record,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (record["how"], record["batch"]) == ("plain", 2)
    assert record["images_per_second"] == pytest.approx(2 / record["step_seconds"])
    assert "input_pipeline" in done.stdout.splitlines()[1]
