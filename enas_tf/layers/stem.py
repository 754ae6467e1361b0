"""The stem of a network of images: the convolutions before its first searched layer."""

from collections.abc import Callable

import keras
import tensorflow as tf

from enas_tf.core.network_config import StemKind
from enas_tf.layers.blocks import Blocks, Images
from enas_tf.layers.conv import ConvNorm
from enas_tf.layers.final_weights import Named, conv_norm_weights
from enas_tf.layers.norm import BatchNorm

_HALVINGS = {"cifar": 0, "imagenet": 3}


class Stem(keras.layers.Layer):
    """Three convolutions 3x3 of stride 2, with batch norm, relu between them: an eighth of a side.

    Half of the channels come after the first one. Reference: the networks for ImageNet of the NAS
    literature, such as `NetworkImageNet` of DARTS, whose stem goes from 224 to 28 pixels too.

    Args:
        filters: output channels, even.
        norm: makes the batch norm layers.

    Call arguments:
        x: `(batch, height, width, channels)`.
    """

    def __init__(self, filters: int, norm: Callable[..., BatchNorm], **kwargs) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.convs = [
            ConvNorm(width, 3, relu=number > 1, norm=norm, stride=2, name=f"conv_{number}")
            for number, width in enumerate((filters // 2, filters, filters), 1)
        ]

    def build(self, input_shape: tuple) -> None:
        """Makes the weights."""
        shape = input_shape
        for conv in self.convs:
            conv.build(shape)
            shape = (None, *(-(-side // 2) for side in shape[1:3]), conv.filters)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns `(batch, height / 8, width / 8, filters)`; sides round up."""
        for conv in self.convs:
            x = conv(x, training=training)
        return x


def shared_stem(kind: StemKind, filters: int, norm: Callable[..., BatchNorm]) -> ConvNorm | Stem:
    """Makes the stem of a supernet; `cifar` is the authors', a convolution 3x3 of stride 1."""
    if kind == "cifar":
        return ConvNorm(filters, 3, relu=False, norm=norm, name="stem")
    return Stem(filters, norm, name="stem")


def stem_weights(stem: ConvNorm | Stem) -> Named:
    """Returns a supernet's stem by the paths that final networks have for its weights."""
    if isinstance(stem, ConvNorm):
        return conv_norm_weights("stem", stem)
    named = {}
    for number, conv in enumerate(stem.convs, 1):
        named |= conv_norm_weights(f"stem_{number}", conv)
    return named


def stem_output(kind: StemKind, image_shape: tuple, filters: int) -> tuple:
    """Returns the shape of a stem's output, `(batch, height, width, filters)`."""
    batch, height, width, _ = image_shape
    part = 2 ** _HALVINGS[kind]
    return (batch, -(-height // part), -(-width // part), filters)


def assemble_stem(kind: StemKind, blocks: Blocks, images: Images, filters: int) -> Images:
    """Makes the same stem of blocks, for a final network."""
    if kind == "cifar":
        return blocks.conv(images, filters, 3, "stem")
    x = blocks.conv(images, filters // 2, 3, "stem_1", stride=2)
    x = blocks.conv(blocks.relu(x), filters, 3, "stem_2", stride=2)
    return blocks.conv(blocks.relu(x), filters, 3, "stem_3", stride=2)
