"""NAS-Bench-201's network of one architecture alone, as a plain Keras model.

Reference: Dong and Yang 2020, section 2.1, and `TinyNetwork` and `ResNetBasicblock` of the
benchmark's code, github.com/D-X-Y/AutoDL-Projects.
"""

from dataclasses import dataclass, replace

import keras

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import ImageChildConfig
from enas_tf.layers.blocks import Blocks, Images, KerasBlocks
from enas_tf.layers.cost import Cost, CountingBlocks, count
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.initializers import fan_in_uniform
from enas_tf.layers.stem import assemble_stem
from enas_tf.nasbench201.space import Nasbench201Arc
from enas_tf.training.train_config import ImageTrainConfig

NUM_STAGES = 3
"""Stages of a network; each but the first begins by halving sides and doubling channels."""


@dataclass(frozen=True)
class Nasbench201ChildConfig(ImageChildConfig):
    """The child network of images in three stages of cells, and how its weights are trained."""

    out_filters: int = option(16, "channels of the first stage, even; doubled at each other one")
    aux_head: bool = option(False, "add an auxiliary classifier after the third stage's first cell")
    num_cells: int = option(5, "cells in each of the three stages")

    def __post_init__(self) -> None:
        """Raises UserError for values that make no network."""
        super().__post_init__()
        if self.num_cells < 1:
            raise UserError(f"child.num_cells must be at least 1, got {self.num_cells}")

    @property
    def description(self) -> str:
        """The network's size in words."""
        return f"{NUM_STAGES} stages, cells in each: {self.num_cells}, {super().description}"

    def stage_channels(self, stage: int) -> int:
        """Returns the channels of a stage, counted from 0."""
        return self.out_filters * 2**stage

    def drop_path(self, stage: int, cell: int) -> tuple[float, float]:
        """Returns what drop path keeps in the last cell, and the depth of a cell of a stage."""
        depth = (stage * self.num_cells + cell + 1) / (NUM_STAGES * self.num_cells)
        return self.drop_path_keep_prob, depth

    def has_aux_head(self, stage: int, cell: int) -> bool:
        """Returns whether the auxiliary classifier reads the output of a cell of a stage."""
        return self.aux_head and (stage, cell) == (NUM_STAGES - 1, 0)


@dataclass(frozen=True)
class Nasbench201TrainConfig(ImageTrainConfig):
    """The final training; the benchmark's network is as large as the search's."""

    num_cells: int = option(5, "as child.num_cells, of the final network", is_size=True)

    def _final(self, child: Nasbench201ChildConfig) -> Nasbench201ChildConfig:
        return replace(super()._final(child), num_cells=self.num_cells)


def build(
    arc: Nasbench201Arc,
    config: Nasbench201ChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    rng: StepRng,
) -> keras.Model:
    """Builds the network of one architecture.

    Its weights begin as the benchmark's do, by PyTorch's default.

    Args:
        arc: its cell.
        config: sizes and dropout.
        image_shape: `(height, width, channels)` of the input, normalised float32 images.
        num_classes: of the logits.
        rng: of dropout and drop path.

    Returns:
        A model from images to the logits, `(batch, num_classes)`, and where `config.aux_head`, a
        second output, the auxiliary logits of the same shape; float32.
    """
    images = keras.Input(image_shape, name="images")
    outputs = _assemble(arc, config, images, num_classes, KerasBlocks(rng, fan_in_uniform))
    return keras.Model(images, outputs, name="nasbench201_network")


def count_cost(
    arc: Nasbench201Arc,
    config: Nasbench201ChildConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    blocks: CountingBlocks | None = None,
) -> Cost:
    """Counts what `build`'s network costs, without building it.

    As in the benchmark, a convolution counts even where its output reaches nothing but zeros.

    Args:
        blocks: what counts; see `enas_tf.layers.cost.count`. The other arguments are `build`'s.
    """

    def assemble(images: Images, blocks: Blocks) -> list:
        return _assemble(arc, config, images, num_classes, blocks)

    return count(assemble, image_shape, blocks)


def _assemble(
    arc: Nasbench201Arc,
    config: Nasbench201ChildConfig,
    images: Images,
    num_classes: int,
    blocks: Blocks,
) -> list:
    """Returns the logits and, with an auxiliary head, the auxiliary logits."""
    x, aux_logits = assemble_stem(config.stem, blocks, images, config.out_filters), []
    for stage in range(NUM_STAGES):
        if stage:
            x = _reduce(blocks, x, config.stage_channels(stage), f"reduction_{stage}")
        for cell in range(config.num_cells):
            drop_path = config.drop_path(stage, cell)
            x = _run_cell(arc, blocks, x, drop_path, f"stage_{stage}_cell_{cell}")
            if config.has_aux_head(stage, cell):
                aux_logits = [blocks.aux_head(x, num_classes)]
    x = blocks.relu(blocks.normalize(x, "last"))
    return [blocks.classify(x, num_classes, config.keep_prob, use_bias=True), *aux_logits]


def _reduce(blocks: Blocks, x: Images, channels: int, name: str) -> Images:
    """Applies a residual block that halves height and width."""
    shortcut = blocks.pool(x, "average", 2, f"{name}_pool", stride=2)
    shortcut = blocks.conv(shortcut, channels, 1, f"{name}_shortcut", has_norm=False)
    x = blocks.conv(blocks.relu(x), channels, 3, f"{name}_1", stride=2)
    x = blocks.conv(blocks.relu(x), channels, 3, f"{name}_2")
    return blocks.add([x, shortcut], f"{name}_sum")


def _run_cell(
    arc: Nasbench201Arc, blocks: Blocks, x: Images, drop_path: tuple[float, float], name: str
) -> Images:
    """Returns the cell's last node."""
    nodes = [x]
    for node, ops in enumerate(arc.nodes, 1):
        parts = []
        for source, number in enumerate(ops):
            op, edge = arc.rows[number], f"{name}_node_{node}_from_{source}"
            part = op.layers(blocks, nodes[source], x.shape[-1], edge)
            parts.append(blocks.drop_path(part, *drop_path, edge) if op.drop_path else part)
        nodes.append(blocks.add(parts, f"{name}_node_{node}") if parts[1:] else parts[0])
    return nodes[-1]
