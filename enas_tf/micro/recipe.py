"""The recipe of the micro space: the parts of a search for cells, and its presets."""

from dataclasses import replace

from enas_tf.core.network_config import CellChildConfig
from enas_tf.data.base import DataConfig
from enas_tf.experiment.images import ImageDomain
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import CommonConfig, Settings
from enas_tf.micro.controller import MicroController
from enas_tf.micro.network import build, count_cost
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.search.compare import CompareConfig
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.search import ImageSearchConfig
from enas_tf.training.train_config import CellTrainConfig

_PAPER = Settings(
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

_PAPER_TEXT = replace(
    _PAPER,
    common=CommonConfig(preset="paper_text"),
    child=replace(_PAPER.child, lr_min=0.001),
    controller=replace(
        _PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
    train=replace(_PAPER.train, lr_min=0.001, l2=1e-4),
)

_TINY = replace(
    _PAPER,
    common=CommonConfig(preset="tiny", dataset="digits"),
    space=MicroSpace(2),
    # There are few steps, so the learning rate starts high and falls only once.
    child=CellChildConfig(num_layers=3, out_filters=16, keep_prob=1.0, lr_max=0.1, lr_period=30),
    # With the paper's epsilon small gradients make small steps: 240 updates would move nothing.
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
    domain=ImageDomain(MicroSupernet, build, count_cost),
    controller=MicroController,
    presets={"paper": _PAPER, "paper_text": _PAPER_TEXT, "tiny": _TINY},
)
"""The search for cells of image classifiers."""
