"""The shared weights of whole layers: every op of every layer, in a few variables.

With moving averages of batch norm, the functions here return a batch's statistics, and the banks
update the averages outside: a branch of `tf.switch_case` may not assign under `tf.distribute`.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from enas_tf.layers import choice
from enas_tf.layers.choice import Weights, take_rows
from enas_tf.layers.conv import halve
from enas_tf.layers.final_weights import Named, conv_weights
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import MovingAverages, Statistics, normalize
from enas_tf.layers.op_bank import OpBank
from enas_tf.macro.ops import MacroOp
from enas_tf.macro.space import MacroLayer


class LayerWeights(NamedTuple):
    """The shared weights of one layer.

    Attributes:
        kernel: kernels of the 1x1 convolution before each op, `(ops, channels, channels)`.
        scale: scales of the batch norm after that convolution, `(ops, channels)`.
        offset: offsets of the same batch norm, same shape.
        averages: means and variances to normalise by, same shape; None uses the batch's own.
        ops: the weights of each op; see `SharedOp.kernel_shapes`.
    """

    kernel: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor
    averages: Statistics | None
    ops: list[Weights]


class LayerStatistics(NamedTuple):
    """The means and variances that the batch norms of a layer used.

    Attributes:
        project: those of the batch norm before the op, each `(channels,)`.
        op: those of the op's batch norms, each `(norms, channels)`; zeros for an op without any.
    """

    project: Statistics
    op: Statistics


@functools.cache
def layer_function(ops: tuple[MacroOp, ...]) -> Callable[..., tuple]:
    """Returns `_run_layer` for `ops`; cached, so that the graph holds it once per shape."""
    return graph_function(partial(_run_layer, ops))


def _run_layer(
    ops: tuple[MacroOp, ...],
    x: tf.Tensor,
    op: tf.Tensor,
    weights: LayerWeights,
    with_statistics: bool = False,
) -> tuple[tf.Tensor, LayerStatistics | None]:
    """Runs a layer's chosen op, and the parts that all ops share before and after it.

    Args:
        ops: the ops to choose from.
        x: `(batch, height, width, channels)`.
        op: the number of the op, int32; no other op runs.
        weights: the weights of the layer.
        with_statistics: whether to return the statistics that were used to normalise.

    Returns:
        The output, with the shape of `x`; and the statistics, or None.
    """
    place = tf.reshape(op, [1, 1])
    kernel, scale, offset = (take_rows(one, place)[0] for one in weights[:3])
    averages = weights.averages and tuple(one[op] for one in weights.averages)
    x = pointwise_conv(x, kernel)
    x, *used = normalize(x, scale, offset, averages=averages)
    y, op_statistics = choice.run_op(ops, op, tf.nn.relu(x), weights.ops)
    # Relu ends every op, so it is applied here once. A pool's output does not change by it, since
    # its input is not negative.
    y = tf.nn.relu(y)
    return y, LayerStatistics(tuple(used), op_statistics) if with_statistics else None


class LayerBanks(keras.layers.Layer):
    """The weights of every op of every layer; each variable has a leading axis of layers.

    Args:
        num_layers: number of layers.
        ops: the ops that each layer chooses from.
        channels: channels of all inputs and outputs.
        moving: whether to keep moving averages.
    """

    def __init__(
        self, num_layers: int, ops: tuple[MacroOp, ...], channels: int, moving: bool, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.ops = ops
        self.num_ops = len(ops)
        self.channels = channels
        self.moving = moving
        self.banks = [OpBank(op, num_layers, channels, moving) for op in ops]

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates all weights."""
        shape = (self.num_layers, self.num_ops, self.channels)
        self.kernel = self.add_weight(
            shape=(*shape, self.channels), initializer=he_normal(self.channels), name="kernel"
        )
        options = {"shape": shape, "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **options)
        self.offset = self.add_weight(name="offset", initializer="zeros", **options)
        if self.moving:
            self.averages = MovingAverages(shape, name="averages")
        for bank in self.banks:
            bank.build()

    @property
    def run_layer(self) -> Callable[..., tuple]:
        """Runs a layer on its input, its part of `by_layer` and its weights; see `_run_layer`."""
        return layer_function(self.ops)

    def by_layer(self, chosen: tf.Tensor) -> list[tf.Tensor]:
        """Returns what `run_layer` takes of the tokens that choose what layers run."""
        return tf.unstack(chosen)

    def layers(self, training: bool) -> list[LayerWeights]:
        """Returns the weights of each layer.

        Args:
            training: whether to normalise by the batch's statistics even if there are averages.
        """
        own = [tf.unstack(tf.convert_to_tensor(w)) for w in (self.kernel, self.scale, self.offset)]
        averages = [None] * self.num_layers
        if self.moving and not training:
            averages = zip(*map(tf.unstack, self.averages.read()), strict=True)
        of_banks = [[tf.unstack(one) for one in bank.read(training)] for bank in self.banks]
        ops = [
            [tuple(one[layer] for one in bank) for bank in of_banks]
            for layer in range(self.num_layers)
        ]
        return [LayerWeights(*weights) for weights in zip(*own, averages, ops, strict=True)]

    def final_weights(self, number: int, layer: MacroLayer, name: str) -> Named:
        """Returns the weights of a layer's op by the paths that final networks have for them.

        Args:
            number: of the layer.
            layer: what an architecture has chosen for it.
            name: of the layer in the final network.
        """
        named = conv_weights(f"{name}_project", self.project_weights(number, layer.op))
        return named | self.banks[layer.op].final_weights(number, f"{name}_op")

    def project_weights(self, number: int, op: int) -> dict[str, np.ndarray]:
        """Returns the weights of the 1x1 convolution before an op, as `conv_weights` takes them."""
        weights = {"kernel": self.kernel, "scale": self.scale, "offset": self.offset}
        if self.moving:
            weights |= {"mean": self.averages.mean, "variance": self.averages.variance}
        return {kind: weight.numpy()[number, op] for kind, weight in weights.items()}

    def update(self, chosen: tf.Tensor, statistics: list[LayerStatistics]) -> None:
        """Updates the moving averages.

        Args:
            chosen: the number of each layer's op, `(num_layers,)`, int32.
            statistics: the statistics of each layer.
        """
        means, variances = zip(*(layer.project for layer in statistics), strict=True)
        stacked = tf.stack(means)[:, tf.newaxis], tf.stack(variances)[:, tf.newaxis]
        self.averages.update(stacked, tf.one_hot(chosen, self.num_ops)[..., tf.newaxis])
        of_ops = tuple(map(tf.stack, zip(*(layer.op for layer in statistics), strict=True)))
        layers = tf.range(self.num_layers)
        for number, bank in enumerate(self.banks):
            bank.update(layers, tf.equal(chosen, number), of_ops)


def _row(averages: Statistics | None, row: int) -> Statistics | None:
    return averages and (averages[0][row], averages[1][row])


@graph_function
def _reduce(
    x: tf.Tensor, weights: Weights, averages: Statistics | None, with_statistics: bool
) -> tuple[tf.Tensor, ...]:
    y = halve(x, *tf.unstack(weights["kernels"]))
    y, *statistics = normalize(y, weights["scale"], weights["offset"], averages=averages)
    return (y, *statistics) if with_statistics else (y,)


class ReductionBank(keras.layers.Layer):
    """Factorised reductions with batch norm, one for each of several inputs of one shape.

    Args:
        num_inputs: number of inputs.
        channels: channels of inputs and outputs, even.
        moving: whether to keep moving averages and use them when `training` is false.

    Call arguments:
        inputs: each `(batch, height, width, channels)`.
        training: whether to update the moving averages.
    """

    def __init__(self, num_inputs: int, channels: int, moving: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_inputs = num_inputs
        self.channels = channels
        self.moving = moving

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates the kernels, scales and offsets, and the moving averages if there are any."""
        size = self.channels
        options = {"shape": (self.num_inputs, size), "autocast": False}
        self.bank = {
            "kernels": self.add_weight(
                shape=(self.num_inputs, 2, size, size // 2),
                initializer=he_normal(size),
                name="kernels",
            ),
            "scale": self.add_weight(name="scale", initializer="ones", **options),
            "offset": self.add_weight(name="offset", initializer="zeros", **options),
        }
        self.averages = None
        if self.moving:
            self.averages = MovingAverages((self.num_inputs, size), name="averages")

    def call(self, inputs: list[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """Returns the outputs, each `(batch, ceil(height / 2), ceil(width / 2), channels)`."""
        update_averages, by_averages = self.moving and training, self.moving and not training
        read = self.averages.read() if by_averages else None
        bank = {name: tf.unstack(tf.convert_to_tensor(w)) for name, w in self.bank.items()}
        outputs, statistics = [], []
        for place, x in enumerate(inputs):
            weights = {name: sets[place] for name, sets in bank.items()}
            y, *input_statistics = _reduce(x, weights, _row(read, place), update_averages)
            outputs.append(y)
            statistics.append(input_statistics)
        if update_averages:
            self.averages.update([tf.stack(s) for s in zip(*statistics, strict=True)])
        return outputs
