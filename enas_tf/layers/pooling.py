"""Max pooling that XLA takes in deterministic runs as well."""

import keras
import tensorflow as tf

from enas_tf.layers.image_ops import max_pool


@keras.saving.register_keras_serializable("enas_tf")
class MaxPool(keras.layers.MaxPooling2D):
    """Keras' 3x3 max pooling with padding "same", computed by `image_ops.max_pool`.

    Args:
        stride: 1 or 2.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(self, stride: int = 1, **kwargs) -> None:
        super().__init__(3, stride, "same", **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """`(batch, ceil(height / stride), ceil(width / stride), channels)`."""
        return max_pool(x, self.strides[0])

    def get_config(self) -> dict:
        """The constructor's arguments."""
        config = super().get_config()
        kept = {name: config[name] for name in ("name", "trainable", "dtype")}
        return kept | {"stride": self.strides[0]}
