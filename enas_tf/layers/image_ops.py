"""Ops on images, by kernels that a CPU is fast with where TensorFlow's usual choice is not."""

import tensorflow as tf

_STRIDES = [1, 1, 1, 1]


def pointwise_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1 convolution with stride 1.

    Args:
        x: `(batch, height, width, channels)`; height and width known.
        kernel: `(channels, filters)`.

    Returns:
        `(batch, height, width, filters)`.
    """
    if _has_gpu():
        return tf.nn.conv2d(x, kernel[tf.newaxis, tf.newaxis], 1, "SAME")
    # oneDNN takes a third less time for the product of matrices than for the same as convolution.
    y = tf.matmul(tf.reshape(x, [-1, tf.shape(kernel)[0]]), kernel)
    return tf.reshape(y, [-1, *x.shape[1:3], kernel.shape[1]])


def depthwise_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Depthwise convolution with stride 1 that keeps height and width.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(size, size, channels, 1)`, of an odd size.

    Returns:
        Of `x`'s shape.
    """
    if kernel.shape[0] > 3 and x.dtype == tf.float32 and not _has_gpu():
        return _wide_depthwise_conv(x, kernel)
    return tf.nn.depthwise_conv2d(x, kernel, _STRIDES, "SAME")


@tf.custom_gradient
def _wide_depthwise_conv(x: tf.Tensor, kernel: tf.Tensor):
    """With a gradient in half the time: oneDNN's takes five convolutions if a kernel is wide.

    The kernel's gradient is itself a depthwise convolution, of the images by the gradients behind
    them, each channel of each image being a channel.
    """
    # A gradient in a branch of `tf.switch_case` can only reach what is of the branch itself.
    x, kernel = tf.identity(x), tf.identity(kernel)
    size, _, channels, _ = kernel.shape

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x),
            filter=kernel,
            out_backprop=upstream,
            strides=_STRIDES,
            padding="SAME",
        )
        images, kernels = _images_as_channels(x), _images_as_channels(upstream)
        margins = [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]
        per_image = tf.nn.depthwise_conv2d(
            images[tf.newaxis], kernels[..., tf.newaxis], _STRIDES, margins
        )
        of_kernel = tf.reduce_sum(tf.reshape(per_image, [size, size, -1, channels]), axis=2)
        return of_x, of_kernel[..., tf.newaxis]

    return tf.nn.depthwise_conv2d(x, kernel, _STRIDES, "SAME"), gradient


def _images_as_channels(x: tf.Tensor) -> tf.Tensor:
    """`(height, width, batch * channels)`."""
    return tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [*x.shape[1:3], -1])


@tf.custom_gradient
def max_pool(x: tf.Tensor):
    """Max pool 3x3 with stride 1, `(batch, height, width, channels)`.

    The gradient pools once more. In a branch of `tf.switch_case` the pool that was is in another
    graph; oneDNN's kernel, which is nine times as fast as TensorFlow's own, needs it in the same.
    """
    # As for the convolution above.
    x = tf.identity(x)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            again = tf.nn.max_pool2d(x, 3, 1, "SAME")
        return tape.gradient(again, x, upstream)

    return tf.nn.max_pool2d(x, 3, 1, "SAME"), gradient


def _has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
