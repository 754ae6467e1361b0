"""Sweeps whose trainings do no more than to leave a result that depends on their settings."""

import json
import pickle
import shlex

import pytest

from enas_tf.core.errors import NotFinite, UserError
from enas_tf.experiment import several
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.sweep import Combination, Sweep, rank, read_grid
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.training.processes import Failure
from enas_tf.training.run_folder import Run

ARC = "0 0 1 1 0 2 1 4"
BEST_FIRST = ["lr_max=0.05,keep_prob=0.8", "lr_max=0.05,keep_prob=1.0"]
BEST_FIRST += ["lr_max=0.5,keep_prob=0.8", "lr_max=0.5,keep_prob=1.0"]


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def trains(monkeypatch):
    """What has been trained, by the folders' names."""
    done = []

    def train_once(experiment):
        train, run = experiment.settings.train, Run(experiment.workdir)
        done.append(run.folder.name)
        if train.lr_max > 1:
            raise NotFinite("the loss is not finite")
        # The test split would choose another.
        accuracy = 1 - train.lr_max - train.keep_prob / 10
        result = {"best_valid": {"accuracy": accuracy}, "test": {"accuracy": 1 - accuracy}}
        run.write_json("train/result.json", result | {"params": 12345, "seconds": 61.4})
        run.mark_done("train", outputs=["train/result.json"])

    monkeypatch.setattr(Experiment, "train_once", train_once)
    return done


def make_sweep(workdir, grid=None, **values):
    changes = {"workdir": str(workdir), "arc": ARC, "space.num_nodes": 1, "strategy": "one"}
    settings = CIFAR_MICRO.presets["tiny"].changed(changes | values)
    grid = grid or {"train.lr_max": [0.5, 0.05], "train.keep_prob": [0.8, 1.0]}
    combinations = [{}]
    for name, each in grid.items():
        combinations = [one | {name: value} for one in combinations for value in each]
    found = [Combination.of(grid, settings.changed(one)) for one in combinations]
    return Sweep(CIFAR_MICRO, settings, found)


def test_a_grid_is_all_combinations():
    grid = read_grid(" train.lr_max=0.025,0.05\n train.keep_prob=0.8,1.0 train.l2=0 ")
    assert [tuple(one.values()) for one in grid] == [
        ("0.025", "0.8", "0"),
        ("0.025", "1.0", "0"),
        ("0.05", "0.8", "0"),
        ("0.05", "1.0", "0"),
    ]
    assert {tuple(one) for one in grid} == {("train.lr_max", "train.keep_prob", "train.l2")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "such as --sweep=\"train.lr_max=0.025,0.05 train.keep_prob=0.8,1.0\"; got ''"),
        ("train.lr_max", "got 'train.lr_max'"),
        ("train.lr_max=0.1,", "got 'train.lr_max=0.1,'"),
        ("train.l2=0,1 search.num_epochs=1", r"final training, train\.\*; got search.num_epochs"),
        ("train.l2=0 train.l2=1", "--sweep has train.l2 twice"),
    ],
)
def test_a_text_that_is_no_grid(text, message):
    with pytest.raises(UserError, match=message):
        read_grid(text)


def test_a_folder_is_named_after_the_values():
    values = {"train.lr_max": 5e-2, "train.stem": None, "train.aux_head": False}
    values |= {"train.init": "runs/a b", "train.l2": 1e30}
    name = "lr_max=0.05,stem=none,aux_head=false,init=runs%2Fa%20b,l2=1e+30"
    assert Combination.of(values, CIFAR_MICRO.presets["tiny"].changed(values)).name == name


def test_a_folder_of_long_values_has_a_name_that_file_systems_take(tmp_path):
    names = set()
    for end in "ab":
        values = {"train.init": "runs/" + "ä" * 300 + end, "train.l2": 0.0}
        settings = CIFAR_MICRO.presets["tiny"].changed(values)
        names.add(Combination.of(values, settings).name)
    assert len(names) == 2
    for name in names:
        assert len(name) == 150 and name.startswith("init=runs%2F%C3%A4")
        (tmp_path / name).mkdir()


def test_the_best_epochs_on_the_validation_split_are_ranked_shown_and_kept(tmp_path, capsys):
    make_sweep(tmp_path).run()
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert (found["metric"], found["failed"]) == ("accuracy", [])
    assert [one["folder"] for one in found["trained"]] == [f"sweep/{name}" for name in BEST_FIRST]
    assert found["trained"][0] == {
        "folder": "sweep/lr_max=0.05,keep_prob=0.8",
        "settings": {"train.lr_max": 0.05, "train.keep_prob": 0.8},
        "best_valid": {"accuracy": pytest.approx(0.87)},
        "test": {"accuracy": pytest.approx(0.13)},
        "params": 12345,
        "seconds": 61.4,
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sweep: 1 of 4, lr_max=0.5,keep_prob=0.8"
    assert lines[-6:-1] == [
        "settings                   valid accuracy  test accuracy  params  seconds",
        "lr_max=0.05,keep_prob=0.8          0.8700         0.1300  12,345       61",
        "lr_max=0.05,keep_prob=1.0          0.8500         0.1500  12,345       61",
        "lr_max=0.5,keep_prob=0.8           0.4200         0.5800  12,345       61",
        "lr_max=0.5,keep_prob=1.0           0.4000         0.6000  12,345       61",
    ]


def test_the_last_line_is_a_command_that_exports_the_best(tmp_path, capsys):
    make_sweep(tmp_path / "of two words").run()
    told, _, command = capsys.readouterr().out.splitlines()[-1].partition("; export it by: ")
    best = tmp_path / "of two words/sweep" / BEST_FIRST[0]
    assert told == f"sweep: {BEST_FIRST[0]} is the best, in {best}"
    flags = [f"--flagfile={best}/flags.txt"]
    assert shlex.split(command) == ["python", "-m", "launchers.cifar_micro", "export", *flags]


def test_one_that_is_not_finite_stops_no_other(tmp_path, trains):
    grid = {"train.lr_max": [0.5, 1e30, 0.05]}
    with pytest.raises(UserError, match=r"1 of 3 failed \(lr_max=1e\+30\)"):
        make_sweep(tmp_path, grid).run()
    assert trains == ["lr_max=0.5", "lr_max=1e+30", "lr_max=0.05"]
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert [one["settings"]["train.lr_max"] for one in found["trained"]] == [0.05, 0.5]
    failed = {"folder": "sweep/lr_max=1e+30", "settings": {"train.lr_max": 1e30}}
    assert found["failed"] == [failed]


def test_nothing_is_told_of_a_sweep_without_a_result(tmp_path, capsys):
    with pytest.raises(UserError, match="1 of 1 failed"):
        make_sweep(tmp_path, {"train.lr_max": [1e30]}).run()
    assert not (tmp_path / "sweep.json").exists()
    assert capsys.readouterr().out == "sweep: 1 of 1, lr_max=1e+30\n"


def test_data_that_do_not_allow_a_training_are_told_before_any(tmp_path, trains):
    with pytest.raises(UserError, match=r"between 1 and 1439, .* got 5000"):
        make_sweep(tmp_path, {"train.batch_size": [16, 5000]}).run()
    assert trains == [] and not list(tmp_path.iterdir())


def test_each_is_a_process_of_its_own(tmp_path, monkeypatch, trains):
    def run_jobs(jobs, at_once, label):
        assert (at_once, label) == (2, "sweep")
        for job in jobs[1:]:
            make, work = pickle.loads(pickle.dumps((job.make, job.work)))
            assert make().settings.common.sweep is None and job.folder == make().workdir
            work(make())
        return [Failure(jobs[0], 1, "killed")]

    monkeypatch.setattr(several, "run_jobs", run_jobs)
    with pytest.raises(RuntimeError, match=r"1 of 4 failed \(lr_max=0.5,keep_prob=0.8\)"):
        make_sweep(tmp_path, parallel=2).run()
    assert set(trains) == {*BEST_FIRST} - {"lr_max=0.5,keep_prob=0.8"}
    assert len(json.loads((tmp_path / "sweep.json").read_text())["trained"]) == 3


def test_the_tasks_of_an_array_take_a_combination_each(tmp_path, monkeypatch, trains, capsys):
    for number in range(4):
        assert not (tmp_path / "sweep.json").exists()
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        make_sweep(tmp_path).run()
    assert sorted(trains) == sorted(BEST_FIRST)
    assert len(json.loads((tmp_path / "sweep.json").read_text())["trained"]) == 4
    shown = capsys.readouterr().out
    assert "sweep: lr_max=0.5,keep_prob=0.8 only, number 0 of 0 to 3; --sweep_index=none" in shown
    make_sweep(tmp_path, sweep_index="2").run()
    assert trains[-1] == "lr_max=0.05,keep_prob=0.8"


def test_the_architecture_is_the_given_or_the_derived_one(tmp_path):
    def sources(**values):
        return {own.common.arc for own in make_sweep(tmp_path, **values).runs.values()}

    with pytest.raises(UserError, match="is missing; run the verbs search and derive"):
        make_sweep(tmp_path, arc=None)
    # The run that it starts from has one; what else it lacks is told by each training.
    init = {"train.init": "runs/other"}
    assert sources(arc=None, **init) == {None}
    with pytest.raises(UserError, match="more than one architecture could be meant: give the one"):
        make_sweep(tmp_path, {"train.init": ["runs/some", "runs/other"]}, arc=None)
    (tmp_path / "arc.txt").write_text(ARC)
    assert sources(arc=None) == {str(tmp_path / "arc.txt")}
    assert sources() == sources(**init) == {ARC}
    with pytest.raises(UserError, match="more than one architecture could be meant: give the one"):
        make_sweep(tmp_path, arc=None, **init)


@pytest.mark.parametrize(
    ("values", "grid", "message"),
    [
        ({"train.use_validation": True}, None, "trains on: give --train.use_validation=false"),
        ({}, {"train.use_validation": [False, True]}, "trains on: give --train.use_validation=fa"),
        ({"child.out_filters": 16, "train.init": "shared"}, None, "have folders of their own"),
        ({"arc": "0 0 1"}, None, "token"),
        ({"sweep_index": "4"}, None, "sweep_index must be below the 4 combinations, got 4"),
    ],
)
def test_what_no_sweep_can_be(tmp_path, values, grid, message):
    with pytest.raises(UserError, match=message):
        make_sweep(tmp_path, grid, **values)


def test_trainings_of_a_sweep_do_not_meet_in_a_store():
    with pytest.raises(UserError, match="not in s3://bucket/runs: give a local --workdir"):
        make_sweep("s3://bucket/runs")


@pytest.mark.parametrize(
    ("recipe", "values", "metric", "worse", "better"),
    [
        (CIFAR_MICRO, {}, "accuracy", 0.25, 0.5),
        (CIFAR_MICRO, {"search.metric": "balanced_accuracy"}, "balanced_accuracy", 0.25, 0.5),
        (PTB_RNN, {}, "perplexity", 90.0, 80.0),
    ],
)
def test_a_ranking_is_as_a_training_picks_its_best_epoch(recipe, values, metric, worse, better):
    settings, domain = recipe.presets["tiny"].changed(values), recipe.domain
    assert domain.metric(settings) == metric
    task = domain.train_task(settings, domain.load(settings))
    epochs = [{"best_valid": {metric: value}} for value in (worse, None, better)]
    ranked = rank(epochs, metric, domain.lower_is_better)
    assert [one["best_valid"][metric] for one in ranked] == [better, worse, None]
    assert task.reward({metric: better}) > task.reward({metric: worse})
