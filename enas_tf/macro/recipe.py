"""The recipe of the macro space: the parts of a search for whole networks, and its presets."""

from dataclasses import fields, replace

from enas_tf.core.errors import UserError
from enas_tf.data.base import DataConfig
from enas_tf.experiment.images import ImageDomain
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import CommonConfig, Settings
from enas_tf.macro.channels.controller import ChannelController
from enas_tf.macro.channels.network import build_with_channels, count_cost_with_channels
from enas_tf.macro.channels.space import ChannelSpace
from enas_tf.macro.channels.supernet import ChannelSupernet
from enas_tf.macro.controller import MacroController, MacroControllerConfig
from enas_tf.macro.network import MacroChildConfig, build, count_cost
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from enas_tf.search.compare import CompareConfig
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.search import ImageSearchConfig
from enas_tf.training.train_config import ImageTrainConfig

_PAPER = Settings(
    common=CommonConfig(),
    space=MacroSpace(12),
    child=MacroChildConfig(),
    controller=MacroControllerConfig(),
    search=ImageSearchConfig(
        num_epochs=310, batch_size=128, updates_per_epoch=50, arcs_per_update=20
    ),
    derive=DeriveConfig(),
    compare=CompareConfig(),
    train=ImageTrainConfig(
        num_epochs=310,
        batch_size=100,
        out_filters=96,
        keep_prob=0.5,
        drop_path_keep_prob=1.0,
        aux_head=False,
        lr_min=0.001,
    ),
    data=DataConfig(cutout=0),
)

_PAPER_TEXT = replace(
    _PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_PAPER.child, lr_min=0.001, l2=1e-4),
    controller=replace(
        _PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_PAPER.train, l2=1e-4),
)

_TINY = replace(
    _PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MacroSpace(6, channel_blocks=4),
    # There are few steps, so the learning rate starts high and falls only once.
    child=replace(_PAPER.child, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    # As in the micro space's preset "tiny".
    controller=replace(_PAPER.controller, epsilon=1e-8),
    search=ImageSearchConfig(
        num_epochs=30, batch_size=32, max_steps=40, updates_per_epoch=8, arcs_per_update=10
    ),
    derive=DeriveConfig(num_samples=30, num_batches=16),
    compare=CompareConfig(num_samples=30, num_trained=4, epochs=2),
    train=replace(
        _PAPER.train,
        num_epochs=15,
        batch_size=64,
        max_steps=100,
        out_filters=16,
        keep_prob=0.9,
        lr_period=15,
        use_validation=False,
    ),
    data=DataConfig(pad=0, cutout=0),
)


def _variant(settings: Settings) -> tuple[Recipe, Settings]:
    """Returns the recipe for the kind of space that `space.search_channels` asks for.

    Raises:
        UserError: the channels cannot be divided into the blocks.
    """
    space = settings.space
    if space.search_channels:
        _check_filters(settings)
    recipe, kind = (_CHANNELS, ChannelSpace) if space.search_channels else (CIFAR_MACRO, MacroSpace)
    if type(space) is not kind:
        # A flag makes a space of the preset's kind.
        space = kind(**{field.name: getattr(space, field.name) for field in fields(space)})
    return recipe, replace(settings, space=space)


def _check_filters(settings: Settings) -> None:
    blocks = settings.space.channel_blocks
    for part, child in ("child", settings.child), ("train", settings.train.child(settings.child)):
        if child.out_filters % blocks:
            raise UserError(
                f"{part}.out_filters must be a multiple of space.channel_blocks, {blocks}, got "
                f"{child.out_filters}"
            )


CIFAR_MACRO = Recipe(
    name="cifar_macro",
    domain=ImageDomain(MacroSupernet, build, count_cost),
    controller=MacroController,
    presets={"paper": _PAPER, "paper_text": _PAPER_TEXT, "tiny": _TINY},
    variant=_variant,
)
"""The search for whole image classifiers."""

_CHANNELS = replace(
    CIFAR_MACRO,
    domain=ImageDomain(ChannelSupernet, build_with_channels, count_cost_with_channels),
    controller=ChannelController,
)
