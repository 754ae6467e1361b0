"""What goes with what: the one place that pairs a space with its parts, data and settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from enas_tf.child import CellChildConfig, RnnChildConfig
from enas_tf.compare import CompareConfig
from enas_tf.controllers.base import Controller, ControllerConfig
from enas_tf.controllers.macro import MacroController, MacroControllerConfig
from enas_tf.controllers.micro import MicroController
from enas_tf.controllers.rnn import RnnController, RnnControllerConfig
from enas_tf.data.base import DataConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.derive import DeriveConfig
from enas_tf.domains.base import Domain
from enas_tf.domains.images import ImageDomain
from enas_tf.domains.text import TextDomain
from enas_tf.networks import macro as macro_network
from enas_tf.networks import micro as micro_network
from enas_tf.networks import rnn as rnn_network
from enas_tf.search import ImageSearchConfig, SearchConfig
from enas_tf.settings import CommonConfig, Settings, TextCommonConfig
from enas_tf.spaces.base import Space
from enas_tf.spaces.macro import MacroSpace
from enas_tf.spaces.micro import MicroSpace
from enas_tf.spaces.rnn import RnnSpace
from enas_tf.supernets.macro import MacroSupernet
from enas_tf.supernets.micro import MicroSupernet
from enas_tf.supernets.rnn import RnnSupernet
from enas_tf.train import CellTrainConfig, ImageTrainConfig, RnnTrainConfig


@dataclass(frozen=True)
class Recipe:
    """A launcher's parts.

    Attributes:
        name: the launcher's.
        domain: the data, and the networks on them.
        controller: called with space and configuration.
        presets: settings by the preset's name, the default first.
    """

    name: str
    domain: Domain
    controller: Callable[[Space, ControllerConfig], Controller]
    presets: Mapping[str, Settings]


_MICRO_PAPER = Settings(
    common=CommonConfig(),
    space=MicroSpace(5),
    child=CellChildConfig(),
    controller=ControllerConfig(),
    search=ImageSearchConfig(),
    derive=DeriveConfig(),
    compare=CompareConfig(),
    train=CellTrainConfig(),
    data=DataConfig(),
)

_MICRO_PAPER_TEXT = replace(
    _MICRO_PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_MICRO_PAPER.child, lr_min=0.001),
    controller=replace(
        _MICRO_PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_MICRO_PAPER.train, lr_min=0.001, l2=1e-4),
)

_MICRO_TINY = replace(
    _MICRO_PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MicroSpace(2),
    # Few steps must do, so the rate is high and falls once.
    child=CellChildConfig(num_layers=3, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    # The paper's epsilon makes the steps of small gradients small: 240 updates would move nothing.
    controller=ControllerConfig(epsilon=1e-8),
    search=ImageSearchConfig(
        num_epochs=30, batch_size=32, max_steps=40, updates_per_epoch=8, arcs_per_update=10
    ),
    derive=DeriveConfig(num_samples=30, num_batches=16),
    compare=CompareConfig(num_samples=30, num_trained=4, epochs=2),
    train=CellTrainConfig(
        num_epochs=15,
        batch_size=64,
        max_steps=100,
        num_layers=3,
        out_filters=16,
        drop_path_keep_prob=0.9,
        lr_period=15,
        use_validation=False,
    ),
    data=DataConfig(pad=0, cutout=0),
)

CIFAR_MICRO = Recipe(
    name="cifar_micro",
    domain=ImageDomain(MicroSupernet, micro_network.build, micro_network.count_params),
    controller=MicroController,
    presets={"paper": _MICRO_PAPER, "paper_text": _MICRO_PAPER_TEXT, "tiny": _MICRO_TINY},
)
"""Cells for images."""

_MACRO_PAPER = Settings(
    common=CommonConfig(),
    space=MacroSpace(12),
    child=macro_network.MacroChildConfig(),
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

_MACRO_PAPER_TEXT = replace(
    _MACRO_PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_MACRO_PAPER.child, lr_min=0.001, l2=1e-4),
    controller=replace(
        _MACRO_PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_MACRO_PAPER.train, l2=1e-4),
)

_MACRO_TINY = replace(
    _MACRO_PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MacroSpace(6),
    # Few steps must do, so the rate is high and falls once.
    child=replace(_MACRO_PAPER.child, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    # As in the micro space's tiny form.
    controller=replace(_MACRO_PAPER.controller, epsilon=1e-8),
    search=ImageSearchConfig(
        num_epochs=30, batch_size=32, max_steps=40, updates_per_epoch=8, arcs_per_update=10
    ),
    derive=DeriveConfig(num_samples=30, num_batches=16),
    compare=CompareConfig(num_samples=30, num_trained=4, epochs=2),
    train=replace(
        _MACRO_PAPER.train,
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

CIFAR_MACRO = Recipe(
    name="cifar_macro",
    domain=ImageDomain(MacroSupernet, macro_network.build, macro_network.count_params),
    controller=MacroController,
    presets={"paper": _MACRO_PAPER, "paper_text": _MACRO_PAPER_TEXT, "tiny": _MACRO_TINY},
)
"""Whole networks for images."""

_RNN_PAPER = Settings(
    common=TextCommonConfig(),
    space=RnnSpace(9),
    child=RnnChildConfig(),
    controller=RnnControllerConfig(),
    search=SearchConfig(num_epochs=600, batch_size=128, updates_per_epoch=25),
    derive=DeriveConfig(),
    compare=CompareConfig(),
    train=RnnTrainConfig(),
    data=TextDataConfig(),
)

_RNN_PAPER_TEXT = replace(
    _RNN_PAPER,
    common=TextCommonConfig(preset="paper_text"),
    child=replace(_RNN_PAPER.child, output="loose_ends"),
    controller=replace(
        _RNN_PAPER.controller, tanh_constant=2.5, entropy_weight=1e-4, learning_rate=0.00035
    ),
)

_RNN_TINY = replace(
    _RNN_PAPER,
    common=TextCommonConfig(preset="tiny", dataset="pydoc"),
    space=RnnSpace(4),
    # A short training on little text needs less noise.
    child=replace(
        _RNN_PAPER.child,
        hidden_size=100,
        drop_word=0.0,
        drop_embedding=0.1,
        drop_input=0.2,
        drop_node=0.1,
        drop_output=0.3,
        grad_clip=0.25,
    ),
    controller=replace(_RNN_PAPER.controller, learning_rate=0.0035, baseline_decay=0.95),
    search=SearchConfig(num_epochs=10, batch_size=32, updates_per_epoch=8, arcs_per_update=10),
    derive=DeriveConfig(num_samples=30),
    compare=CompareConfig(num_samples=30, num_trained=4, epochs=2),
    train=replace(
        _RNN_PAPER.train,
        num_epochs=30,
        batch_size=32,
        hidden_size=200,
        drop_word=0.05,
        drop_embedding=0.15,
        drop_input=0.4,
        drop_node=0.15,
        drop_output=0.4,
        average_after=3,
    ),
)

PTB_RNN = Recipe(
    name="ptb_rnn",
    domain=TextDomain(RnnSupernet, rnn_network.build, rnn_network.count_params),
    controller=RnnController,
    presets={"paper": _RNN_PAPER, "paper_text": _RNN_PAPER_TEXT, "tiny": _RNN_TINY},
)
"""Recurrent cells for text."""
