"""The shared-weight network of the macro space.

Reference: Pham et al. 2018, section 2.3, and `_enas_layer` of the authors' general_child.py.
"""

from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.layers.aux_head import AuxHead
from enas_tf.layers.dropout import Dropout, DropPath, StepRng
from enas_tf.layers.final_weights import Named
from enas_tf.layers.initializers import he_normal
from enas_tf.layers.norm import BatchNorm, MovingAverages, normalize
from enas_tf.layers.stem import shared_stem, stem_output, stem_weights
from enas_tf.macro.banks import LayerBanks, ReductionBank
from enas_tf.macro.entries import make_entries
from enas_tf.macro.space import MacroArc, MacroSpace


class MacroSupernet(keras.Model):
    """The supernet of the macro space: all its networks in one, from which tokens choose.

    A subclass may have other layers; `make_layers` makes their weights.

    Args:
        space: the space of its architectures.
        config: sizes and dropout rates.
        image_shape: `(height, width, channels)`.
        num_classes: number of classes.
        rng: random numbers of dropout and drop path.
        moving_averages: whether batch norm keeps moving averages and uses them when `training` is
            false, as in the authors' code; otherwise it always uses the batch's statistics.

    Call arguments:
        images: `(batch, height, width, channels)`, normalised.
        tokens: tokens of an architecture, `(num_tokens,)`, int32.
        training: whether to apply dropout and to compute the auxiliary logits.
    """

    def __init__(
        self,
        space: MacroSpace,
        config: ImageChildConfig,
        image_shape: tuple[int, int, int],
        num_classes: int,
        rng: StepRng,
        moving_averages: bool = False,
    ) -> None:
        super().__init__(name="macro_supernet")
        self.space = space
        self.moving = moving_averages
        self.channels = channels = config.out_filters
        norm = partial(BatchNorm, moving=self.moving)
        self.stem_kind = config.stem
        self.stem = shared_stem(config.stem, channels, norm)
        self.layer_banks = self.make_layers()
        self.reductions = {
            str(layer): ReductionBank(layer + 2, channels, self.moving, name=f"reduction_{layer}")
            for layer in space.pools
        }
        depths = [(layer + 1) / space.num_layers for layer in range(space.num_layers)]
        self.drop_paths = [DropPath(config.drop_path_keep_prob, d, rng) for d in depths]
        self.aux_head = AuxHead(num_classes, name="aux_head") if config.aux_head else None
        self.dropout = Dropout(config.keep_prob, rng)
        self.num_classes = num_classes
        self.build((None, *image_shape))

    def make_layers(self) -> LayerBanks:
        """Makes the weights of all layers, and what runs a layer."""
        space = self.space
        return LayerBanks(space.num_layers, space.rows, self.channels, self.moving, name="layers")

    def build(self, image_shape: tuple) -> None:
        """Creates all weights."""
        self.stem.build(image_shape)
        self.layer_banks.build()
        sides = stem_output(self.stem_kind, image_shape, self.channels)[1:3]
        for layer in range(self.space.num_layers):
            if self.aux_head and layer == self.space.aux_layer:
                self.aux_head.build((None, *sides, self.channels))
            if layer in self.space.pools:
                self.reductions[str(layer)].build()
                sides = [-(-side // 2) for side in sides]
        # The first layer joins nothing and so needs no batch norm after the sum.
        shape = (self.space.num_layers - 1, self.channels)
        options = {"shape": shape, "autocast": False}
        self.skip_scale = self.add_weight(name="skip_scale", initializer="ones", **options)
        self.skip_offset = self.add_weight(name="skip_offset", initializer="zeros", **options)
        self.skip_averages = MovingAverages(shape, name="skip_averages") if self.moving else None
        self.classifier = self.add_weight(
            shape=(self.channels, self.num_classes),
            initializer=he_normal(self.channels),
            name="classifier",
        )
        self.built = True

    def call(
        self, images: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the logits and the auxiliary logits, each `(batch, num_classes)`, float32.

        The auxiliary logits are None without an auxiliary head and outside training.
        """
        layers, own = self.space.num_layers, self.space.num_tokens(1)
        by_layer = tf.split(tokens, [size for layer in range(layers) for size in (own, layer)])
        ops, bits = tf.concat(by_layer[0::2], axis=0), by_layer[1::2]
        op_of_layer = self.layer_banks.by_layer(ops)
        weights, run_layer = self.layer_banks.layers(training), self.layer_banks.run_layer
        update_averages, by_averages = self.moving and training, self.moving and not training
        skip_norms = self._skip_norms(by_averages)
        op_statistics, skip_statistics, aux_logits = [], [], None
        joined = make_entries([self.stem(images, training=training)], layers + 1)
        for layer in range(layers):
            op, given = op_of_layer[layer], joined.all[-1]
            x, statistics = run_layer(given, op, weights[layer], update_averages)
            op_statistics.append(statistics)
            if layer:
                x = self._drop_path(x, bits[layer], layer, training)
                x, *statistics = skip_norms[layer - 1](joined.add_to(x, bits[layer]))
                skip_statistics.append(statistics)
            joined.append(x)
            if self.aux_head and training and layer == self.space.aux_layer:
                aux_logits = self.aux_head(x)
            if layer in self.space.pools:
                reduced = self.reductions[str(layer)](joined.all, training=training)
                joined = make_entries(reduced, layers + 1)
        if update_averages:
            self.layer_banks.update(ops, op_statistics)
            self.skip_averages.update([tf.stack(s) for s in zip(*skip_statistics, strict=True)])
        features = tf.reduce_mean(joined.all[-1], [1, 2])
        features = self.dropout(features, training=training)
        return tf.cast(tf.matmul(features, self.classifier), tf.float32), aux_logits

    def final_weights(self, arc: MacroArc, config: ImageChildConfig) -> Named:
        """Returns the shared weights that a final network has too, by its variables' paths.

        These are the stem and what each layer runs, with the 1x1 convolutions in it. The final
        network joins skips by 1x1 convolutions in place of sums, and doubles the channels at each
        pool, so that its other weights have no equals here.

        Args:
            arc: the architecture of the final network.
            config: sizes of the final network.
        """
        named = stem_weights(self.stem)
        for number, layer in enumerate(arc.layers[: self.space.num_layers]):
            named |= self.layer_banks.final_weights(number, layer, f"layer_{number}")
        return named

    def _skip_norms(self, by_averages: bool) -> list[Callable]:
        """Returns the batch norm after the sum of each layer and its skips, but for the first."""
        averages = [None] * (self.space.num_layers - 1)
        if by_averages:
            averages = zip(*map(tf.unstack, self.skip_averages.read()), strict=True)
        weights = tf.unstack(self.skip_scale), tf.unstack(self.skip_offset)
        return [
            partial(normalize, scale=scale, offset=offset, averages=of_layer)
            for scale, offset, of_layer in zip(*weights, averages, strict=True)
        ]

    def _drop_path(self, x: tf.Tensor, bits: tf.Tensor, layer: int, training: bool) -> tf.Tensor:
        """Applies drop path if any entry is joined; otherwise the op's output is all there is."""
        drop_path = self.drop_paths[layer]
        if not training or drop_path.layer_keep_prob == 1:
            return x
        mask = tf.cast(drop_path.mask([tf.shape(x)[0], 1, 1, 1]), x.dtype)
        # A mask, not a branch in Python: the bits are known only when the graph runs.
        return x * tf.where(tf.reduce_any(bits > 0), mask, tf.ones_like(mask))
