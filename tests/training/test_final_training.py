import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.training.run_folder import Run
from enas_tf.training.session import Session
from tests import tiny

KERNEL = "child/sequential/conv2d/kernel"
ARC, OTHER = "0 0 1 0 0 0 1 0", "0 0 1 0 0 0 1 1"


def copies(training):
    return tiny.values(training.trainer.variables)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A finished training's run, result and last weights."""
    run, training = Run(tmp_path_factory.mktemp("unbroken")), tiny.training(tiny.TRAIN)
    with tiny.many_checkpoints():
        result = training.run(run, ARC, params=77)
    return run, result, copies(training)


def test_leaves_its_result(unbroken):
    run, result, _ = unbroken
    assert json.loads(run.path("train/result.json").read_text()) == result
    seconds = result.pop("seconds")
    assert seconds >= 0
    records = tiny.records(run, "train")
    valid = [r for r in records if r["phase"] == "valid"]
    best = max(valid, key=lambda record: record["accuracy"])
    last, _, test = records[-3:]
    assert (last["phase"], test["phase"]) == ("train", "test")
    assert result == {
        "arc": ARC,
        "params": 77,
        "test": {"loss": test["loss"], "accuracy": test["accuracy"]},
        "final": {
            "train": {n: last[n] for n in last if n not in ("phase", "step")},
            "valid": {n: valid[-1][n] for n in ("epoch", "loss", "accuracy")},
        },
        "best_valid": {n: best[n] for n in ("epoch", "loss", "accuracy")},
        "epochs": 3,
        "images_seen": 3 * 5 * 6,
    }
    result["seconds"] = seconds


def test_records_every_epoch(unbroken):
    run, _, _ = unbroken
    shown = [(r["phase"], r["step"], r["epoch"]) for r in tiny.records(run, "train")]
    one = [("train", 2), ("train", 4), ("train", 5), ("valid", 5)]
    wanted = [(phase, step + 5 * epoch, epoch) for epoch in range(3) for phase, step in one]
    assert shown == [*wanted, ("test", 15, 2)]


@pytest.mark.parametrize(("step", "checkpoint"), [(2, None), (5, 4), (15, 14)])
def test_a_killed_training_goes_on_to_the_same_end(unbroken, tmp_path, step, checkpoint):
    run, result, wanted = unbroken
    killed = Run(tmp_path)
    with tiny.many_checkpoints():
        with tiny.killed_at(step):
            tiny.training(tiny.TRAIN).run(killed, ARC, params=77)
        stored = sorted(tmp_path.glob("train/checkpoints/step_*"))
        assert [int(path.name[5:]) for path in stored[-1:]] == ([checkpoint] if checkpoint else [])
        resumed = tiny.training(tiny.TRAIN)
        again = resumed.run(killed, ARC, params=77)
    tiny.assert_same(copies(resumed), wanted)
    assert tiny.records(killed, "train") == tiny.records(run, "train")
    assert again | {"seconds": 0} == result | {"seconds": 0}


def test_given_weights_are_set_before_the_first_step_and_never_again(tmp_path):
    def halves(training):
        for variable in training.trainer.trained:
            variable.assign(np.full(variable.shape, 0.5))
        return {"from": "halves", "drawn": ["a", "b"]}

    def run(folder, training, initialize=halves):
        return training.run(Run(folder), ARC, 77, initialize=lambda: initialize(training))

    whole, resumed = tiny.training(tiny.TRAIN), tiny.training(tiny.TRAIN)
    with tiny.many_checkpoints():
        wanted = run(tmp_path / "whole", whole)
        with tiny.killed_at(2):
            run(tmp_path / "killed", tiny.training(tiny.TRAIN))
        # Nothing has been stored, so it begins again.
        with tiny.killed_at(5):
            run(tmp_path / "killed", tiny.training(tiny.TRAIN))
        result = run(tmp_path / "killed", resumed, initialize=None)
    assert result["init"] == {"from": "halves"}
    assert result | {"seconds": 0} == wanted | {"seconds": 0}
    assert json.loads((tmp_path / "killed/train/init.json").read_text())["drawn"] == ["a", "b"]
    tiny.assert_same(copies(resumed), copies(whole))


def test_touches_no_test_split_where_it_is_told_so(unbroken, tmp_path, monkeypatch):
    finished = Run(tmp_path)
    shutil.copytree(unbroken[0].folder, finished.folder, dirs_exist_ok=True)
    finished.path("train/result.json").unlink()
    training, splits = tiny.training(tiny.TRAIN), []
    monkeypatch.setattr(training, "_totals", splits.append)
    result = training.run(finished, ARC, params=77, tests=False)
    assert not splits and result.keys() == unbroken[1].keys() - {"test"}


def with_accuracies(monkeypatch, training, accuracies):
    """Makes validation give these accuracies; returns the splits asked for and the weights then."""
    asked = []

    def evaluate(split):
        asked.append((split, copies(training)))
        accuracy = accuracies[len(asked) - 1] if split == "valid" else 0.125
        return {"loss": 1.0, "accuracy": accuracy}

    monkeypatch.setattr(training, "evaluate", evaluate)
    monkeypatch.setattr(training, "evaluate_in_detail", lambda split: (evaluate(split), {}))
    return asked


def test_the_best_epochs_weights_are_tested_once(tmp_path, monkeypatch):
    run, training = Run(tmp_path), tiny.training(tiny.TRAIN)
    asked = with_accuracies(monkeypatch, training, [0.5, 0.75, 0.75])
    result = training.run(run, ARC, params=1)
    assert [split for split, _ in asked] == ["valid", "valid", "valid", "test"]
    tiny.assert_same(asked[3][1], asked[1][1])
    assert not np.array_equal(asked[1][1][KERNEL], asked[2][1][KERNEL])
    assert result["best_valid"] == {"epoch": 1, "loss": 1.0, "accuracy": 0.75}
    assert result["test"] == {"loss": 1.0, "accuracy": 0.125}
    fresh = tiny.training(tiny.TRAIN)
    assert fresh.restore_best(run)["best"]["epoch"] == 1
    tiny.assert_same(copies(fresh), asked[1][1])


def test_the_best_epoch_outlives_a_kill(tmp_path, monkeypatch):
    run, training = Run(tmp_path), tiny.training(tiny.TRAIN)
    asked = with_accuracies(monkeypatch, training, [0.9])
    with tiny.killed_at(7):
        training.run(run, ARC, params=1)
    resumed = tiny.training(tiny.TRAIN)
    with_accuracies(monkeypatch, resumed, [0.2, 0.3])
    assert resumed.run(run, ARC, params=1)["best_valid"]["epoch"] == 0
    tiny.assert_same(copies(resumed), asked[0][1])


def test_a_best_epoch_that_was_not_saved_is_forgotten(tmp_path, monkeypatch):
    """Without determinism, the epoch that is done again may be a worse one."""
    run, training = Run(tmp_path), tiny.training(tiny.TRAIN)
    asked, save = with_accuracies(monkeypatch, training, [0.5, 0.9]), Session.save

    def killed_at_the_second(session):
        if len(asked) == 2:
            raise tiny.Killed
        save(session)

    monkeypatch.setattr(Session, "save", killed_at_the_second)
    with pytest.raises(tiny.Killed):
        training.run(run, ARC, params=1)
    assert len(list(run.path("train/checkpoints").glob("best_*"))) == 2
    monkeypatch.setattr(Session, "save", save)
    resumed = tiny.training(tiny.TRAIN)
    with_accuracies(monkeypatch, resumed, [0.2, 0.3])
    assert resumed.run(run, ARC, params=1)["best_valid"]["epoch"] == 0
    fresh = tiny.training(tiny.TRAIN)
    assert fresh.restore_best(run)["best"]["epoch"] == 0
    tiny.assert_same(copies(fresh), asked[0][1])


def test_without_a_validation_split_the_last_weights_are_tested(tmp_path, monkeypatch):
    config = replace(tiny.TRAIN, num_epochs=2, use_validation=True)
    run, training = Run(tmp_path), tiny.training(config)
    assert len(training.task.data.splits["train"].labels) == 45 + 24
    asked = with_accuracies(monkeypatch, training, [])
    result = training.run(run, ARC, params=1)
    assert [split for split, _ in asked] == ["test"]
    assert result["best_valid"] is None and list(result["final"]) == ["train"]
    fresh = tiny.training(config)
    fresh.restore_best(run)
    tiny.assert_same(copies(fresh), asked[0][1])


def test_weights_are_averaged_once_validation_gets_no_better(tmp_path, monkeypatch, capsys):
    config = replace(tiny.TRAIN, num_epochs=6, average_after=2)
    run, training = Run(tmp_path), tiny.training(config)
    weights = []
    update = training.average.update
    monkeypatch.setattr(
        training.average, "update", lambda: (update(), weights.append(copies(training)))
    )
    # The fourth is worse than the best of all but the two before it.
    asked = with_accuracies(monkeypatch, training, [0.5, 0.3, 0.2, 0.45, 0.9, 0.8])
    training.run(run, ARC, params=1)
    assert "averaging the weights from now on" in capsys.readouterr().out
    # Two epochs of five steps each; the fifth epoch's validation sees the mean of five.
    assert len(weights) == 10
    mean = np.mean([w[KERNEL] for w in weights[:5]], axis=0)
    np.testing.assert_allclose(asked[4][1][KERNEL], mean, rtol=1e-5)
    # Training goes on from the weights themselves, and the best average is what is tested.
    assert not np.allclose(weights[5][KERNEL], mean, rtol=1e-3)
    tiny.assert_same(asked[-1][1], asked[4][1])
    fresh = tiny.training(config)
    fresh.restore_best(run)
    np.testing.assert_array_equal(copies(fresh)[KERNEL], asked[4][1][KERNEL])


def test_a_killed_training_goes_on_averaging(tmp_path, monkeypatch):
    config = replace(tiny.TRAIN, num_epochs=4, average_after=1)
    accuracies = [0.5, 0.4, 0.3, 0.2]
    whole = tiny.training(config)
    with_accuracies(monkeypatch, whole, accuracies)
    whole.run(Run(tmp_path / "whole"), ARC, params=1)
    killed = tiny.training(config)
    with_accuracies(monkeypatch, killed, accuracies)
    with tiny.killed_at(17):
        killed.run(Run(tmp_path / "killed"), ARC, params=1)
    resumed = tiny.training(config)
    with_accuracies(monkeypatch, resumed, accuracies[3:])
    resumed.run(Run(tmp_path / "killed"), ARC, params=1)
    tiny.assert_same(tiny.values(resumed.variables), tiny.values(whole.variables))


def test_another_architecture_is_refused_and_harms_nothing(unbroken):
    run, result, _ = unbroken
    with pytest.raises(UserError, match=rf"of another architecture \({ARC}\.\.\.\)"):
        tiny.training(tiny.TRAIN).run(run, OTHER, params=77)
    assert not list(run.path("train/checkpoints").glob("damaged*"))
    # What is finished is not tested again.
    records = tiny.records(run, "train")
    assert tiny.training(tiny.TRAIN).run(run, ARC, params=77) == result
    assert tiny.records(run, "train") == records


def test_evaluates_with_moving_averages_and_without_dropout(unbroken):
    run, result, _ = unbroken
    training = tiny.training(tiny.TRAIN)
    training.restore_best(run)
    assert training.evaluate("test") == result["test"] == training.evaluate("test")
    # By hand: convolution, moving averages, no dropout, classifier.
    kernel, bias, scale, offset, mean, variance, weights, shift = (
        variable.numpy() for variable in training.trainer.child.variables
    )
    [(images, labels)] = training.task.eval_batches("test", 18, (0, 1))
    patches = np.lib.stride_tricks.sliding_window_view(images.numpy()[..., 0], (3, 3), (1, 2))
    x = np.einsum("bhwij,ijc->bhwc", patches, kernel[:, :, 0]) + bias
    x = (x - mean) / np.sqrt(variance + 1e-5) * scale + offset
    logits = x.reshape(18, -1) @ weights + shift
    accuracy = np.mean(logits.argmax(axis=-1) == labels.numpy())
    losses = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(18), labels]
    assert result["test"] == pytest.approx({"loss": losses.mean(), "accuracy": accuracy}, rel=1e-4)


def test_replicas_keep_the_same_weights_and_moving_averages(tmp_path):
    config = replace(tiny.TRAIN, num_epochs=1)
    training = tiny.training(config, strategy=tiny.two_devices())
    result = training.run(Run(tmp_path), ARC, params=1)
    assert result["images_seen"] == 30
    for variable in training.trainer.child.variables:
        copies = [
            v.numpy() for v in training.trainer.strategy.experimental_local_results(variable.value)
        ]
        np.testing.assert_array_equal(copies[0], copies[1], err_msg=variable.path)
