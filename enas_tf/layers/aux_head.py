"""The auxiliary classifier."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from enas_tf.layers.conv import ConvNorm
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm


class AuxHead(keras.layers.Layer):
    """A classifier on an inner layer, whose loss trains the layers below it.

    Applies relu, 5x5 average pooling with stride 3, a 1x1 convolution to 128 channels, a
    convolution with a kernel as large as the image to 768 channels, both with batch norm and relu,
    the mean over height and width, and a dense layer. Images smaller than the pool are pooled as a
    whole. Reference: `_model` of the authors' micro_child.py.

    Args:
        num_classes: number of logits.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(self, num_classes: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        # The head is used only in training, so that it needs no moving averages.
        norm = partial(BatchNorm, moving=False)
        self.project = ConvNorm(128, relu=False, norm=norm, dtype=self.dtype_policy, name="project")
        self.norm = norm(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape: tuple) -> None:
        """Creates the weights; `input_shape` must have a known height and width."""
        sides = input_shape[1:3]
        self.pool = [min(5, side) for side in sides]
        pooled = [(side - pool) // 3 + 1 for side, pool in zip(sides, self.pool, strict=True)]
        self.project.build((None, *pooled, input_shape[-1]))
        self.kernel = self.add_weight(
            shape=(*pooled, 128, 768),
            initializer=he_normal(pooled[0] * pooled[1] * 128),
            name="kernel",
        )
        self.norm.build((None, *pooled, 768))
        self.dense = self.add_weight(
            shape=(768, self.num_classes), initializer=he_normal(768), name="dense"
        )

    def final_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights by their paths in a final network, whose head is of this class."""
        paths = {"aux_head" + v.path.rpartition("aux_head")[2]: v for v in self.variables}
        return {path: variable.numpy() for path, variable in paths.items()}

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns logits, `(batch, num_classes)`, float32."""
        x = tf.nn.avg_pool2d(tf.nn.relu(x), self.pool, 3, "VALID")
        x = tf.nn.relu(self.project(x))
        x = tf.nn.relu(self.norm(tf.nn.conv2d(x, self.kernel, 1, "SAME")))
        return tf.cast(tf.matmul(tf.reduce_mean(x, [1, 2]), self.dense), tf.float32)
