"""The shared weights of layers that run all ops and take some channels of each."""

import functools
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from enas_tf.layers.choice import Weights
from enas_tf.layers.final_weights import Named, conv_weights
from enas_tf.layers.form import Form, current_form
from enas_tf.layers.graph_function import graph_function
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import MovingAverages, Statistics, normalize
from enas_tf.macro.banks import LayerBanks, LayerWeights
from enas_tf.macro.channels.space import ChannelLayer
from enas_tf.macro.ops import MacroOp


class ChannelWeights(NamedTuple):
    """The shared weights of one layer.

    Attributes:
        layer: those of the ops and of the 1x1 convolutions before them.
        kernel: kernel of the 1x1 convolution that mixes the ops' channels,
            `(ops, channels, channels)`.
        scale: scale of its batch norm, `(channels,)`.
        offset: offset of the same batch norm, `(channels,)`.
        averages: mean and variance to normalise by, same shape; None uses the batch's own.
    """

    layer: LayerWeights
    kernel: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor
    averages: Statistics | None


class ChannelStatistics(NamedTuple):
    """The means and variances that the batch norms of a layer used.

    Attributes:
        project: those before the ops, each `(ops, channels)`.
        ops: those of each op's own batch norm, `(1, channels)`, of which only the chosen channels
            count; None for an op without one.
        mix: those after the 1x1 convolution that mixes, each `(channels,)`.
    """

    project: Statistics
    ops: list[Statistics | None]
    mix: Statistics


@functools.cache
def channel_function(ops: tuple[MacroOp, ...], blocks: int, form: Form) -> Callable[..., tuple]:
    """Returns `_run_layer` for `ops`; cached, so that the graph holds it once per shape."""
    # A convolution of any number of channels would have a GPU look for its fastest kernel again
    # and again, and XLA compile again.
    take = _take_part if form is Form.CPU else _take_by_mask
    return graph_function(partial(_run_layer, ops, blocks, take))


def _run_layer(
    ops: tuple[MacroOp, ...],
    blocks: int,
    take: Callable[..., tuple],
    x: tf.Tensor,
    branches: tf.Tensor,
    weights: ChannelWeights,
    with_statistics: bool = False,
) -> tuple[tf.Tensor, ChannelStatistics | None]:
    """Runs every op, takes the chosen channels of each, and mixes them.

    Args:
        ops: the ops, in the order of their numbers.
        blocks: number of blocks that the channels are divided into.
        take: computes the chosen channels of an op, `_take_part` or `_take_by_mask`.
        x: `(batch, height, width, channels)`.
        branches: start and count of each op's channels, in blocks, `(ops, 2)`, int32.
        weights: the weights of the layer.
        with_statistics: whether to return the statistics that were used to normalise.

    Returns:
        The output, with the shape of `x`; and the statistics, or None.
    """
    own, channels = weights.layer, x.shape[-1]
    parts, projected = _project(x, own)
    places = tf.unstack(branches * (channels // blocks))
    kernels = tf.unstack(weights.kernel)
    taken = [
        take(op, *branch) for op, *branch in zip(ops, parts, places, own.ops, kernels, strict=True)
    ]
    outputs, kernels, statistics = zip(*taken, strict=True)
    y = pointwise_conv(tf.concat(outputs, axis=-1), tf.concat(kernels, axis=0))
    y, *mixed = normalize(y, weights.scale, weights.offset, averages=weights.averages)
    used = ChannelStatistics(projected, list(statistics), tuple(mixed))
    return tf.nn.relu(y), used if with_statistics else None


def _project(x: tf.Tensor, weights: LayerWeights) -> tuple[list[tf.Tensor], Statistics]:
    """Returns each op's input, and the statistics: the 1x1 convolutions of all ops are one."""
    num_ops, channels, _ = weights.kernel.shape
    kernel = tf.reshape(tf.transpose(weights.kernel, [1, 0, 2]), [channels, -1])
    scale, offset = (tf.reshape(one, [-1]) for one in (weights.scale, weights.offset))
    averages = weights.averages and tuple(tf.reshape(one, [-1]) for one in weights.averages)
    y, *used = normalize(pointwise_conv(x, kernel), scale, offset, averages=averages)
    statistics = tuple(tf.reshape(one, [num_ops, channels]) for one in used)
    return tf.split(tf.nn.relu(y), num_ops, axis=-1), statistics


def _take_part(
    op: MacroOp, x: tf.Tensor, place: tf.Tensor, weights: Weights, kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, Statistics | None]:
    """Computes the chosen channels of an op alone.

    Args:
        op: the op.
        x: its input, `(batch, height, width, channels)`.
        place: the first channel and the number of channels, `(2,)`, int32.
        weights: of the op.
        kernel: what the following 1x1 convolution has for the op, `(channels, channels)`.

    Returns:
        Channels of the op's output, the rows of `kernel` that belong to them, and the statistics
        of the op's batch norm, `(1, channels)`, or None.
    """
    start, count = tf.unstack(place)
    y, statistics = op.run_part(x, start, count, *weights)
    beyond = [[0, 0], [start, x.shape[-1] - start - count]]
    statistics = statistics and tuple(
        tf.ensure_shape(tf.pad(one, beyond), [1, x.shape[-1]]) for one in statistics
    )
    return tf.nn.relu(y), tf.slice(kernel, [start, 0], [count, kernel.shape[1]]), statistics


def _take_by_mask(
    op: MacroOp, x: tf.Tensor, place: tf.Tensor, weights: Weights, kernel: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, Statistics | None]:
    """Computes all channels of an op and sets those to zero that are not chosen.

    Batch norm works channel by channel, so that the others are as in `_take_part`, which describes
    the arguments.
    """
    y, _, statistics = op.run(x, *weights)
    return tf.where(mask_of(place, x.shape[-1]), tf.nn.relu(y), 0), kernel, statistics


def mask_of(place: tf.Tensor, channels: int) -> tf.Tensor:
    """Returns which channels starts and counts choose.

    Args:
        place: start and count, `(..., 2)`, int32.
        channels: number of all channels.

    Returns:
        `(..., channels)`, bool.
    """
    start, count = place[..., :1], place[..., 1:]
    numbers = tf.range(channels)
    return (numbers >= start) & (numbers < start + count)


class ChannelBanks(LayerBanks):
    """The weights of every op of every layer, and of the convolutions that mix their channels.

    Args:
        num_layers: number of layers.
        ops: the ops that each layer runs.
        channels: channels of all inputs and outputs.
        moving: whether to keep moving averages.
        blocks: number of blocks that the channels are divided into.
    """

    def __init__(
        self,
        num_layers: int,
        ops: tuple[MacroOp, ...],
        channels: int,
        moving: bool,
        blocks: int,
        **kwargs,
    ) -> None:
        super().__init__(num_layers, ops, channels, moving, **kwargs)
        self.blocks = blocks

    def build(self, input_shape: tuple | None = None) -> None:
        """Creates all weights."""
        super().build(input_shape)
        layers, ops, channels = self.num_layers, self.num_ops, self.channels
        self.mix_kernel = self.add_weight(
            shape=(layers, ops, channels, channels),
            initializer=he_normal(ops * channels),
            name="mix_kernel",
        )
        options = {"shape": (layers, channels), "autocast": False}
        self.mix_scale = self.add_weight(name="mix_scale", initializer="ones", **options)
        self.mix_offset = self.add_weight(name="mix_offset", initializer="zeros", **options)
        if self.moving:
            self.mix_averages = MovingAverages((layers, channels), name="mix_averages")

    @property
    def run_layer(self) -> Callable[..., tuple]:
        """Runs a layer on its input, its part of `by_layer` and its weights; see `_run_layer`."""
        return channel_function(self.ops, self.blocks, current_form())

    def by_layer(self, chosen: tf.Tensor) -> list[tf.Tensor]:
        """Returns start and count of each op for each layer, `(ops, 2)`, int32."""
        return tf.unstack(self._branches(chosen))

    def layers(self, training: bool) -> list[ChannelWeights]:
        """Returns the weights of each layer; see `LayerBanks.layers`."""
        mix = self.mix_kernel, self.mix_scale, self.mix_offset
        own = [tf.unstack(tf.convert_to_tensor(one)) for one in mix]
        averages = [None] * self.num_layers
        if self.moving and not training:
            averages = zip(*map(tf.unstack, self.mix_averages.read()), strict=True)
        layers = super().layers(training)
        return [ChannelWeights(*weights) for weights in zip(layers, *own, averages, strict=True)]

    def update(self, chosen: tf.Tensor, statistics: list[ChannelStatistics]) -> None:
        """Updates the moving averages: of the ops' own batch norms, those of chosen channels.

        Args:
            chosen: starts and counts of all layers in text order, int32.
            statistics: the statistics of each layer.
        """
        places = self._branches(chosen) * (self.channels // self.blocks)
        masks = tf.cast(mask_of(places, self.channels), tf.float32)
        self.averages.update(_stacked(one.project for one in statistics))
        self.mix_averages.update(_stacked(one.mix for one in statistics))
        for number, bank in enumerate(self.banks):
            if bank.moving:
                of_op = _stacked(one.ops[number] for one in statistics)
                bank.averages.update(of_op, masks[:, number, tf.newaxis])

    def final_weights(self, number: int, layer: ChannelLayer, name: str) -> Named:
        """Returns the weights of a layer's chosen channels; see `LayerBanks.final_weights`."""
        named, block = {}, self.channels // self.blocks
        mix = self.mix_kernel.numpy()[number]
        rows = []
        for op, branch in enumerate(layer.branches):
            part = slice(branch.start * block, (branch.start + branch.count) * block)
            rows.append(mix[op, part])
            project = self.project_weights(number, op)
            if not self.ops[op].has_weights:
                # The final network computes no other channels for it.
                project = {kind: weight[..., part] for kind, weight in project.items()}
            named |= conv_weights(f"{name}_project_{op}", project)
            own = self.banks[op].final_weights(number, f"{name}_op_{op}")
            # A depthwise kernel is for the op's input, all of whose channels count.
            named |= {
                path: weight if path.endswith("depthwise_kernel") else weight[..., part]
                for path, weight in own.items()
            }
        norm = {"scale": self.mix_scale, "offset": self.mix_offset}
        if self.moving:
            norm |= {"mean": self.mix_averages.mean, "variance": self.mix_averages.variance}
        mixed = {kind: weight.numpy()[number] for kind, weight in norm.items()}
        return named | conv_weights(f"{name}_mix", {"kernel": np.concatenate(rows), **mixed})

    def _branches(self, chosen: tf.Tensor) -> tf.Tensor:
        return tf.reshape(chosen, [self.num_layers, self.num_ops, 2])


def _stacked(statistics: Iterable[Statistics]) -> Statistics:
    """Stacks the means, and the variances, of all layers."""
    return tuple(map(tf.stack, zip(*statistics, strict=True)))
