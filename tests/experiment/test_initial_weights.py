"""What a training starts from: another run, a search, or parts of them."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store
from enas_tf.data.base import ImageData, Split
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.initial_weights import inherited_sizes, take
from enas_tf.experiment.preflight import keep_labels
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.norm import BatchNorm
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.rnn.recipe import PTB_RNN
from enas_tf.training.checkpoints import Checkpoints
from enas_tf.training.final_training import BEST
from tests import tiny
from tests.stand_in_store import store

__all__ = ["store"]

SMALL = {
    "space.num_layers": 3,
    "child.out_filters": 4,
    "train.num_epochs": 2,
    "train.max_steps": 1,
    "train.batch_size": 4,
    "train.out_filters": 4,
    "train.aux_head": True,
    "strategy": "one",
}
ARC, OTHER = "0 4 0 0 0 0", "0 4 0 0 1 0"


def images(*names):
    generator = np.random.default_rng(0)
    labels = np.arange(12, dtype=np.int32) % len(names)
    split = Split(generator.integers(0, 256, (12, 8, 8, 1)).astype(np.uint8), labels)
    splits = dict.fromkeys(("train", "valid", "test"), split)
    return ImageData("made", splits, names, flip=False)


def experiment(workdir, data, **values):
    settings = CIFAR_MACRO.presets["tiny"].changed(SMALL | {"workdir": str(workdir)} | values)
    return Experiment(CIFAR_MACRO, settings, data)


def made(one):
    """The network that an experiment would train."""
    return one._make_training(one._arc()[1], one.settings)[1]


def values(network):
    return {variable.path: variable.numpy() for variable in network.variables}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that looks as after a training, and the weights of its network."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    one = experiment(folder, images("a", "b", "c"), arc=ARC)
    keep_labels(one.run, one.settings, one.domain, one.data)
    training, network = one._make_training(one._arc()[1], one.settings)
    generator = np.random.default_rng(1)
    for variable in network.variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    Checkpoints(folder / "train/checkpoints", training.variables).write(BEST, 5, {})
    one.run.write_json("train/result.json", {"arc": ARC})
    one.run.mark_done("train", outputs=["train/result.json"], arc=ARC)
    return folder, values(network)


def test_another_runs_network_goes_on_without_it(trained, tmp_path, capsys):
    folder, wanted = trained
    shutil.copytree(folder, tmp_path / "origin")
    settings = {"train.init": str(tmp_path / "origin")}
    before = {path: path.read_bytes() for path in (tmp_path / "origin").rglob("*.*")}
    with tiny.many_checkpoints(), tiny.killed_at(2):
        experiment(tmp_path / "run", images("a", "b", "c"), **settings).train()
    assert {p: p.read_bytes() for p in (tmp_path / "origin").rglob("*.*")} == before
    line = next(one for one in capsys.readouterr().out.splitlines() if "starts from" in one)
    of_all = json.loads((tmp_path / "run/train/init.json").read_text())
    count, weights = of_all["variables"], of_all["weights"]
    assert line == (
        f"train: starts from {tmp_path}/origin: {count} of {count} variables, "
        f"{weights:,} of {weights:,} weights"
    )
    assert weights < sum(map(np.size, wanted.values()))
    shutil.rmtree(tmp_path / "origin")
    result = experiment(tmp_path / "run", images("a", "b", "c"), **settings).train()
    assert (result["arc"], result["params"]) == (ARC, weights)
    assert result["init"] == {
        "from": str(tmp_path / "origin"),
        "taken_variables": count,
        "variables": count,
        "taken_weights": weights,
        "weights": weights,
    }


def test_the_weights_are_in_place_before_the_first_step(trained, tmp_path, monkeypatch):
    folder, wanted = trained
    one, found = experiment(tmp_path, images("a", "b", "c"), **{"train.init": str(folder)}), {}
    monkeypatch.setattr(
        "enas_tf.training.final_training.TrainingEpochs.run",
        lambda self, *_, **__: found.update(values(self._trainer.child)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        one.train()
    tiny.assert_same(found, wanted)


@pytest.mark.parametrize("names", ["ab", "bac"])
def test_other_classes_have_a_classifier_of_their_own(trained, tmp_path, names, capsys):
    folder, wanted = trained
    one = experiment(tmp_path, images(*names), **{"train.init": str(folder)})
    network = made(one)
    drawn = values(network)
    found = one._origin.initialize(network, one._arc()[1])
    assert found["drawn"] == ["classifier/kernel"]
    anew = ("classifier/kernel", "aux_head/dense")
    tiny.assert_same(values(network), wanted | {path: drawn[path] for path in anew})
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith("; drawn anew: classifier; its classes are others")


def test_colour_gets_a_stem_of_its_own(trained, tmp_path):
    grey = images("a", "b", "c")
    splits = {n: Split(np.repeat(s.images, 3, -1), s.labels) for n, s in grey.splits.items()}
    colour = ImageData("colour", splits, grey.class_names, flip=False)
    one = experiment(tmp_path, colour, **{"train.init": str(trained[0])})
    assert one._origin.initialize(made(one), one._arc()[1])["drawn"] == ["stem_conv/kernel"]


def test_settings_that_must_agree_are_named(trained, tmp_path):
    values = {"train.init": str(trained[0]), "train.out_filters": 6}
    one = experiment(tmp_path, images("a", "b", "c"), **values)
    with pytest.raises(UserError, match=r"no weight there fits .*out_filters is 6 and was 4 there"):
        one._origin.initialize(made(one), one._arc()[1])


def test_the_architecture_is_the_given_the_derived_or_that_of_the_run(trained, tmp_path, capsys):
    origin, data = {"train.init": str(trained[0])}, images("a", "b", "c")
    assert str(experiment(tmp_path, data, **origin)._arc()[1]) == ARC
    assert str(experiment(tmp_path, data, arc=OTHER, **origin)._arc()[1]) == OTHER
    other = experiment(tmp_path, data, arc=OTHER, **origin)
    found = other._origin.initialize(made(other), other._arc()[1])
    assert "layer_2_skip_conv/kernel" in found["drawn"]
    assert "; its architecture is another one" in capsys.readouterr().out
    (tmp_path / "arc.txt").write_text(OTHER)
    with pytest.raises(UserError, match="is not of the architecture that this run has derived"):
        experiment(tmp_path, data, **origin).train()
    assert str(experiment(tmp_path, data, overwrite=True, **origin)._arc()[1]) == ARC


def test_what_no_training_can_start_from(trained, tmp_path):
    folder, data = trained[0], images("a", "b", "c")
    unfinished, rnn = tmp_path / "unfinished", tmp_path / "rnn"
    for copy in (unfinished, rnn):
        shutil.copytree(folder, copy)
    (unfinished / "done.json").unlink()
    config = json.loads((rnn / "config.json").read_text())
    config["config"]["child"] = {"hidden_size": 200}
    (rnn / "config.json").write_text(json.dumps(config))
    for origin, message in (
        (tmp_path, "train.init must be none, shared, or a run's folder, got "),
        (unfinished, "has no finished training; finish it"),
        (rnn, "is of another search space"),
        ("shared", "holds no finished search; run the verb search first"),
    ):
        one = experiment(tmp_path / "run", data, **{"train.init": str(origin), "arc": ARC})
        with pytest.raises(UserError, match=message):
            one.train()
        assert not (tmp_path / "run").exists()
    values = {"train.init": "shared", "overwrite": True, "arc": ARC}
    with pytest.raises(UserError, match="--overwrite would remove the search"):
        experiment(folder, data, **values).pipeline()
    values = {"train.init": str(folder), "overwrite": True}
    with pytest.raises(UserError, match=r"train.init names the run itself"):
        experiment(folder, data, **values).train()
    assert (folder / "train/result.json").exists()


def test_sizes_are_inherited_from_the_run_or_kept(trained, tmp_path):
    settings = CIFAR_MACRO.presets["paper"].changed({"train.init": str(trained[0])})
    sizes = inherited_sizes(settings, tmp_path)
    assert sizes == {
        "space.ops": "6",
        "space.search_channels": False,
        "space.channel_blocks": 4,
        "child.stem": "cifar",
        "child.authors_macro": False,
        "train.out_filters": 4,
        "train.stem": None,
        "train.aux_head": True,
    }
    # What has begun keeps its own.
    config = {"train": {"init": str(trained[0]), "out_filters": 8}}
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    assert inherited_sizes(settings, tmp_path) == {"train.out_filters": 8}
    config["train"]["init"] = None
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    assert inherited_sizes(settings, tmp_path) == sizes
    alike = settings.changed({"child.out_filters": 96})
    for init in (None, "shared", str(tmp_path / "none")):
        assert inherited_sizes(alike.changed({"train.init": init}), tmp_path) == {}


def test_a_run_in_a_store_keeps_the_sizes_that_it_began_with(store, tmp_path):
    settings = CIFAR_MACRO.presets["paper"].changed({"train.init": str(tmp_path / "gone")})
    config = {"train": {"init": str(tmp_path / "gone"), "out_filters": 8}}
    assert inherited_sizes(settings, "s3://bucket/tuned") == {}
    Store("s3://bucket/tuned").write("config.json", json.dumps({"config": config}).encode())
    assert inherited_sizes(settings, "s3://bucket/tuned") == {"train.out_filters": 8}


def test_a_layers_weights_are_taken_together_on_all_devices(capsys):
    with tiny.two_devices().scope():
        inputs = keras.Input((4, 4, 3))
        x = BatchNorm(name="first_norm")(keras.layers.Conv2D(2, 1, name="first_conv")(inputs))
        network = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="second_conv")(x))
    named = {
        "first_conv/kernel": np.ones((1, 1, 3, 2), np.float32),
        "first_norm/scale": np.full(2, 3, np.float32),
        "first_norm/moving_mean": np.full(2, 5, np.float32),
        "second_conv/kernel": np.ones((1, 1, 2, 2), np.float32),
        # Does not fit, so that the kernel is not taken either.
        "second_conv/bias": np.ones(3, np.float32),
        "third_conv/kernel": np.ones(2, np.float32),
    }
    found = take(network, named, "shared", ["a note"])
    assert found == {
        "from": "shared",
        "taken_variables": 2,
        "variables": 6,
        "taken_weights": 8,
        "weights": 18,
        "drawn": [
            "first_conv/bias",
            "first_norm/offset",
            "second_conv/kernel",
            "second_conv/bias",
        ],
    }
    norm = network.get_layer("first_norm")
    for variable, value in ((norm.scale, 3), (norm.moving_mean, 5)):
        for copy in tiny.two_devices().experimental_local_results(variable.value):
            np.testing.assert_array_equal(copy, [value] * 2)
    assert capsys.readouterr().out == (
        "train: starts from the shared weights: 2 of 6 variables, 8 of 18 weights; drawn anew: "
        "first_conv, first_norm, second_conv; a note\n"
    )
    with pytest.raises(UserError, match=r"train.init=runs/a: no weight .* alike; a note"):
        take(network, {}, "runs/a", ["a note"])


def test_words_of_both_vocabularies_keep_their_embedding():
    settings = PTB_RNN.presets["tiny"].changed({"train.hidden_size": 2})
    arc, domain = settings.space.parse((0, 0, 0, 1) + (0, 0) * 2), PTB_RNN.domain
    network = domain.network(arc, settings, (3,), StepRng(1, 0))
    drawn = network.recurrence.embedding.numpy()
    path = "recurrence/embedding"
    old = {path: np.arange(8, dtype=np.float32).reshape(4, 2), "recurrence/node_1": 1}
    weights, note = domain.relabel(old, network, ("a", "b", "c", "d"), ("d", "new", "b"))
    np.testing.assert_array_equal(weights[path], [[6, 7], drawn[1], [2, 3]])
    assert weights["recurrence/node_1"] == 1
    assert note == "2 of 3 words were in its vocabulary"
    # Of another size nothing fits, and nothing is changed.
    old[path] = tf.zeros((4, 3))
    assert domain.relabel(old, network, "abcd", "dxb")[0] is old
