"""Several runs by one command; those of several seeds stand for all kinds."""

import json
import pickle
from operator import methodcaller

import pytest

from enas_tf.core.errors import NotFinite, UserError
from enas_tf.experiment import several
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.seeds import Seeds
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.training.processes import Failure
from enas_tf.training.run_folder import Run
from tests import tiny

NUMBERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in NUMBERS:
        monkeypatch.delenv(name, raising=False)


def seeds(workdir="unused", **values):
    changes = {"seeds": 3, "seed": 5, "workdir": str(workdir), "strategy": "one"} | values
    settings = CIFAR_MICRO.presets["tiny"].changed(changes)
    return Seeds(CIFAR_MICRO, settings, methodcaller("search_and_derive"), "derive")


@pytest.fixture
def derives(monkeypatch):
    """Has a search and derivation do no more than to leave rewards that depend on the seed."""
    done = []

    def search_and_derive(experiment):
        seed = experiment.settings.common.seed
        done.append(seed)
        if seed == 6 and "fails" in str(experiment.workdir):
            raise NotFinite("the loss is not finite")
        run = Run(experiment.workdir)
        run.write_json("arcs.json", [{"reward": seed}, {"reward": 0}])
        run.mark_done("derive", outputs=["arcs.json"])

    monkeypatch.setattr(Experiment, "search_and_derive", search_and_derive)
    return done


def run_jobs(jobs, at_once, label):
    """Does the work of processes in this one."""
    assert (at_once, label) == (2, "seeds")
    failures = []
    for job in jobs:
        make, work = pickle.loads(pickle.dumps((job.make, job.work)))
        experiment = make()
        assert experiment.settings.common.parallel == experiment.settings.common.seeds == 1
        assert experiment.workdir == job.folder
        try:
            work(experiment)
        except NotFinite as error:
            failures.append(Failure(job, 3, str(error)))
    return failures


@pytest.mark.parametrize("values", [{"parallel": 1}, {"parallel": 2}], ids=["in turn", "at once"])
def test_all_are_the_same_work_in_the_same_folders(tmp_path, monkeypatch, derives, values):
    monkeypatch.setattr(several, "run_jobs", run_jobs)
    seeds(tmp_path, **values).run()
    assert derives == [5, 6, 7]
    found = json.loads((tmp_path / "seeds.json").read_text())
    assert found["mean"] == {"best_reward": 6.0, "mean_reward": 3.0}
    for seed in (5, 6, 7):
        arcs = json.loads((tmp_path / f"seed_{seed}/arcs.json").read_text())
        assert arcs[0] == {"reward": seed}


@pytest.mark.parametrize("values", [{"parallel": 1}, {"parallel": 2}], ids=["in turn", "at once"])
def test_one_that_is_not_finite_stops_no_other(tmp_path, monkeypatch, derives, capsys, values):
    monkeypatch.setattr(several, "run_jobs", run_jobs)
    folder = tmp_path / "fails"
    with pytest.raises(UserError, match=r"1 of 3 failed \(seed 6\); the same command tries again"):
        seeds(folder, **values).run()
    assert derives == [5, 6, 7]
    found = json.loads((folder / "seeds.json").read_text())
    assert [one["seed"] for one in found["seeds"]] == [5, 7]
    if values["parallel"] == 1:
        assert capsys.readouterr().err == "error: seed 6 failed: the loss is not finite\n"


def test_only_the_runs_themselves_are_overwritten():
    kind = seeds(overwrite=True)
    assert not kind.make_shared().settings.common.overwrite
    assert all(own.common.overwrite for own in kind.runs.values())


def test_in_turn_they_share_the_data_that_are_loaded(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Experiment, "search_and_derive", lambda one: seen.append(vars(one)["data"]))
    kind, data = seeds(tmp_path), tiny.data()
    shared = kind.make_shared()
    shared.data = data
    monkeypatch.setattr(kind, "make_shared", lambda: shared)
    monkeypatch.setattr(kind, "report", lambda done, folder: None)
    kind.run()
    assert len(seen) == 3 and all(one is data for one in seen)


@pytest.mark.parametrize("name", NUMBERS)
def test_the_tasks_of_an_array_take_one_each(tmp_path, monkeypatch, derives, capsys, name):
    for number in ("2", "0", "1"):
        assert not (tmp_path / "seeds.json").exists()
        monkeypatch.setenv(name, number)
        seeds(tmp_path).run()
    assert derives == [7, 5, 6]
    assert json.loads((tmp_path / "seeds.json").read_text())["mean"]["best_reward"] == 6.0
    shown = capsys.readouterr().out
    assert "seeds: seed 7 only, number 2 of 0 to 2; --seed_index=none runs all" in shown
    assert "seeds: 2 of 3 done; the last one" in shown and "best_reward 6.0000" in shown


def test_the_number_of_a_task(monkeypatch):
    assert seeds().task_number() is None
    assert seeds(seed_index="2").task_number() == 2
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert seeds().task_number() == 1
    assert seeds(seed_index=None).task_number() is None
    assert seeds(seed_index="0").task_number() == 0
    assert seeds(strategy="multiworker").task_number() is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with pytest.raises(
        UserError, match=r"SLURM_ARRAY_TASK_ID is 3, .* 3 of --seeds .* \(--array=0-2\), or run all"
    ):
        seeds().task_number()


def test_a_task_with_one_run_has_nothing_to_run_at_once(tmp_path, derives):
    with pytest.raises(UserError, match="this task runs seed 6 only; leave it out, or have it run"):
        seeds(tmp_path, seed_index="1", parallel=2).run()
    seeds(tmp_path, seed_index="1", parallel=2, **{"derive.finalists": 2}).run()
    assert derives == [6]


@pytest.mark.parametrize("values", [{"parallel": 2}, {"seed_index": "1"}])
def test_processes_of_several_runs_do_not_meet_in_a_store(values):
    with pytest.raises(UserError, match="not in s3://bucket/runs: give a local --workdir"):
        seeds("s3://bucket/runs", **values).run()
