"""Batch normalisation by TensorFlow's fused kernel, with or without moving averages."""

import keras
import tensorflow as tf

EPSILON = 1e-5
MOMENTUM = 0.9

Statistics = tuple[tf.Tensor, tf.Tensor]
"""Means and variances."""


Reserve = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""What the kernel keeps for its gradient, float32: two of `(channels,)` and one of any size."""


def normalize(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    epsilon: float = EPSILON,
    averages: Statistics | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises a batch by its own statistics, or by given ones.

    Args:
        x: `(batch, height, width, channels)`, float32, float16 or bfloat16.
        scale: `(channels,)`.
        offset: `(channels,)`.
        epsilon: added to the variance.
        averages: mean and variance to use, `(channels,)`, float32; None uses the batch's.

    Returns:
        The normalised batch; the mean and the variance, float32. A batch's variance is unbiased.
    """
    return _fused(x, scale, offset, epsilon, averages)[:3]


def normalize_and_reserve(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    epsilon: float = EPSILON,
    averages: Statistics | None = None,
) -> tuple[tf.Tensor, Statistics, Reserve]:
    """Returns what `normalize` returns, and what `norm_gradients` needs besides `x`."""
    y, mean, variance, *reserve = _fused(x, scale, offset, epsilon, averages)
    return y, (mean, variance), tuple(reserve)


def norm_gradients(
    upstream: tf.Tensor,
    x: tf.Tensor,
    scale: tf.Tensor,
    reserve: Reserve,
    epsilon: float = EPSILON,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of `x`, scale and offset of a batch normalised by its own statistics.

    Args:
        upstream: gradient of the normalised batch, with `x`'s shape.
        x: the batch before it was normalised, `(batch, height, width, channels)`.
        scale: `(channels,)`, float32.
        reserve: what `normalize_and_reserve` returned for the gradient.
        epsilon: what was added to the variance.
    """
    grad_x, grad_scale, grad_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=upstream,
        x=x,
        scale=scale,
        reserve_space_1=reserve[0],
        reserve_space_2=reserve[1],
        reserve_space_3=reserve[2],
        epsilon=epsilon,
    )
    return grad_x, grad_scale, grad_offset


def _fused(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    epsilon: float,
    averages: Statistics | None,
) -> tuple[tf.Tensor, ...]:
    mean, variance = averages or ([], [])
    # The raw op also returns what its gradient needs.
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.cast(scale, tf.float32),
        offset=tf.cast(offset, tf.float32),
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=averages is None,
    )


class MovingAverages(keras.layers.Layer):
    """The moving averages of the means and variances of many batch norms.

    Args:
        shape: `(..., channels)`.
    """

    def __init__(self, shape: tuple[int, ...], **kwargs) -> None:
        super().__init__(**kwargs)
        # Without taking the mean over replicas, their averages would drift apart.
        options = {"shape": shape, "trainable": False, "autocast": False, "aggregation": "mean"}
        self.mean = self.add_weight(name="mean", initializer="zeros", **options)
        self.variance = self.add_weight(name="variance", initializer="ones", **options)

    def read(self) -> Statistics:
        """Returns the current means and variances."""
        return tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)

    def update(self, statistics: Statistics, mask: tf.Tensor | float = 1.0) -> None:
        """Updates the averages with a batch's means and variances where the mask is 1.

        Must not be called in a branch of `tf.switch_case`, where `tf.distribute` allows no
        assignments.
        """
        for average, values in zip((self.mean, self.variance), statistics, strict=True):
            average.assign(average + (1 - MOMENTUM) * mask * (values - average))


@keras.saving.register_keras_serializable("enas_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over the last axis of images.

    Keras' own layer computes the same with several kernels; the fused one needs less time and
    memory. The weights are in the order of `keras.layers.BatchNormalization`.

    Args:
        moving: whether to keep moving averages and use them where `training` is false. Without
            them every batch is normalised by its own statistics, as in the authors' micro search.
        momentum: of the moving averages.
        epsilon: added to the variance.

    Call arguments:
        x: `(batch, height, width, channels)`.
        training: whether to use the batch's statistics and update the moving averages.
    """

    def __init__(
        self, moving: bool = True, momentum: float = MOMENTUM, epsilon: float = EPSILON, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.moving = moving
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        """Creates scale, offset and, if requested, the moving averages."""
        shape = (input_shape[-1],)
        # Without autocast: the kernel takes float32 statistics for any input.
        options = {"shape": shape, "autocast": False}
        self.scale = self.add_weight(name="scale", initializer="ones", **options)
        self.offset = self.add_weight(name="offset", initializer="zeros", **options)
        if self.moving:
            # Without taking the mean over replicas, their averages would drift apart.
            options |= {"trainable": False, "aggregation": "mean"}
            self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **options)
            self.moving_variance = self.add_weight(
                name="moving_variance", initializer="ones", **options
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the normalised batch, with `x`'s shape and dtype."""
        if not self.moving:
            return normalize(x, self.scale, self.offset, self.epsilon)[0]
        averages = self.moving_mean, self.moving_variance
        if not training:
            return normalize(x, self.scale, self.offset, self.epsilon, averages)[0]
        y, mean, variance = normalize(x, self.scale, self.offset, self.epsilon)
        for average, value in zip(averages, (mean, variance), strict=True):
            average.assign(average * self.momentum + value * (1 - self.momentum))
        return y

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        config = {"moving": self.moving, "momentum": self.momentum, "epsilon": self.epsilon}
        return super().get_config() | config
