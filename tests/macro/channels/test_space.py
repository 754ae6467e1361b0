import json
import random
from collections import Counter

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.architectures import read_arc
from enas_tf.macro.channels.space import Branch, ChannelArc, ChannelLayer, ChannelSpace
from enas_tf.macro.space import MacroSpace

TWO = "conv_3x3,max_pool_3x3"
SMALL = ChannelSpace(2, TWO, channel_blocks=4)
# Layer 0 takes blocks 0 to 2 of the convolution and block 3 of the pool.
TEXT = "0 3 3 1  2 2 0 1 1"


def test_tokens_land_in_their_places():
    arc = SMALL.parse(TEXT)
    assert arc == ChannelArc(
        (
            ChannelLayer((Branch(0, 3), Branch(3, 1)), ()),
            ChannelLayer((Branch(start=2, count=2), Branch(0, 1)), (1,)),
        ),
        "conv 3x3,max pool 3x3",
        4,
    )
    assert str(arc) == " ".join(TEXT.split())
    # Once for each block.
    assert arc.ops == (0, 0, 0, 1, 0, 0, 1)
    assert arc.inputs == (0,)
    assert arc.space == SMALL


@pytest.mark.parametrize("space", [SMALL, ChannelSpace(3, 4), ChannelSpace(12)], ids=repr)
def test_all_forms_read_back(space):
    options = {"op_set": space.op_set, "channel_blocks": space.channel_blocks}
    for seed in range(5):
        arc = space.random(random.Random(seed))
        assert ChannelArc.from_json(arc.to_json()) == arc
        assert space.parse(json.loads(arc.to_json())) == arc
        for form in (str(arc), arc, arc.to_json(), arc.portable):
            assert space.of(form, **options) == (space, arc)
        if space.op_set.isdecimal():
            for name in ("printed", "script"):
                assert read_arc(space, space.write_form(arc, name)) == (space, arc)


def test_prints_layers_as_the_authors_do():
    space = ChannelSpace(2, 2, channel_blocks=4)
    assert space.write_form(space.parse(TEXT), "printed") == "[0 3 3 1]\n[2 2 0 1 1]"


@pytest.mark.parametrize(
    ("space", "count"),
    [
        # Of 4 blocks: 3 counts from block 0 on and from block 1, 2 from block 2, 1 from block 3.
        (ChannelSpace(1, TWO, channel_blocks=4), 9**2),
        (SMALL, 9**4 * 2),
        # Without the whole of all blocks, which the authors' code cannot choose either.
        (ChannelSpace(12), (12 * 13 // 2 - 1) ** 72 * 2**66),
    ],
    ids=repr,
)
def test_counts(space, count):
    assert space.count() == count


def test_random_is_uniform_over_what_fits():
    space, rng = ChannelSpace(1, "conv_3x3", channel_blocks=3), random.Random(0)
    drawn = Counter(space.random(rng).tokens for _ in range(2000))
    assert set(drawn) == {(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)}
    assert min(drawn.values()) > 340 and max(drawn.values()) < 460


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "4 1 0 1",
            "token 1 (layer 0, conv 3x3, start) must be an integer from 0 to 3 "
            "(its first block of channels, of 4), got 4",
        ),
        (
            "0 0 0 1",
            "token 2 (layer 0, conv 3x3, count) must be an integer from 1 to 3 "
            "(its blocks of channels from block 0 of 4 on), got 0",
        ),
        (
            "0 4 0 1",
            "token 2 (layer 0, conv 3x3, count) must be an integer from 1 to 3 "
            "(its blocks of channels from block 0 of 4 on), got 4",
        ),
        (
            "0 3 3 2",
            "token 4 (layer 0, max pool 3x3, count) must be 1 "
            "(its blocks of channels from block 3 of 4 on), got 2",
        ),
        (
            "0 3 3",
            "token 4 (layer 0, max pool 3x3, count) is missing: it must be 1 "
            "(its blocks of channels from block 3 of 4 on); the number of tokens in the "
            "macro_channels space must be 4 (1 layer), got 3",
        ),
    ],
)
def test_errors(text, message):
    with pytest.raises(UserError) as error:
        ChannelSpace.of(text, op_set=TWO, channel_blocks=4)
    assert str(error.value) == message


def test_what_would_be_read_as_another_architecture_is_refused():
    arc = SMALL.parse(TEXT)
    with pytest.raises(UserError, match=r"needs --space.channel_blocks=4; with .*=12"):
        read_arc(ChannelSpace(2, TWO), arc.to_json())
    with pytest.raises(UserError, match=r"needs --space.ops=conv 3x3,max pool 3x3; with"):
        read_arc(ChannelSpace(2, channel_blocks=4), arc.to_json())
    # Fewer of the first ops are fewer branches.
    fewer = ChannelSpace(2, 4, channel_blocks=4).random(random.Random(0))
    with pytest.raises(UserError, match=r"needs --space.ops=4; with --space.ops=6"):
        read_arc(ChannelSpace(2, channel_blocks=4), fewer.to_json())
    with pytest.raises(UserError, match="expected an architecture of the macro space"):
        MacroSpace(2).parse(arc)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel_blocks": 1}, "space.channel_blocks must be at least 2, got 1"),
        ({"op_set": 7}, "and squeeze-and-excitation conv 3x3 needs all of them"),
        ({"num_layers": 0}, "space.num_layers must be an integer of at least 1, got 0"),
    ],
)
def test_spaces_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ChannelSpace(**options)


def test_explain_and_graphs():
    arc = SMALL.parse(TEXT)
    assert SMALL.explain(arc).splitlines()[2:] == [
        "a layer runs all ops and takes some of each one's 4 blocks of channels, which a 1x1 "
        "convolution mixes",
        "",
        "layer 0 = conv 3x3 blocks 0 to 2, max pool 3x3 block 3, of stem",
        "layer 1 = conv 3x3 blocks 2 to 3, max pool 3x3 block 0, of layer 0, joined with stem",
        "output = layer 1, the only loose end: each other layer feeds the next one",
    ]
    (graph,) = SMALL.graphs(arc)
    labels = [node.label for node in graph.nodes]
    assert labels == ["stem", "layer 0: 4 of 8 blocks", "layer 1: 3 of 8 blocks", "output"]
