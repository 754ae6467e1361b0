"""The algorithms that a search can be run with."""

from collections.abc import Mapping

import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.controller import Controller, ControllerConfig
from enas_tf.search.ppo import Ppo
from enas_tf.search.random_search import RandomSearch
from enas_tf.search.reinforce import Reinforce

ALGORITHMS: Mapping[str, type[Algorithm]] = {
    "lstm": Reinforce,
    "ppo": Ppo,
    "random": RandomSearch,
}
"""By `controller.kind`; another one is a class, a line here and a name in that option's type."""


def make_algorithm(
    controller: type[Controller], space: Space, config: ControllerConfig
) -> Algorithm:
    """Makes the algorithm that a configuration names, on the host.

    Args:
        controller: the recipe's class.
        space: of the architectures.
        config: whose `kind` is a key of `ALGORITHMS`.
    """
    with tf.device("CPU:0"):
        return ALGORITHMS[config.kind].make(controller, space, config)
