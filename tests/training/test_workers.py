"""Jobs of two processes on this machine, as a user starts them."""

import json
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.launching import ROOT, command, environment, launch
from tests.slurm_jobs import ended, figures, start_job

NO_DROPOUT = [
    f"--{config}.drop_{place}=0"
    for config in ("child", "train")
    for place in ("word", "embedding", "input", "node", "output")
]


def free_address():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def start_workers(arguments, folders):
    """Starts a worker for each folder, which they take for the run's, by TF_CONFIG."""
    addresses = [free_address() for _ in folders]
    processes = []
    for index, folder in enumerate(folders):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        arguments_of_one = [*arguments, f"--workdir={folder}", "--strategy=multiworker"]
        processes.append(
            subprocess.Popen(
                command(*arguments_of_one, launcher="ptb_rnn"),
                cwd=ROOT,
                # gRPC would look for this machine behind the proxy.
                env=environment() | {"TF_CONFIG": cluster, "no_proxy": "127.0.0.1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    for split, lines in (("train", 200), ("valid", 60), ("test", 4)):
        text = [" ".join(generator.choice(["some", "other", "word"], 5)) for _ in range(lines)]
        (folder / f"{split}.txt").write_text("\n".join(text) + "\n")
    return f"--dataset=text:{folder}"


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """The folder of a run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    done = launch(corpus, *NO_DROPOUT, f"--workdir={folder}", launcher="ptb_rnn")
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def stopped(corpus, tmp_path_factory):
    """The folder of a Slurm job of two processes that was stopped in its search."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    job = start_job("ptb_rnn", [corpus, *NO_DROPOUT], folder, 2)
    metrics = folder / "search/metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size, job)
    for process in job:
        process.terminate()
    chief, other = ended(job)
    assert chief.status == 143 and "the same command goes on from there" in chief.stderr
    assert other.status == 2 and "another worker of this job has ended" in other.stderr
    assert "Traceback" not in chief.stderr + other.stderr
    return folder


def wait_until(is_there, job):
    """Waits, but not for a job that has failed."""
    while not is_there() and all(process.poll() is None for process in job):
        time.sleep(0.05)


def test_a_stopped_job_of_two_processes_goes_on_and_does_as_one(stopped, alone, corpus, tmp_path):
    folder = tmp_path / "together"
    shutil.copytree(stopped, folder)
    for worker in ended(start_job("ptb_rnn", [corpus, *NO_DROPOUT], folder, 2)):
        assert worker.status == 0, worker.stderr
        assert "resuming at step" in worker.stdout
    for phase in ("search", "train"):
        np.testing.assert_allclose(figures(folder, phase), figures(alone, phase), rtol=1e-5)
    assert (folder / "arc.txt").read_text() == (alone / "arc.txt").read_text()
    # One export, by the chief alone.
    assert len(list(folder.glob("export/ptb_rnn/[0-9]*"))) == 1


def test_a_job_goes_on_with_another_number_of_processes(stopped, alone, corpus, tmp_path):
    folder = tmp_path / "fewer"
    shutil.copytree(stopped, folder)
    done = launch("search", corpus, *NO_DROPOUT, f"--workdir={folder}", launcher="ptb_rnn")
    assert done.status == 0, done.stderr
    assert "resuming at step" in done.stdout
    np.testing.assert_allclose(figures(folder), figures(alone), rtol=1e-5)


def test_workers_that_do_not_see_one_folder_are_told(corpus, tmp_path):
    mine, yours = ended(start_workers([corpus], [tmp_path / "mine", tmp_path / "yours"]))
    assert mine.status == yours.status == 2
    assert "yours is not the chief's folder; --workdir must be on a file system" in yours.stderr
    assert "Traceback" not in mine.stderr + yours.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        "cifar_macro",
        "cifar_micro",
        "nasbench201",
        "nasbench201 --jit_compile",
        "ptb_rnn",
        "ptb_rnn --jit_compile",
    ],
)
def test_two_processes_search_as_two_logical_devices_do(command):
    launcher, *flags = command.split()
    script = [sys.executable, "-m", "tests.slurm_jobs", f"--launcher={launcher}", *flags]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
