"""Mistakes that users make: each ends with status 2 and one clear line."""

import os
import shutil

import pytest

from enas_tf.data.base import DataConfig
from enas_tf.data.images import load_images
from tests.launching import launch_in_turn, write_images

ARC = "0 0 1 1 0 2 1 4"


def damage(run, pattern):
    for path in run.glob(pattern):
        path.write_bytes(path.read_bytes()[:100])


@pytest.fixture(scope="module")
def copied(finished_run, tmp_path_factory):
    """Copies of the finished run, to be changed."""
    root = tmp_path_factory.mktemp("copies")
    for name in ("whole", "damaged", "unreadable"):
        shutil.copytree(finished_run[0], root / name)
    damage(root / "damaged", "train/checkpoints/step_*/variables.data*")
    damage(root / "unreadable", "train/checkpoints/best_*/variables.data*")
    (root / "damaged/train/result.json").unlink()
    return root


BAD = {
    "arc too short": (["train", "--arc=0 0 1"], "token"),
    "arc out of range": (["train", "--arc=0 0 1 1 0 2 1 9"], "token 8"),
    "arc of words": (["train", "--arc=0 0 1 x 0 2 1 4"], "token 4"),
    "arc of no name": (["describe", "--arc=micro_enos"], "micro_enas"),
    "unknown dataset": (["--dataset=nosuch"], "nosuch"),
    "no data": (["--dataset=cifar10", "--data_dir={root}/none"], "--dataset=digits runs offline"),
    "no folder": (["--dataset=folder:{root}/none"], "{root}/none does not exist"),
    "one class": (["--dataset=folder:{root}/one"], "1 class"),
    "odd filters": (["--child.out_filters=5"], "child.out_filters must be even"),
    "odd final filters": (["--train.out_filters=5"], "train.out_filters must be even"),
    "no epochs": (["--search.num_epochs=0"], "search.num_epochs must be at least 1, got 0"),
    "negative seed": (["--seed=-1"], "seed must be between 0 and 4294967295, got -1"),
    "large seed": (["--seed=5000000000"], "4294967295, got 5000000000"),
    "negative devices": (["--logical_devices=-1"], "logical_devices must not be negative, got -1"),
    "large batch": (["--train.batch_size=5000"], "batch size must be between 1 and"),
    "large reward batch": (["--search.batch_size=500"], "batch size must be between 1 and 179"),
    "another configuration": (["--workdir={whole}", "--seed=1"], "seed was 0 and is now 1"),
    "another arc to train": (
        ["train", "--workdir={whole}", f"--arc={ARC}"],
        "another architecture",
    ),
    "another arc": (["--workdir={whole}", f"--arc={ARC}"], "another architecture"),
    "damaged": (["train", "--workdir={damaged}"], "no checkpoint in {damaged}"),
    "unreadable": (["evaluate", "--workdir={unreadable}"], "cannot be read"),
    "under a file": (["--workdir={root}/file/run"], "cannot write {root}/file/run"),
    "read-only": (["--workdir=/proc/enas"], "cannot write /proc/enas"),
    "unknown verb": (["seek"], "give one verb of search, derive, train"),
    "two verbs": (["search", "train"], "give one verb of"),
    "unknown flag": (["--search.epochs=3"], "search.epochs"),
    "wrong value": (["--search.num_epochs=many"], "give a whole number"),
    "unknown preset": (["--preset=huge"], "one of paper, paper_text, tiny"),
    "evaluate first": (["evaluate"], "no trained network; run the verb train first"),
    "export first": (["export"], "no trained network; run the verb train first"),
    "derive first": (["derive"], "no search; run the verb search first"),
    "train first": (["train"], "run the verbs search and derive first, or give one by --arc"),
    "init of nothing": (["train", "--train.init="], "train.init must be none, shared, or a run's"),
    "init of no run": (["train", "--train.init={root}/none"], "a run's folder, got {root}/none"),
    "init without a search": (
        ["train", f"--arc={ARC}", "--train.init=shared"],
        "holds no finished search",
    ),
    "init without the best": (
        ["train", "--train.init={unreadable}"],
        "cannot be read",
    ),
    "init of other sizes": (
        ["train", "--train.init={whole}", "--train.out_filters=6", "--train.aux_head=false"],
        "train.out_filters is 6 and was 4 there",
    ),
    "another init": (
        ["train", "--workdir={whole}", "--train.init=shared"],
        'train.init was null and is now "shared"',
    ),
    "overwrite the search to start from": (
        ["train", "--workdir={whole}", f"--arc={ARC}", "--train.init=shared", "--overwrite"],
        "--overwrite would remove what train works on",
    ),
    "an image that breaks": (
        ["--dataset=folder:{root}/broken", "--data.in_memory=false", "--search.batch_size=4"],
        ".png can no longer be read (Unknown image file format",
    ),
    "sweep of another verb": (["--sweep=train.l2=0,1"], "with the verb train, not without a verb"),
    "sweep of other settings": (
        ["train", f"--arc={ARC}", "--sweep=search.num_epochs=1,2"],
        "--sweep varies settings of the final training, train.*; got search.num_epochs",
    ),
    "sweep of no setting": (
        ["train", f"--arc={ARC}", "--sweep=train.l2=0 train.lr_mx=1"],
        "Unknown command line flag 'train.lr_mx'. Did you mean: train.lr_max",
    ),
    "sweep of a wrong value": (
        ["train", f"--arc={ARC}", "--sweep=train.l2=0,much"],
        "--train.l2=much: give a number",
    ),
    "sweep of a bad value": (
        ["train", f"--arc={ARC}", "--sweep=train.num_epochs=1,0"],
        "train.num_epochs must be at least 1, got 0",
    ),
    "sweep in two flags": (
        ["train", f"--arc={ARC}", "--sweep=train.l2=0,1", "--sweep=train.keep_prob=1"],
        "--sweep=train.keep_prob=1: already defined as train.l2=0,1",
    ),
    "sweep without validation": (
        ["train", f"--arc={ARC}", "--sweep=train.l2=0,1", "--train.use_validation"],
        "give --train.use_validation=false",
    ),
    "sweep of no architecture": (
        ["train", "--sweep=train.l2=0,1"],
        "run the verbs search and derive first, or give one by --arc",
    ),
    "sweep with large batches": (
        ["train", f"--arc={ARC}", "--sweep=train.batch_size=16,5000"],
        "batch size must be between 1 and",
    ),
    "sweep from no run": (
        ["train", f"--arc={ARC}", "--sweep=train.init=none,{root}/none"],
        "a run's folder, got {root}/none",
    ),
    "seeds of a sweep": (
        ["train", f"--arc={ARC}", "--sweep=train.l2=0,1", "--seeds=2"],
        "--seeds repeats a search",
    ),
    "one of no sweep": (["train", f"--arc={ARC}", "--sweep_index=1"], "give --sweep too"),
    "no drawing": (["describe", f"--arc={ARC}", "--output={root}/cells.gif"], ".svg"),
}


def break_once_looked_through(folder):
    """Has images break after all were looked through, which the next run need not do again."""
    write_images(folder, 8, 8, 1)
    load_images(f"folder:{folder}", None, DataConfig(in_memory="false"))
    for file in (folder / "light").iterdir():
        stat = file.stat()
        file.write_bytes(b"x" * stat.st_size)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="module")
def bad(copied):
    """What commands with a mistake end with; and the names that stand for folders in them."""
    names = {"root": copied} | {n: copied / n for n in ("whole", "damaged", "unreadable")}
    (copied / "file").write_text("")
    write_images(copied / "pictures", 4, 4, 1, per_class=3)
    shutil.copytree(copied / "pictures/dark", copied / "one/dark")
    commands = {
        name: [f"--workdir={copied}/new {name}", *(word.format(**names) for word in words)]
        for name, (words, _) in BAD.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(copied / "home"))
        break_once_looked_through(copied / "broken")
        return launch_in_turn(copied, commands), names


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_gets_one_clear_line(bad, name):
    results, names = bad
    status, _, stderr = results[name]
    assert status == 2, stderr
    lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    assert BAD[name][1].format(**names) in lines[0]


@pytest.mark.parametrize("name", ["no folder", "one class", "large batch", "large reward batch"])
def test_a_mistake_about_data_can_be_mended_in_the_same_folder(bad, copied, name):
    assert bad[0][name].status == 2
    assert not (copied / f"new {name}").exists()


def test_a_refused_architecture_leaves_the_run_as_it_was(bad, copied):
    assert not list((copied / "whole").rglob("damaged*"))
