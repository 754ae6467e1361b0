"""Builds what is trained: the shared weights of a search, and the network of one architecture."""

from typing import Any

import keras
import tensorflow as tf

from enas_tf.core.space import Arc
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings
from enas_tf.layers.dropout import StepRng
from enas_tf.search.weights import SharedWeights
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.final_training import Training


def make_shared_weights(
    settings: Settings, domain: Domain, data: Any, strategy: tf.distribute.Strategy, compiled: bool
) -> SharedWeights:
    """Builds the supernet of a search and what trains it.

    Args:
        settings: of the run.
        domain: of the data.
        data: the data set.
        strategy: the distribution strategy of the run.
        compiled: whether XLA compiles the steps.
    """
    config, seed = settings.search, settings.common.seed
    task = domain.search_task(settings, data)
    steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
    with strategy.scope():
        rng = StepRng(steps, seed)
        supernet = domain.supernet(settings, domain.sizes(data), rng)
        trainer = ChildTrainer(supernet, supernet, task, settings.child, compiled)
    return SharedWeights(trainer, task, config, rng, seed)


def make_training(
    arc: Arc,
    settings: Settings,
    domain: Domain,
    data: Any,
    strategy: tf.distribute.Strategy,
    compiled: bool,
) -> tuple[Training, keras.Model]:
    """Builds an architecture's final network and what trains it.

    Args:
        arc: the architecture.
        settings: as for `make_shared_weights`, and so are the others.
        domain: see there.
        data: see there.
        strategy: see there.
        compiled: see there.
    """
    config, seed = settings.train, settings.common.seed
    keras.utils.set_random_seed(seed)
    task = domain.train_task(settings, data)
    steps = task.steps_per_epoch(config.batch_size, config.max_steps) * config.num_epochs
    with strategy.scope():
        rng = StepRng(steps, seed)
        network = domain.network(arc, settings, domain.sizes(data), rng)
        forward, child = domain.forward(network), config.child(settings.child)
        trainer = ChildTrainer(network, forward, task, child, compiled)
    return Training(trainer, task, config, rng, seed), network
