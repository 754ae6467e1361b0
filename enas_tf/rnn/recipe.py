"""The recipe of the rnn space: the parts of a search for recurrent cells, and its presets."""

from dataclasses import replace

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.experiment.recipe import Recipe
from enas_tf.experiment.settings import Settings, TextCommonConfig
from enas_tf.experiment.text import TextDomain
from enas_tf.rnn.controller import RnnController, RnnControllerConfig
from enas_tf.rnn.network import build, count_cost, deployable
from enas_tf.rnn.space import RnnSpace
from enas_tf.rnn.supernet import RnnSupernet
from enas_tf.search.compare import CompareConfig
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.search import SearchConfig
from enas_tf.training.train_config import RnnTrainConfig

_PAPER = Settings(
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

_PAPER_TEXT = replace(
    _PAPER,
    common=TextCommonConfig(preset="paper_text"),
    child=replace(_PAPER.child, output="loose_ends"),
    controller=replace(
        _PAPER.controller, tanh_constant=2.5, entropy_weight=1e-4, learning_rate=0.00035
    ),
)

_TINY = replace(
    _PAPER,
    common=TextCommonConfig(preset="tiny", dataset="pydoc"),
    space=RnnSpace(4),
    # A short training on little text needs less dropout.
    child=replace(
        _PAPER.child,
        hidden_size=100,
        drop_word=0.0,
        drop_embedding=0.1,
        drop_input=0.2,
        drop_node=0.1,
        drop_output=0.3,
        grad_clip=0.25,
    ),
    controller=replace(_PAPER.controller, learning_rate=0.0035, baseline_decay=0.95),
    search=SearchConfig(num_epochs=10, batch_size=32, updates_per_epoch=8, arcs_per_update=10),
    derive=DeriveConfig(num_samples=30),
    compare=CompareConfig(num_samples=30, num_trained=4, epochs=2),
    train=replace(
        _PAPER.train,
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
    domain=TextDomain(RnnSupernet, build, count_cost, deployable),
    controller=RnnController,
    presets={"paper": _PAPER, "paper_text": _PAPER_TEXT, "tiny": _TINY},
)
"""The search for recurrent cells of language models."""
