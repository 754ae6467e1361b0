"""Checks that raise errors before a run makes its folder, rather than after hours of search."""

import random
from typing import Any

import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc
from enas_tf.experiment.domain import Domain
from enas_tf.experiment.settings import Settings
from enas_tf.training.run_folder import Run

# Enough random architectures for every op of a space to be among them.
_SOME_ARCS = 20


def check_search(
    settings: Settings, domain: Domain, data: Any, strategy: tf.distribute.Strategy
) -> None:
    """Checks what a search with shared weights needs.

    Args:
        settings: the settings of the run.
        domain: the domain of the data.
        data: the data set.
        strategy: the distribution strategy of the run.

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
    cost = domain.list_blocks if settings.needs_latency else domain.count_cost
    for _ in range(_SOME_ARCS):
        cost(settings.space.random(rng), settings, sizes)


def check_training(
    settings: Settings,
    domain: Domain,
    data: Any,
    strategy: tf.distribute.Strategy,
    arc: Arc | None = None,
) -> None:
    """Checks that a training from scratch can run.

    Args:
        settings: the settings of the run.
        domain: the domain of the data.
        data: the data set.
        strategy: the distribution strategy of the run.
        arc: the architecture to train, if it is known.

    Raises:
        UserError: if the data or the number of replicas do not allow the batch size, or if no
            final network can be built from the architecture.
    """
    if arc:
        domain.count_cost(arc, settings, domain.sizes(data))
    shard = (0, strategy.num_replicas_in_sync)
    task = domain.train_task(settings, data)
    task.train_batches(settings.train.batch_size, seed=0, steps=range(1), shard=shard)
    if not settings.train.use_validation:
        task.eval_batches("valid", settings.train.batch_size, shard)


def keep_labels(run: Run, settings: Settings, domain: Domain, data: Any) -> None:
    """Writes the labels of the data into the run's folder, once, then prints what the data are.

    Args:
        run: the run.
        settings: the settings of the run.
        domain: the domain of the data.
        data: the data set.

    Raises:
        UserError: if the labels differ from those with which the run began.
    """
    text = "\n".join(domain.labels(data)) + "\n"
    path = run.path("labels.txt")
    if not path.exists():
        run.write_text("labels.txt", text)
        print(*domain.summary(settings, data), sep="\n")
    elif path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{settings.common.dataset} has other classes or words than when the run began "
            f"({path}); use another --workdir for the new data"
        )
