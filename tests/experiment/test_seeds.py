import json
import pickle
from operator import methodcaller

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment import seeds
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.seeds import metrics_of, repeat, summary, task_number
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.training.processes import Failure
from enas_tf.training.run_folder import Run

NUMBERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in NUMBERS:
        monkeypatch.delenv(name, raising=False)


def settings(workdir="unused", **values):
    changes = {"seeds": 3, "seed": 5, "workdir": str(workdir), "strategy": "one"} | values
    return CIFAR_MICRO.presets["tiny"].changed(changes)


@pytest.fixture
def derives(monkeypatch):
    """Has a search and derivation do no more than to leave rewards that depend on the seed."""
    done = []

    def search_and_derive(experiment):
        seed = experiment.settings.common.seed
        done.append(seed)
        if seed != 7 or "fails" not in str(experiment.workdir):
            run = Run(experiment.workdir)
            run.write_json("arcs.json", [{"reward": seed}, {"reward": 0}])
            run.mark_done("derive", outputs=["arcs.json"])

    monkeypatch.setattr(Experiment, "search_and_derive", search_and_derive)
    return done


WORK = methodcaller("search_and_derive")


def test_several_at_a_time_are_the_same_work_in_the_same_folders(tmp_path, monkeypatch, derives):
    def run_jobs(jobs, at_once, label):
        assert (at_once, label) == (2, "seeds")
        assert [job.name for job in jobs] == ["seed 5", "seed 6", "seed 7"]
        for job in jobs:
            make, work = pickle.loads(pickle.dumps((job.make, job.work)))
            assert make().settings.common.parallel == make().settings.common.seeds == 1
            assert (
                make().workdir == job.folder == tmp_path / job.folder.parent.name / job.folder.name
            )
            work(make())
        return [
            Failure(job, 2, "why") for job in jobs if not job.folder.joinpath("arcs.json").exists()
        ]

    monkeypatch.setattr(seeds, "run_jobs", run_jobs)
    repeat(CIFAR_MICRO, settings(tmp_path / "whole", parallel=2), WORK, "derive")
    assert derives == [5, 6, 7]
    found = json.loads((tmp_path / "whole/seeds.json").read_text())
    assert found["mean"] == {"best_reward": 6.0, "mean_reward": 3.0}
    with pytest.raises(UserError, match=r"1 of 3 failed \(seed 7\)"):
        repeat(CIFAR_MICRO, settings(tmp_path / "fails", parallel=2), WORK, "derive")
    found = json.loads((tmp_path / "fails/seeds.json").read_text())
    assert [one["seed"] for one in found["seeds"]] == [5, 6]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_tasks_of_an_array_take_a_seed_each(tmp_path, monkeypatch, derives, capsys, name):
    for number in ("2", "0", "1"):
        assert not (tmp_path / "seeds.json").exists()
        monkeypatch.setenv(name, number)
        repeat(CIFAR_MICRO, settings(tmp_path), WORK, "derive")
    assert derives == [7, 5, 6]
    assert json.loads((tmp_path / "seeds.json").read_text())["mean"]["best_reward"] == 6.0
    shown = capsys.readouterr().out
    assert "seeds: seed 7 only, number 2 of 0 to 2; --seed_index=none runs all" in shown
    assert "seeds: 2 of 3 done; the last one" in shown and "best_reward 6.0000" in shown


def test_the_number_of_a_task(monkeypatch):
    assert task_number(settings().common) is None
    assert task_number(settings(seed_index="2").common) == 2
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert task_number(settings().common) == 1
    assert task_number(settings(seed_index=None).common) is None
    assert task_number(settings(seed_index="0").common) == 0
    assert task_number(settings(strategy="multiworker").common) is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with pytest.raises(
        UserError, match=r"SLURM_ARRAY_TASK_ID is 3, .* \(--array=0-2\), or run all"
    ):
        task_number(settings().common)


def test_a_task_with_one_seed_has_nothing_to_run_at_once():
    with pytest.raises(UserError, match="this task runs seed number 1 only"):
        repeat(CIFAR_MICRO, settings(seed_index="1", parallel=2), WORK, "derive")


@pytest.mark.parametrize("values", [{"parallel": 2}, {"seed_index": "1"}])
def test_processes_of_several_seeds_do_not_meet_in_a_store(values):
    with pytest.raises(UserError, match="not in s3://bucket/runs: give a local --workdir"):
        repeat(CIFAR_MICRO, settings("s3://bucket/runs", **values), WORK, "derive")


def test_the_metrics_of_a_whole_run(tmp_path):
    run = Run(tmp_path)
    run.write_json("arcs.json", [{"reward": 0.75}, {"reward": 0.25}])
    records = [{"phase": "child", "loss": 1.0}]
    records += [{"phase": "valid", "gap": gap} for gap in (9.0, 8.0, 7.0, 0.25, 0.75)]
    lines = [json.dumps(record) for record in records]
    # A killed process may leave half a line.
    run.write_text("search/metrics.jsonl", "\n".join([*lines, '{"phase"']))
    run.write_json("train/result.json", {"test": {"loss": 2.0, "perplexity": 55.0}})
    assert metrics_of(run) == {
        "best_reward": 0.75,
        "mean_reward": 0.5,
        "gap": 0.5,
        "test_loss": 2.0,
        "test_perplexity": 55.0,
    }


def test_a_run_that_holds_nothing_has_no_metrics(tmp_path):
    assert metrics_of(Run(tmp_path)) == {}


def test_the_summary_is_of_what_all_seeds_have():
    found = {3: {"gap": 0.1, "test_loss": 1.0}, 4: {"gap": 0.3}, 5: {"gap": 0.2}}
    assert summary(found) == {
        "seeds": [
            {"seed": 3, "gap": 0.1, "test_loss": 1.0},
            {"seed": 4, "gap": 0.3},
            {"seed": 5, "gap": 0.2},
        ],
        "mean": {"gap": pytest.approx(0.2)},
        "deviation": {"gap": pytest.approx(0.1)},
    }
