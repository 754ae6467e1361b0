"""The algorithms that a search can use."""

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
"""The algorithms by `controller.kind`.

To add one, write a class, add a line here, and add the name to the type of that option.
"""


def make_algorithm(
    controller: type[Controller], space: Space, config: ControllerConfig
) -> Algorithm:
    """Makes the algorithm that a configuration names, on the host.

    Args:
        controller: the recipe's controller class.
        space: the space of the architectures.
        config: settings of controller and algorithm; `kind` is a key of `ALGORITHMS`.
    """
    # On the host, as `Algorithm` explains.
    with tf.device("CPU:0"):
        return ALGORITHMS[config.kind].make(controller, space, config)
