import json

import numpy as np
import pytest

from enas_tf.core.errors import UserError
from enas_tf.data.base import ImageData, Split
from enas_tf.experiment.experiment import Experiment
from enas_tf.experiment.settings import flags_of
from enas_tf.macro.channels.controller import ChannelController
from enas_tf.macro.channels.network import count_cost_with_channels
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.macro.space import MacroSpace

OPTIONS = {
    "space.search_channels": True,
    "space.channel_blocks": 2,
    "space.num_layers": 3,
    "space.ops": "conv_3x3",
    "child.out_filters": 4,
    "train.out_filters": 8,
    "search.num_epochs": 1,
    "search.max_steps": 2,
    "strategy": "one",
    "search.batch_size": 8,
    "search.updates_per_epoch": 1,
    "search.arcs_per_update": 2,
    "search.cost": "params",
    "search.cost_target": 2000,
    "derive.num_samples": 5,
    "derive.num_batches": 1,
}


def experiment(folder, **options):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (32, 8, 8, 1)).astype(np.uint8)
    split = Split(images, np.arange(32, dtype=np.int32) % 2)
    data = ImageData("noise", dict.fromkeys(("train", "valid", "test"), split), ("a", "b"), False)
    settings = CIFAR_MACRO.presets["tiny"].changed(OPTIONS | options | {"workdir": str(folder)})
    return Experiment(CIFAR_MACRO, settings, data)


def test_the_setting_chooses_the_parts(tmp_path):
    chosen = experiment(tmp_path)
    assert chosen.settings.space == ChannelSpace(3, "conv_3x3", channel_blocks=2)
    assert chosen.recipe.controller is ChannelController
    flags = flags_of(chosen.settings, CIFAR_MACRO.presets, tmp_path)
    assert {"--space.search_channels=true", "--space.channel_blocks=2"} <= set(flags)
    # Settings that come from such an experiment choose again.
    whole = chosen.settings.changed({"space.search_channels": False})
    recipe, settings = CIFAR_MACRO.chosen_by(whole)
    assert recipe is CIFAR_MACRO and type(settings.space) is MacroSpace
    assert CIFAR_MACRO.chosen_by(chosen.settings) == (chosen.recipe, chosen.settings)


@pytest.mark.parametrize("part", ["child", "train"])
def test_filters_that_cannot_be_divided_are_refused(tmp_path, part):
    with pytest.raises(UserError) as error:
        experiment(tmp_path, **{f"{part}.out_filters": 10, "space.channel_blocks": 4})
    assert str(error.value) == (
        f"{part}.out_filters must be a multiple of space.channel_blocks, 4, got 10"
    )


def test_derives_by_the_cost_of_the_chosen_channels(tmp_path):
    # To trace the controller's training takes most of the time, and it has tests of its own.
    run = experiment(tmp_path, **{"controller.kind": "random"})
    run.search()
    arc = run.derive()
    assert run.settings.space.parse((tmp_path / "arc.txt").read_text()) == arc
    ranked = json.loads((tmp_path / "arcs.json").read_text())
    assert len({one["params"] for one in ranked}) > 1
    config = run.settings.train.child(run.settings.child)
    for one in ranked:
        of_ranked = run.settings.space.parse(one["arc"])
        cost = count_cost_with_channels(of_ranked, config, (8, 8, 1), 2)
        assert (one["params"], one["madds"]) == cost
    # A later command reads the architecture by the same settings.
    assert (
        "layer 0 = conv 3x3 block"
        in experiment(tmp_path, **{"controller.kind": "random"}).describe()
    )
