"""The shared-weight network of NAS-Bench-201's space.

Reference: Dong and Yang 2020, section 2.1, for the network; Pham et al. 2018 for sharing.
"""

from functools import partial

import keras
import tensorflow as tf

from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.conv import ConvNorm
from enas_tf.layers.dropout import Dropout, DropPath, StepRng
from enas_tf.layers.final_weights import (
    Named,
    as_kernel,
    conv_norm_weights,
    norm_weights,
)
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.kernels import pointwise_conv
from enas_tf.layers.norm import BatchNorm
from enas_tf.layers.stem import shared_stem, stem_output, stem_weights
from enas_tf.nasbench201.network import NUM_STAGES, Nasbench201ChildConfig
from enas_tf.nasbench201.shared_stage import SharedStage
from enas_tf.nasbench201.space import Nasbench201Arc, Nasbench201Space


class ResidualReduction(keras.layers.Layer):
    """Two convolutions 3x3 that halve height and width, beside an average pool and a 1x1.

    Args:
        channels: of the output.
        moving: whether batch norm keeps moving averages.

    Call arguments:
        x: `(batch, height, width, channels)`; odd sides are rounded up.
        training: whether to take in the batch's statistics.
    """

    def __init__(self, channels: int, moving: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        norm = partial(BatchNorm, moving=moving)
        self.halve = ConvNorm(channels, 3, norm=norm, stride=2, name="halve")
        self.conv = ConvNorm(channels, 3, norm=norm, name="conv")

    def build(self, input_shape: tuple) -> None:
        """Makes all weights."""
        filters = input_shape[-1]
        self.halve.build(input_shape)
        self.conv.build((*input_shape[:3], self.channels))
        self.shortcut = self.add_weight(
            shape=(filters, self.channels), initializer=he_normal(filters), name="shortcut"
        )
        self.built = True

    def final_weights(self, name: str) -> Named:
        """Returns the weights by the paths that final networks have; `name` is the block's."""
        named = {f"{name}_shortcut_conv/kernel": as_kernel(self.shortcut.numpy())}
        named |= conv_norm_weights(f"{name}_1", self.halve)
        return named | conv_norm_weights(f"{name}_2", self.conv)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `(batch, ceil(height / 2), ceil(width / 2), channels)`."""
        shortcut = pointwise_conv(tf.nn.avg_pool2d(x, 2, 2, "SAME"), self.shortcut)
        return self.conv(self.halve(x, training=training), training=training) + shortcut


class Nasbench201Supernet(keras.Model):
    """All networks of NAS-Bench-201's space in one; tokens say which of them runs.

    Args:
        space: the space of its architectures.
        config: sizes and dropout.
        image_shape: `(height, width, channels)`.
        num_classes: of the logits.
        rng: of dropout.
        moving_averages: whether batch norm keeps moving averages and uses them where `training`
            is false; else it always uses the statistics of the batch.

    Call arguments:
        images: `(batch, height, width, channels)`, normalised.
        tokens: an architecture's, one for each edge of the cell, int32.
        training: whether to drop out and to compute the auxiliary logits.
    """

    def __init__(
        self,
        space: Nasbench201Space,
        config: Nasbench201ChildConfig,
        image_shape: tuple[int, int, int],
        num_classes: int,
        rng: StepRng,
        moving_averages: bool = False,
    ) -> None:
        super().__init__(name="nasbench201_supernet")
        self.config = config
        norm = partial(BatchNorm, moving=moving_averages)
        self.stem = shared_stem(config.stem, config.out_filters, norm)
        self.reductions, self.stages = [], []
        for stage in range(NUM_STAGES):
            channels = config.stage_channels(stage)
            drop_paths = [
                DropPath(*config.drop_path(stage, cell), rng) for cell in range(config.num_cells)
            ]
            self.stages.append(
                SharedStage(space, channels, drop_paths, moving_averages, name=f"stage_{stage}")
            )
            if stage:
                name = f"reduction_{stage}"
                self.reductions.append(ResidualReduction(channels, moving_averages, name=name))
        self.last_norm = norm(name="last_norm")
        self.aux_head = AuxHead(num_classes, name="aux_head") if config.aux_head else None
        self.dropout = Dropout(config.keep_prob, rng)
        self.num_classes = num_classes
        self.build((None, *image_shape))

    def build(self, image_shape: tuple) -> None:
        """Makes all weights."""
        self.stem.build(image_shape)
        _, *sides, channels = stem_output(self.config.stem, image_shape, self.stem.filters)
        for number, stage in enumerate(self.stages):
            if number:
                self.reductions[number - 1].build((None, *sides, channels))
                sides, channels = tuple(-(-side // 2) for side in sides), 2 * channels
            stage.build()
        self.last_norm.build((None, *sides, channels))
        if self.aux_head:
            self.aux_head.build((None, *sides, channels))
        self.classifier = self.add_weight(
            shape=(channels, self.num_classes), initializer=he_normal(channels), name="classifier"
        )
        self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", name="bias")
        self.built = True

    def final_weights(self, arc: Nasbench201Arc, config: Nasbench201ChildConfig) -> Named:
        """Returns the weights of an architecture's own network, by its variables' paths.

        Args:
            arc: the architecture of the final network.
            config: sizes of the final network.
        """
        named = stem_weights(self.stem) | norm_weights("last", self.last_norm)
        for number, stage in enumerate(self.stages):
            named |= stage.final_weights(arc, f"stage_{number}")
        for number, reduction in enumerate(self.reductions, 1):
            named |= reduction.final_weights(f"reduction_{number}")
        if self.aux_head:
            named |= self.aux_head.final_weights()
        named["classifier/kernel"] = self.classifier.numpy()
        named["classifier/bias"] = self.bias.numpy()
        return named

    def call(
        self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the logits and the auxiliary logits, `(batch, num_classes)`, float32.

        The latter are None where there is no auxiliary head, or outside training.
        """
        x, first = self.stem(images, training=training), None
        for number, stage in enumerate(self.stages):
            x = self.reductions[number - 1](x, training=training) if number else x
            first, x = stage(x, tokens, training=training)
        x = tf.nn.relu(self.last_norm(x, training=training))
        features = self.dropout(tf.reduce_mean(x, [1, 2]), training=training)
        logits = tf.matmul(features, self.classifier) + self.bias
        aux_logits = self.aux_head(first) if self.aux_head and training else None
        return tf.cast(logits, tf.float32), aux_logits
