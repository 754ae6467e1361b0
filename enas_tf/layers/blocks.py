"""Blocks that the final networks are made of, from Keras' own layers and our batch norm."""

import keras

from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm

Tensor = keras.KerasTensor


def relu(x: Tensor) -> Tensor:
    """Relu of any tensor."""
    return keras.layers.ReLU()(x)


def conv(x: Tensor, filters: int, kernel_size: int, name: str) -> Tensor:
    """Convolution without bias, batch norm; of `x`'s height and width."""
    layer = keras.layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer=he_normal(kernel_size**2 * x.shape[-1]),
        name=f"{name}_conv",
    )
    return BatchNorm(name=f"{name}_norm")(layer(x))


def reduce(x: Tensor, filters: int, name: str) -> Tensor:
    """A factorised reduction: two 1x1 convolutions of stride 2, one a pixel off; batch norm."""
    shifted = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    shifted = keras.layers.Cropping2D(((1, 0), (1, 0)))(shifted)
    paths = [
        keras.layers.Conv2D(
            filters // 2,
            1,
            use_bias=False,
            kernel_initializer=he_normal(x.shape[-1]),
            name=f"{name}_path_{number}",
            # As in `halve`, the stride is not the convolution's.
        )(keras.layers.AveragePooling2D(1, 2)(path))
        for number, path in enumerate((x, shifted), 1)
    ]
    return BatchNorm(name=f"{name}_norm")(keras.layers.Concatenate()(paths))


def classify(features: Tensor, num_classes: int) -> Tensor:
    """Logits of `(batch, channels)`, float32."""
    return keras.layers.Dense(
        num_classes,
        use_bias=False,
        kernel_initializer=he_normal(features.shape[-1]),
        dtype="float32",
        name="classifier",
    )(features)


def conv_params(kernel_size: int, channels: int, filters: int) -> int:
    """The parameters of `conv`, or with kernel size 1 those of `reduce`."""
    return kernel_size**2 * channels * filters + 2 * filters
