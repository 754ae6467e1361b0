"""What would stop a run later, raised before its folder is made or a search has taken its time."""

import random
from typing import Any

import tensorflow as tf

from enas_tf.core.space import Arc
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings

# Enough that all ops of a space are among them.
_SOME_ARCS = 20


def check_search(
    settings: Settings, domain: Domain, data: Any, strategy: tf.distribute.Strategy
) -> None:
    """Checks what a search with shared weights needs.

    Args:
        settings: of the run.
        domain: of the data.
        data: the data set.
        strategy: of the run.

    Raises:
        UserError: a batch size or number of architectures that the data or replicas do not allow.
    """
    config, replicas = settings.search, strategy.num_replicas_in_sync
    config.check_replicas(replicas)
    task, steps = domain.search_task(settings, data), range(1)
    task.train_batches(config.batch_size, seed=0, steps=steps, shard=(0, replicas))
    task.reward_batches(config.batch_size, seed=0, steps=steps)


def check_networks(settings: Settings, domain: Domain, sizes: tuple) -> None:
    """Checks what a derivation needs.

    Args:
        settings: of the run.
        domain: of the data.
        sizes: the domain's, of the data.

    Raises:
        UserError: a space with architectures that no final network can be built from.
    """
    rng = random.Random(0)
    for _ in range(_SOME_ARCS):
        domain.count_cost(settings.space.random(rng), settings, sizes)


def check_training(
    settings: Settings,
    domain: Domain,
    data: Any,
    strategy: tf.distribute.Strategy,
    arc: Arc | None = None,
) -> None:
    """Checks what a training from scratch needs.

    Args:
        settings: of the run.
        domain: of the data.
        data: the data set.
        strategy: of the run.
        arc: to train, where it is known.

    Raises:
        UserError: a batch size that the data or replicas do not allow, or an architecture that no
            final network can be built from.
    """
    if arc:
        domain.count_cost(arc, settings, domain.sizes(data))
    shard = (0, strategy.num_replicas_in_sync)
    task = domain.train_task(settings, data)
    task.train_batches(settings.train.batch_size, seed=0, steps=range(1), shard=shard)
