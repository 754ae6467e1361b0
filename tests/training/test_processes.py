"""Processes that run Python code of a line or two, without TensorFlow."""

import os
import signal
from functools import partial

import pytest

from enas_tf.core.errors import NotFinite, Preempted, UserError
from enas_tf.training import processes
from enas_tf.training.processes import Job, raise_failures, run_jobs

# As a session does, it writes a "checkpoint" when it is asked to stop.
WORKS_ON = """
import os, pathlib, signal, time
from enas_tf.core.errors import Preempted
def stop(number, frame):
    pathlib.Path('saved %s').touch()
    raise Preempted('stopped at step 7', number)
signal.signal(signal.SIGTERM, stop)
pathlib.Path('ready %s').touch()
while True: time.sleep(0.01)
"""


def job(folder, name, code, **more):
    # With globals of its own, so that its functions find what it imports.
    own = f"exec({code!r}, {{}})"
    return Job(name, folder / name, partial(str, own), exec, module="json", **more)


@pytest.fixture(autouse=True)
def soon(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(processes, "_PLAIN_INTERVAL", 0.1)


@pytest.fixture(autouse=True)
def heeded():
    """Has this process heed signals, also where a shell has it ignore them, as by nohup."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_two_at_a_time_and_one_that_fails_stops_no_other(tmp_path, capfd):
    code = (
        "import os, time\nopen('{}', 'w').close()\nwhile not os.path.exists('{}'): time.sleep(.01)"
    )
    errors = "from enas_tf.core.errors import {0}; raise {0}('no such data')"
    jobs = [
        job(tmp_path, "seed 0", code.format("a", "b")),
        job(tmp_path, "seed 1", code.format("b", "a") + "\nprint('warning: hot'); time.sleep(0.3)"),
        job(tmp_path, "seed 2", errors.format(UserError.__name__)),
        job(tmp_path, "seed 3", errors.format(NotFinite.__name__)),
        job(tmp_path, "seed 4", "import os; print('step 9'); os.kill(os.getpid(), 9)"),
    ]
    # The last two run at once, and either may end first.
    failures = sorted(run_jobs(jobs, 2, "seeds"), key=lambda one: one.job.name)
    assert [one.job for one in failures] == jobs[2:]
    assert [one.status for one in failures] == [2, 3, -9]
    assert [one.not_finite for one in failures] == [False, True, False]
    shown = capfd.readouterr()
    assert "seeds: 5 to do, 2 at a time" in shown.out and "seed 1: warning: hot\n" in shown.out
    assert "seed 1: done after " in shown.out and "done, " in shown.out
    assert f": no such data ({tmp_path}/seed 2/log.txt)\n" in shown.err
    assert "ended by SIGKILL; before: step 9" in shown.err
    with pytest.raises(RuntimeError, match=r"3 of 5 failed \(seed 2, seed 3, seed 4\); the same"):
        raise_failures(failures, 5)
    with pytest.raises(UserError, match=r"2 of 5 failed \(seed 2, seed 3\)"):
        raise_failures(failures[:2], 5)
    raise_failures([], 5)


def test_the_newest_line_is_shown_and_the_log_is_kept_or_begun_anew(tmp_path, capfd):
    run_jobs([job(tmp_path, "seed 0", "import time; print('step 1'); time.sleep(0.4)")], 1, "seeds")
    assert "seed 0: step 1\n" in capfd.readouterr().out
    run_jobs([job(tmp_path, "seed 0", "print('step 2')")], 1, "seeds")
    log = tmp_path / "seed 0/log.txt"
    assert log.read_text() == "step 1\nstep 2\n"
    run_jobs([job(tmp_path, "seed 0", "print('step 3')", new_log=True)], 1, "seeds")
    assert log.read_text() == "step 3\n"


def test_each_has_its_share_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,MIG-1")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    code = (
        "import os; get = os.environ.get; print(get('CUDA_VISIBLE_DEVICES'), "
        "get('TF_NUM_INTRAOP_THREADS'), sorted(os.sched_getaffinity(0)))"
    )
    run_jobs([job(tmp_path, name, code) for name in ("a", "b")], 2, "seeds")
    shown = {(tmp_path / name / "log.txt").read_text() for name in ("a", "b")}
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // 2)
    parts = cores[:each], cores[each : 2 * each] or cores[:each]
    assert shown == {f"5 {len(cores)} {parts[0]}\n", f"MIG-1 {len(cores)} {parts[1]}\n"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_all_with_their_checkpoints(tmp_path, capfd, number):
    before = signal.getsignal(number)
    sends = "import os, time\nwhile not os.path.exists('ready a'): time.sleep(0.01)\n"
    sends += f"os.kill(os.getppid(), {int(number)}); time.sleep(60)"
    jobs = [job(tmp_path, "a", WORKS_ON % ("a", "a")), job(tmp_path, "b", sends)]
    jobs += [job(tmp_path, "c", "open('begun', 'w')")]
    stop = KeyboardInterrupt if number == signal.SIGINT else Preempted
    with pytest.raises(stop) as raised:
        run_jobs(jobs, 2, "seeds")
    if stop is Preempted:
        assert raised.value.signal == number and str(raised.value) == "stopped with 0 of 3 done"
    assert (tmp_path / "saved a").exists() and not (tmp_path / "begun").exists()
    assert (tmp_path / "a/log.txt").read_text() == "stopped at step 7\n"
    assert "seeds: stopping 2 processes\n" in capfd.readouterr().out
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_kills_what_does_not_stop(tmp_path):
    code = "import os, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: "
    code += "os.kill(os.getppid(), 2))\nos.kill(os.getppid(), 2)\nwhile True: time.sleep(0.01)"
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(tmp_path, "a", code)], 1, "seeds")
