"""What is said of an architecture."""

import pytest

from enas_tf.experiment.describe import describe
from enas_tf.layers.dropout import StepRng
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO

SIZES = (8, 8, 1), 10


def said_of(recipe, text, **values):
    settings = recipe.presets["tiny"].changed(values)
    space, arc = settings.space.of(text)
    return describe(space, arc, settings, recipe.domain, SIZES)


def test_says_what_it_computes_what_it_costs_and_how_many_there_are(tmp_path):
    picture = tmp_path / "cells.svg"
    shown = said_of(CIFAR_MICRO, "0 0 1 4 0 2 1 3", output=str(picture))
    assert "node 2" in shown and "separable conv 3x3" in shown
    settings = CIFAR_MICRO.presets["tiny"]
    arc = settings.space.of("0 0 1 4 0 2 1 3")[1]
    network = CIFAR_MICRO.domain.network(arc, settings, SIZES, StepRng(1, 0))
    trained = sum(w.numpy().size for w in network.trainable_weights if "aux" not in w.path)
    assert f": {trained:,} parameters, " in shown
    assert "multiply-adds for an image of 8x8x1" in shown
    assert shown.splitlines()[-1].startswith("the space holds 10,000 architectures")
    assert picture.read_text().lstrip().startswith(("<?xml", "<svg"))


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ("3", {}, "a network must have at least 3 layers, got 1"),
        ("0 1 1", {}, "a network must have at least 3 layers, got 2"),
        ("0 1 1 5 0 1", {"child.authors_macro": True}, "layer 2 is 5 "),
    ],
)
def test_explains_what_no_network_can_be_built_from(text, values, reason):
    shown = said_of(CIFAR_MACRO, text, **values)
    assert "layer 0" in shown
    assert "no final network can be built: " in shown and reason in shown
