"""The activations of the rnn space, each a row of a table: its name and its function.

To add one, add a row at the end. In the shared-weight network every node has kernels of its own for
each activation; in the final network it has those of the chosen one only.
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
        name: name of the op in descriptions of architectures.
        function: maps a tensor of any shape, element by element.
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
