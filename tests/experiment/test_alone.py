"""Trainings of several architectures; a stand-in for an experiment trains them."""

import pickle

import pytest

from enas_tf.core.errors import NotFinite, UserError
from enas_tf.experiment import alone
from enas_tf.experiment.alone import train_at_once, train_in_turn
from enas_tf.experiment.experiment import Experiment
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.training.own_process import NOT_FINITE
from enas_tf.training.processes import Failure
from enas_tf.training.run_folder import Run
from tests import tiny


class Trainer:
    """Trains in a minute; the loss of `c` is not finite, and `d` has no data."""

    def train_alone(self, arc, epochs, run):
        if arc == "c":
            raise NotFinite("the loss is not finite")
        if arc == "d":
            raise UserError("no data")
        result = {"arc": arc, "epochs": epochs, "seconds": 60.0}
        run.write_json("train/result.json", result)
        run.mark_done("train", outputs=["train/result.json"], arc=arc)


def run_jobs(jobs, at_once, label):
    """Stands in for processes; what is done in them travels as it does to a process."""
    assert (at_once, label) == (2, "compare")
    failures = []
    for job in jobs:
        make, work = pickle.loads(pickle.dumps((job.make, job.work)))
        try:
            work(make())
        except NotFinite as error:
            failures.append(Failure(job, NOT_FINITE, str(error)))
        except UserError as error:
            failures.append(Failure(job, 2, str(error)))
    return failures


def train(ways, runs):
    if ways == "in turn":
        return train_in_turn(Trainer(), runs, 3, "compare")
    return train_at_once(Trainer, runs, 3, "compare", 2)


@pytest.mark.parametrize("ways", ["in turn", "at once"])
def test_what_is_not_trained_yet_is_trained(tmp_path, monkeypatch, capsys, ways):
    monkeypatch.setattr(alone, "run_jobs", run_jobs)
    runs = {text: Run(tmp_path / text) for text in "abce"}
    Trainer().train_alone("b", 3, runs["b"])
    runs["b"].write_json("train/result.json", {"seconds": 120.0})
    assert train(ways, runs) == {"c": "the loss is not finite"}
    for text in "ae":
        wanted = {"arc": text, "epochs": 3, "seconds": 60.0}
        assert runs[text].read_json("train/result.json") == wanted
    assert runs["b"].read_json("train/result.json") == {"seconds": 120.0}
    shown = capsys.readouterr().out
    assert "warning: the loss is not finite; compare goes on without this architecture, c" in shown
    if ways == "in turn":
        assert "compare: training 1 of 4\n" in shown
        # The mean of two, for as many that are left.
        assert "compare: training 3 of 4, 3m 00s left\n" in shown
    del runs["c"]
    assert train(ways, runs) == {}


@pytest.mark.parametrize("ways", ["in turn", "at once"])
def test_a_mistake_ends_it(tmp_path, monkeypatch, ways):
    monkeypatch.setattr(alone, "run_jobs", run_jobs)
    with pytest.raises(UserError, match="no data" if ways == "in turn" else "1 of 2 failed"):
        train(ways, {text: Run(tmp_path / text) for text in "cd"})


def test_an_experiment_has_its_likes_train_on_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    values = {"workdir": str(tmp_path), "strategy": "one", "parallel": 2}
    experiment = Experiment(CIFAR_MICRO, CIFAR_MICRO.presets["tiny"].changed(values), tiny.data())
    asked = []

    def train_at_once(make, runs, epochs, label, at_once):
        own = pickle.loads(pickle.dumps(make))()
        asked.append((own.settings, own.data.class_names, list(runs), epochs, at_once))

    monkeypatch.setattr("enas_tf.experiment.experiment.train_at_once", train_at_once)
    experiment._train_each({"0 0": Run(tmp_path / "a")}, 3, "derive")
    wanted = experiment.settings.changed({"parallel": 1})
    assert asked == [(wanted, ("a", "b", "c"), ["0 0"], 3, 2)]
