from dataclasses import replace

import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.experiment.preflight import check_networks, check_search, check_training
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.rnn.recipe import PTB_RNN
from tests import tiny

ONE = tf.distribute.get_strategy


def settings_of(recipe, **values):
    return recipe.presets["tiny"].changed(values)


@pytest.fixture(scope="module", params=[CIFAR_MICRO, CIFAR_MACRO, PTB_RNN], ids=lambda r: r.name)
def loaded(request):
    """A recipe and its small data set that needs no download."""
    recipe = request.param
    return recipe, recipe.domain.load(recipe.presets["tiny"])


def check(settings, loaded, strategy):
    check_search(settings, loaded[0].domain, loaded[1], strategy)
    check_networks(settings, loaded[0].domain, loaded[0].domain.sizes(loaded[1]))
    check_training(settings, loaded[0].domain, loaded[1], strategy)


@pytest.mark.parametrize("strategy", [ONE, tiny.two_devices], ids=["one", "two"])
def test_the_tiny_presets_can_run(loaded, strategy):
    check(settings_of(loaded[0]), loaded, strategy())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search.batch_size": 7}, "multiple of 2, .*7$"),
        ({"train.batch_size": 9}, "multiple of 2, .*9$"),
        ({"search.arcs_per_update": 3}, "search.arcs_per_update must be .* got 3; try 4"),
    ],
)
def test_tells_what_two_replicas_cannot_share(loaded, values, message):
    settings = settings_of(loaded[0], **values)
    check(settings, loaded, ONE())
    with pytest.raises(UserError, match=message):
        check(settings, loaded, tiny.two_devices())


def test_tells_of_a_validation_text_that_no_training_could_be_judged_by(tmp_path):
    for name, words in (("train", 2_000), ("valid", 9), ("test", 50)):
        (tmp_path / f"{name}.txt").write_text("a b " * (words // 2) + "\n")
    settings = settings_of(PTB_RNN, dataset=f"text:{tmp_path}", **{"train.batch_size": 16})
    data = PTB_RNN.domain.load(settings)
    with pytest.raises(UserError, match="valid"):
        check_training(settings, PTB_RNN.domain, data, ONE())
    data = PTB_RNN.domain.load(settings.changed({"train.batch_size": 4}))
    check_training(settings.changed({"train.batch_size": 4}), PTB_RNN.domain, data, ONE())


def test_tells_that_language_models_have_no_latencies():
    settings = settings_of(PTB_RNN, **{"derive.max_latency_ms": 2.0})
    with pytest.raises(UserError, match=r"latencies are of networks for images: .*max_latency_ms"):
        check_networks(settings, PTB_RNN.domain, (100,))


def test_tells_of_ops_that_the_final_network_lacks():
    recipe = CIFAR_MACRO
    settings = settings_of(recipe, **{"child.authors_macro": True})
    loaded = recipe, recipe.domain.load(settings)
    with pytest.raises(UserError, match="which the authors' final network does not have"):
        check_networks(settings, recipe.domain, recipe.domain.sizes(loaded[1]))
    allowed = replace(settings.space, num_layers=3).parse("0 1 0 2 1 1")
    check_training(settings, recipe.domain, loaded[1], ONE(), allowed)
    with pytest.raises(UserError, match="layer 2 is 5"):
        other = replace(settings.space, num_layers=3).parse("0 1 0 5 1 1")
        check_training(settings, recipe.domain, loaded[1], ONE(), other)
