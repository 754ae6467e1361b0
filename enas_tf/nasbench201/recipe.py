"""The recipe of NAS-Bench-201's space: what a search for its cells goes with, and its presets."""

from dataclasses import dataclass, replace
from typing import Literal

from enas_tf.core.config import option
from enas_tf.data.base import DataConfig
from enas_tf.experiment.images import ImageDomain
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import CommonConfig, Settings
from enas_tf.nasbench201.controller import Nasbench201Controller
from enas_tf.nasbench201.network import (
    Nasbench201ChildConfig,
    Nasbench201TrainConfig,
    build,
    count_cost,
)
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.nasbench201.supernet import Nasbench201Supernet
from enas_tf.search.compare import CompareConfig
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.search import ImageSearchConfig


@dataclass(frozen=True)
class Nasbench201CommonConfig(CommonConfig):
    """Flags of every verb; there is one preset more."""

    preset: Literal["paper", "paper_text", "robust", "tiny"] = option(
        "paper",
        "paper: the search as the authors' of cells; paper_text: some of its settings as in the "
        "paper's text; robust: a search whose rewards rank cells better (docs/truth.md); tiny: the "
        "whole pipeline in minutes on two CPU cores",
    )


# The search as in the micro space, the other space of cells; the training is the benchmark's.
_PAPER = Settings(
    common=Nasbench201CommonConfig(),
    space=Nasbench201Space(4),
    child=Nasbench201ChildConfig(keep_prob=1.0),
    # The micro controller's reduction of 2.5 would keep every op's probability under 0.38, and
    # every cell's under 0.003.
    controller=ControllerConfig(op_tanh_reduce=1.0),
    search=ImageSearchConfig(),
    derive=DeriveConfig(),
    compare=CompareConfig(),
    train=Nasbench201TrainConfig(
        num_epochs=12,
        batch_size=256,
        out_filters=16,
        keep_prob=1.0,
        drop_path_keep_prob=1.0,
        aux_head=False,
        # PyTorch adds 5e-4 times the weights to the gradient; here it is of this times their
        # squares.
        l2=2.5e-4,
        lr_max=0.1,
        lr_min=0.0,
        lr_period=12,
    ),
    data=DataConfig(pad=4, cutout=0),
)

_PAPER_TEXT = replace(
    _PAPER,
    common=Nasbench201CommonConfig(preset="paper_text"),
    child=replace(_PAPER.child, lr_min=0.001),
    controller=replace(
        _PAPER.controller,
        temperature=5.0,
        tanh_constant=2.5,
        entropy_weight=0.1,
        learning_rate=0.00035,
    ),
)

_ROBUST = replace(
    _PAPER,
    common=Nasbench201CommonConfig(preset="robust"),
    # At a falling rate, or with less noise by other means, cells without weights gain most.
    child=replace(_PAPER.child, lr_max=0.1, lr_min=0.1, decay_idle=False),
    controller=replace(_PAPER.controller, epsilon=1e-8),
    search=replace(
        _PAPER.search,
        sampling="fair",
        warmup_epochs=75,
        updates_per_epoch=60,
        reward_batches=4,
        snapshots=10,
    ),
)

_TINY = replace(
    _PAPER,
    common=Nasbench201CommonConfig(preset="tiny", dataset="digits"),
    # As in the other spaces' tiny forms.
    child=replace(_PAPER.child, num_cells=1, lr_max=0.1, lr_period=30),
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
        num_cells=1,
        lr_period=15,
        use_validation=False,
    ),
    data=DataConfig(pad=0, cutout=0),
)

NASBENCH201 = Recipe(
    name="nasbench201",
    domain=ImageDomain(Nasbench201Supernet, build, count_cost),
    controller=Nasbench201Controller,
    presets={
        "paper": _PAPER,
        "paper_text": _PAPER_TEXT,
        "robust": _ROBUST,
        "tiny": _TINY,
    },
)
"""Cells for images, each of whose accuracy is known."""
