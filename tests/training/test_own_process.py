"""What a process does that another one has started; without TensorFlow."""

import pickle
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from enas_tf.training.own_process import main; sys.exit(main())"

# As a session does, it stops at SIGTERM with its work done so far.
WORKS_ON = """
import os, signal, time
from enas_tf.core.errors import Preempted
def stop(number, frame): raise Preempted('stopped at step 7', number)
signal.signal(signal.SIGTERM, stop)
open('ready', 'w').close()
end = time.monotonic() + 60
while time.monotonic() < end: time.sleep(0.01)
"""


def start(folder, code):
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]; {PROGRAM}"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=False,
    )
    work = pickle.dumps((partial(str, f"exec({code!r}, {{}})"), exec))
    pickle.dump(((), "json", work), process.stdin)
    process.stdin.flush()
    return process


def test_it_does_not_live_on_without_the_process_that_started_it(tmp_path):
    process = start(tmp_path, WORKS_ON)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    # What the system does where that process ends, however it ends.
    process.stdin.close()
    assert process.wait(30) == 143
    assert process.stdout.read() == b"stopped at step 7\n"


def test_ctrl_c_is_left_to_the_process_that_started_it(tmp_path):
    process = start(tmp_path, "import os; os.kill(os.getpid(), 2); print('on')")
    assert process.wait(30) == 0
    assert process.stdout.read() == b"on\n"


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    process = start(tmp_path, "import sys; sys.stderr = sys.stdout; 1 / 0")
    assert process.wait(30) == 1
    assert process.stdout.read().strip().endswith(b"ZeroDivisionError: division by zero")
