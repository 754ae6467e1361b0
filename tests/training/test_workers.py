"""Jobs of two processes on this machine, as a user starts them."""

import json
import socket
import subprocess

import numpy as np
import pytest

from tests.launching import ROOT, command, environment, launch

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
    """Starts a worker for each folder, which they take for the run's."""
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
    return [(*process.communicate(timeout=240), process.returncode) for process in processes]


def numbers(folder, phase):
    """Losses, perplexities and rewards of all records, in order."""
    lines = (folder / phase / "metrics.jsonl").read_text().splitlines()
    wanted = ("loss", "perplexity", "reward")
    return [[json.loads(line).get(name, 0) for name in wanted] for line in lines]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    for split, lines in (("train", 200), ("valid", 60), ("test", 4)):
        text = [" ".join(generator.choice(["some", "other", "word"], 5)) for _ in range(lines)]
        (folder / f"{split}.txt").write_text("\n".join(text) + "\n")
    return f"--dataset=text:{folder}"


def test_two_workers_do_as_one_process(corpus, tmp_path):
    alone = launch(corpus, *NO_DROPOUT, f"--workdir={tmp_path / 'alone'}", launcher="ptb_rnn")
    assert alone.status == 0, alone.stderr
    ended = start_workers([corpus, *NO_DROPOUT], [tmp_path / "together"] * 2)
    for _, stderr, status in ended:
        assert status == 0, stderr
    for phase in ("search", "train"):
        ours, wanted = (numbers(tmp_path / name, phase) for name in ("together", "alone"))
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)
    assert (tmp_path / "together/arc.txt").read_text() == (tmp_path / "alone/arc.txt").read_text()
    # One export, by the chief alone.
    assert len(list(tmp_path.glob("together/export/ptb_rnn/[0-9]*"))) == 1


def test_workers_that_do_not_see_one_folder_are_told(corpus, tmp_path):
    ended = start_workers([corpus], [tmp_path / "mine", tmp_path / "yours"])
    assert ended[1][2] == 2
    assert "yours is not the chief's folder; --workdir must be on a file system" in ended[1][1]
    assert "Traceback" not in ended[0][1] + ended[1][1]
    assert ended[0][2] == 2


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "needs the environment variable TF_CONFIG"),
    ],
)
def test_a_job_without_a_cluster_is_refused(tmp_path, config, line):
    environment_of_one = environment() | ({"TF_CONFIG": config} if config else {})
    done = subprocess.run(
        command("search", "--strategy=multiworker", f"--workdir={tmp_path}", launcher="ptb_rnn"),
        cwd=ROOT,
        env=environment_of_one,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert line in done.stderr and "Traceback" not in done.stderr
