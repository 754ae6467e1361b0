"""The benchmark's command line; one case is measured, the quickest."""

import json
import subprocess
import sys
import time

import pytest

from enas_tf.benchmark import base
from launchers import benchmark
from launchers.benchmark import main
from tests.launching import ROOT, environment


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--case=micro_search,nano_search", ["'nano_search'", "input_pipeline", "macro_final"]),
        ("--steps=0", ["steps must be at least 1"]),
        ("micro_search", ["--case=micro_search"]),
    ],
)
def test_tells_a_mistake_in_one_line(capsys, argument, words):
    assert main(["benchmark", argument]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert all(word in printed.err for word in words)


@pytest.mark.parametrize(
    ("of_process", "status", "told"), [(2, 2, ""), (-9, 1, "b_case ended with status -9\n")]
)
def test_stops_at_a_case_that_fails(monkeypatch, capsys, of_process, status, told):
    given = []

    def run(command, **options):
        given.append([command, options["env"][benchmark._STARTED]])
        statuses = [0, of_process]
        return subprocess.CompletedProcess(command, statuses[len(given) - 1], '{"step": 0.5}\n')

    monkeypatch.setattr(base, "CASES", ("a_case", "b_case", "c_case"))
    monkeypatch.setattr(subprocess, "run", run)
    before = time.time()
    assert main(["benchmark", "--steps=3", "--json", "--precision=mixed_float16"]) == status
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ('{"step": 0.5}\n', told)
    assert [command[3] for command, _ in given] == ["--case=a_case", "--case=b_case"]
    assert {"--steps=3", "--jit_compile=auto", "--precision=mixed_float16"} < {*given[0][0]}
    assert before <= float(given[0][1]) <= float(given[1][1]) <= time.time()


def test_prints_a_table(monkeypatch, capsys):
    done = subprocess.CompletedProcess([], 0, '{"case": "rnn_sample", "params": 3}')
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert main(["benchmark", "--case=rnn_sample,rnn_static"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].split() == ["case", "params"]
    assert len(printed.out.splitlines()) == 3
    assert printed.err == "measuring rnn_sample\nmeasuring rnn_static\n"


def test_prints_one_json_object_a_case():
    done = launch("--case=rnn_sample", "--steps=1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["case"] == "rnn_sample"
    assert result["params"] == 41_344
    assert result["first_step_seconds"] > result["trace_seconds"] > 0


def launch(*arguments):
    command = [sys.executable, "-m", "launchers.benchmark", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
