"""The shared weights of whole layers: every op of every layer, in a few variables.

With moving averages (of batch norm), the functions here return a batch's statistics and the banks
take them in outside.
"""

import keras
import tensorflow as tf

from enas_tf.layers import choice
from enas_tf.layers.choice import take_rows
from enas_tf.layers.conv import halve
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import MovingAverages, Statistics, normalize
from enas_tf.macro.ops import OPS

Weights = dict[str, tf.Tensor]

NORM_ROWS = (0, 1, 2, 3, -1, -1, 4)
"""For each op the row of its batch norm behind the convolution; pools have none."""


@graph_function
def run_op(
    x: tf.Tensor,
    op: tf.Tensor,
    weights: Weights,
    averages: dict[str, Statistics] | None = None,
    with_statistics: bool = False,
) -> tuple[tf.Tensor, dict[str, Statistics] | None]:
    """Runs the op that the index names, in the order of `spaces.macro.OPS`, and no other.

    All ops start with a 1x1 convolution of their own, batch norm and relu. Those that are
    convolutions have a batch norm and a relu behind them.

    Args:
        x: `(batch, height, width, channels)`.
        op: the index, int32.
        weights: of one layer of an `OpBank`.
        averages: of the same layer, to normalise by; None takes the batch's statistics.
        with_statistics: whether to return what was normalised by.

    Returns:
        The output, of `x`'s shape; with statistics also these, as `OpBank.update` takes them.
    """
    averages = averages or {"input": None, "output": None}
    place = tf.reshape(op, [1, 1])
    kernel, scale, offset = (
        take_rows(weights[f"input_{name}"], place) for name in ("kernel", "scale", "offset")
    )
    x = pointwise_conv(x, kernel[0])
    input_averages = _row(averages["input"], op)
    x, *input_statistics = normalize(x, scale[0], offset[0], averages=input_averages)
    x = tf.nn.relu(x)
    num_ops = weights["input_kernel"].shape[0]
    of_ops = _weights_of_ops(weights, averages["output"])[:num_ops]
    y, output_statistics = choice.run_op(OPS[:num_ops], op, x, of_ops, (2, 1), x.shape[-1:])
    # Here, since relu is the last step of every op: pools keep what is not negative.
    y = tf.nn.relu(y)
    if not with_statistics:
        return y, None
    return y, {"input": tuple(input_statistics), "output": output_statistics}


def _row(averages: Statistics | None, row: int | tf.Tensor) -> Statistics | None:
    return averages and (averages[0][row], averages[1][row])


def _weights_of_ops(weights: Weights, averages: Statistics | None) -> list[tuple[tf.Tensor, ...]]:
    """For each op of `OPS` its kernels, then the scale, offset and averages of its batch norm."""
    scales, offsets = tf.unstack(weights["output_scale"]), tf.unstack(weights["output_offset"])
    norms = [
        (scale, offset, *(_row(averages, row) or ()))
        for row, (scale, offset) in enumerate(zip(scales, offsets, strict=True))
    ]
    pointwise = tf.unstack(weights["pointwise"])
    kernels = [
        (weights["conv_3x3"],),
        (weights["depthwise_3x3"], pointwise[0]),
        (weights["conv_5x5"],),
        (weights["depthwise_5x5"], pointwise[1]),
    ]
    of_ops = [(*some, *norm) for some, norm in zip(kernels, norms, strict=False)] + [(), ()]
    if "squeeze" in weights:
        names = "excited_conv_3x3", "squeeze", "excite"
        of_ops.append((*(weights[name] for name in names), *norms[4]))
    return of_ops


class OpBank(keras.layers.Layer):
    """The weights of every op of every layer; each variable has a leading axis of layers.

    Args:
        num_layers: how many layers.
        num_ops: the first 6 or 7 ops.
        channels: of all inputs and outputs.
        moving: whether to keep moving averages.
    """

    def __init__(
        self, num_layers: int, num_ops: int, channels: int, moving: bool, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.num_ops = num_ops
        self.num_norms = 1 + max(NORM_ROWS[:num_ops])
        self.channels = channels
        self.moving = moving

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes all weights."""
        size = self.channels
        kernels = {
            "input_kernel": ((self.num_ops, size, size), size),
            "conv_3x3": ((3, 3, size, size), 9 * size),
            "conv_5x5": ((5, 5, size, size), 25 * size),
            "depthwise_3x3": ((3, 3, size, 1), 9),
            "depthwise_5x5": ((5, 5, size, 1), 25),
            "pointwise": ((2, size, size), size),
        }
        if self.num_ops > 6:
            # A fourth of the channels, as the name says: reduction 4.
            squeezed = max(1, size // 4)
            kernels["excited_conv_3x3"] = (3, 3, size, size), 9 * size
            kernels["squeeze"] = (size, squeezed), size
            kernels["excite"] = (squeezed, size), squeezed
        self.bank = {
            name: self.add_weight(
                shape=(self.num_layers, *shape), initializer=he_normal(fan_in), name=name
            )
            for name, (shape, fan_in) in kernels.items()
        }
        for name, rows in (("input", self.num_ops), ("output", self.num_norms)):
            options = {"shape": (self.num_layers, rows, size), "autocast": False}
            for kind, initializer in (("scale", "ones"), ("offset", "zeros")):
                self.bank[f"{name}_{kind}"] = self.add_weight(
                    name=f"{name}_{kind}", initializer=initializer, **options
                )
        self.averages = {}
        if self.moving:
            for name, rows in (("input", self.num_ops), ("output", self.num_norms)):
                shape = (self.num_layers, rows, size)
                self.averages[name] = MovingAverages(shape, name=f"{name}_averages")

    def layers(self) -> list[Weights]:
        """For each layer the weights that `run_op` takes."""
        names = list(self.bank)
        taken = [tf.unstack(tf.convert_to_tensor(self.bank[name])) for name in names]
        return [dict(zip(names, values, strict=True)) for values in zip(*taken, strict=True)]

    def layer_averages(self) -> list[dict[str, Statistics]]:
        """For each layer the moving averages that `run_op` takes."""
        read = {name: averages.read() for name, averages in self.averages.items()}
        return [
            {name: (means[layer], variances[layer]) for name, (means, variances) in read.items()}
            for layer in range(self.num_layers)
        ]

    def update(self, ops: tf.Tensor, statistics: list[dict[str, Statistics]]) -> None:
        """Takes in the statistics that `run_op` gave for each layer, `ops` being the layers'."""
        rows = {"input": ops, "output": tf.gather(NORM_ROWS, ops)}
        for name, averages in self.averages.items():
            means, variances = zip(*(layer[name] for layer in statistics), strict=True)
            stacked = tf.stack(means)[:, tf.newaxis], tf.stack(variances)[:, tf.newaxis]
            mask = tf.one_hot(rows[name], averages.mean.shape[1])[..., tf.newaxis]
            averages.update(stacked, mask)


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
        num_inputs: how many inputs.
        channels: of inputs and outputs, even.
        moving: whether to keep moving averages, and to go by them where `training` is false.

    Call arguments:
        inputs: each `(batch, height, width, channels)`.
        training: whether to take in the batch's statistics.
    """

    def __init__(self, num_inputs: int, channels: int, moving: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_inputs = num_inputs
        self.channels = channels
        self.moving = moving

    def build(self, input_shape: tuple | None = None) -> None:
        """Makes the kernels, scales and offsets."""
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
        """Each `(batch, ceil(height / 2), ceil(width / 2), channels)`."""
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
