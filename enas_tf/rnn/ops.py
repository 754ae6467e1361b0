"""The activations of the rnn space, each in a row: its name, and what a node does with it.

To add one, add a row at the end. In the shared-weight network every node has kernels of its own for
each activation; the final network has those of the one that was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from etils import epy

from enas_tf.core.op_table import OpTable

# The space reads names here, and is plain Python: TensorFlow loads when an op first runs.
with epy.lazy_imports():
    import tensorflow as tf


@dataclass(frozen=True)
class Activation:
    """An op of the rnn space.

    Attributes:
        name: what an architecture is described by.
        function: from and to a tensor of any shape, by element.
    """

    has_weights: ClassVar[bool] = True
    """Each node has kernels for each activation."""

    name: str
    function: Callable[["tf.Tensor"], "tf.Tensor"]


OPS = OpTable(
    (
        Activation("tanh", lambda x: tf.tanh(x)),
        Activation("relu", lambda x: tf.nn.relu(x)),
        Activation("sigmoid", lambda x: tf.sigmoid(x)),
        Activation("identity", lambda x: tf.identity(x)),
    ),
    default=4,
)
"""All activations, in the order of their numbers."""
