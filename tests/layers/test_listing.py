import random
from dataclasses import replace

import keras
import pytest

from enas_tf.layers.cost import Counted
from enas_tf.layers.listing import Block, ListingBlocks
from enas_tf.macro.network import MacroChildConfig
from enas_tf.macro.recipe import CIFAR_MACRO
from enas_tf.micro.recipe import CIFAR_MICRO
from enas_tf.nasbench201.recipe import NASBENCH201

IMAGES = Counted((None, 9, 8, 3))
SIZES = (9, 8, 3), 10


def test_lists_what_runs_outside_training():
    blocks = ListingBlocks()
    x = blocks.conv(IMAGES, 4, 3, "stem")
    for name in ("a", "b"):
        x = blocks.drop_path(blocks.relu(x), 0.5, 0.3, name)
    blocks.reduce(x, 6, "unused", is_used=False)
    blocks.aux_head(x, 10)
    x = blocks.concatenate([x, blocks.pool(x, "max", 3, "pool")], "joined")
    blocks.classify(x, 10, 0.9)
    assert {str(block): count for block, count in blocks.found.items()} == {
        "conv 9x8x3 filters=4 kernel_size=3 stride=1 has_norm=True": 1,
        "relu 9x8x4": 2,
        "pool 9x8x4 kind=max size=3 stride=1": 1,
        "concatenate 9x8x4+9x8x4": 1,
        "classify 9x8x8 num_classes=10 use_bias=False": 1,
    }


@pytest.mark.parametrize("recipe", [CIFAR_MACRO, CIFAR_MICRO, NASBENCH201], ids=lambda r: r.name)
def test_counts_the_same_and_names_each_block_once(recipe):
    settings = recipe.presets["tiny"]
    blocks = ListingBlocks()
    arc = settings.space.random(random.Random(1))
    cost = recipe.domain.count_cost(arc, settings, SIZES)
    child = settings.train.child(settings.child)
    assert recipe.domain._count_cost(arc, child, *SIZES, blocks) == cost
    found = recipe.domain.list_blocks(arc, settings, SIZES)
    assert found == blocks.found and len({str(block) for block in found}) == len(found)


def test_the_authors_unused_reductions_are_not_listed():
    settings = CIFAR_MACRO.presets["tiny"]
    arc = settings.space.parse([0] * len(settings.space.slots))
    plain, authors = (
        CIFAR_MACRO.domain.list_blocks(
            arc, replace(settings, child=MacroChildConfig(authors_macro=value)), SIZES
        )
        for value in (False, True)
    )
    reduced = [sum(n for b, n in one.items() if b.kind == "reduce") for one in (plain, authors)]
    assert reduced == [2, 2]


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (
            Block("conv", ((9, 8, 3),), (("filters", 4), ("kernel_size", 3), ("stride", 2))),
            (5, 4, 4),
        ),
        (Block("reduce", ((9, 8, 3),), (("filters", 6),)), (5, 4, 6)),
        (Block("excite", ((9, 8, 4),), (("reduction", 4),)), (9, 8, 4)),
        (Block("add", ((9, 8, 4), (9, 8, 4)), ()), (9, 8, 4)),
        (Block("concatenate", ((9, 8, 4),), ()), (9, 8, 4)),
        (Block("classify", ((9, 8, 4),), (("num_classes", 7),)), (7,)),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_builds_a_block_alone(block, shape):
    model = block.build()
    assert [one.shape[1:] for one in model.inputs] == [*block.shapes]
    assert model.output_shape[1:] == shape
    assert {one.dtype for one in model.inputs} == {"float32"}


def test_a_block_alone_computes_in_the_networks_precision():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = Block("relu", ((4, 4, 2),), ()).build()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert model.inputs[0].dtype == model.outputs[0].dtype == "bfloat16"
