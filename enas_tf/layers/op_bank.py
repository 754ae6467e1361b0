"""The shared weights of one op."""

import keras
import tensorflow as tf

from enas_tf.layers.choice import Weights
from enas_tf.layers.final_weights import Named
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import MovingAverages, Statistics
from enas_tf.layers.shared_op import SharedOp


class OpBank(keras.layers.Layer):
    """All sets of an op's weights, one for each place where the op may be chosen.

    The sets are stacked along a leading axis of a few variables. One variable per set would make
    ten times as many variables, and a slow start.

    Args:
        op: the op that uses the weights.
        sets: number of sets.
        channels: channels of the op's input and output.
        moving: whether to keep moving averages for every set.
    """

    def __init__(self, op: SharedOp, sets: int, channels: int, moving: bool, **kwargs) -> None:
        super().__init__(**{"name": op.name.replace(" ", "_"), **kwargs})
        self.op = op
        self.sets = sets
        self.channels = channels
        self.moving = moving and op.num_norms > 0

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates kernels and, if the op has batch norms, scales, offsets and averages."""
        self.bank = {
            name: self.add_weight(
                shape=(self.sets, *kernel.shape), initializer=he_normal(kernel.fan_in), name=name
            )
            for name, kernel in self.op.kernel_shapes(self.channels).items()
        }
        if self.op.num_norms:
            shape = (self.sets, self.op.num_norms, self.channels)
            for name, initial in (("scale", "ones"), ("offset", "zeros")):
                # Without autocast: the batch norm's kernel takes float32 for any input.
                self.bank[name] = self.add_weight(
                    shape=shape, initializer=initial, autocast=False, name=name
                )
            if self.moving:
                self.averages = MovingAverages(shape, name="averages")
        self.built = True

    def read(self, training: bool = False) -> Weights:
        """Returns the weights that the op takes, with all sets along axis 0.

        Args:
            training: whether to normalise by the batch's statistics even if there are averages.
        """
        averages = self.averages.read() if self.moving and not training else ()
        return *map(tf.convert_to_tensor, self.bank.values()), *averages

    def final_weights(self, row: int, name: str) -> Named:
        """Returns one set by the paths that final networks have for its weights.

        Args:
            row: the number of the set.
            name: of the op in the final network.
        """
        weights = dict(self.bank)
        if self.moving:
            weights |= {"mean": self.averages.mean, "variance": self.averages.variance}
        return self.op.final_weights(name, {kind: w.numpy()[row] for kind, w in weights.items()})

    def update(self, rows: tf.Tensor, used: tf.Tensor, statistics: Statistics) -> None:
        """Updates the moving averages of the sets that were used with a batch's statistics.

        Args:
            rows: numbers of `n` sets, all different, `(n,)`, int32.
            used: whether each of these sets was used, `(n,)`, bool.
            statistics: means and variances of these sets, each `(n, norms, channels)`, with at
                least as many norms as the op has.
        """
        if not self.moving:
            return
        places, shape = rows[:, tf.newaxis], self.averages.mean.shape
        own = [tf.scatter_nd(places, s[:, : self.op.num_norms], shape) for s in statistics]
        mask = tf.scatter_nd(places, tf.cast(used, tf.float32), [self.sets])
        self.averages.update(own, mask[:, tf.newaxis, tf.newaxis])
