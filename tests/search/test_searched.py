import random

import numpy as np
import pytest

from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.searched import draw_uniformly
from tests import tiny

SPACES = [MicroSpace(2), MacroSpace(4), MacroSpace(3, 7), RnnSpace(3), Nasbench201Space(4)]


@pytest.mark.parametrize("space", SPACES)
def test_draws_uniformly_from_the_space(space):
    tokens = draw_uniformly(space, 300, random.Random(0)).numpy()
    for one in tokens.tolist():
        assert space.parse(one).tokens == tuple(one)
    # 300 draws of a token of n values: each comes about 300 / n times.
    for column, size in zip(tokens.T, space.sizes, strict=True):
        shares = np.bincount(column, minlength=size) / 300
        assert shares == pytest.approx(np.full(size, 1 / size), abs=0.12)
    np.testing.assert_array_equal(draw_uniformly(space, 300, random.Random(0)), tokens)


def test_draws_by_blocks_what_the_search_itself_does_not_draw():
    searched = tiny.search().searched()
    first, second = (searched.draw(50, block).numpy() for block in (0, 1))
    assert first.shape == (50, 8) and not np.array_equal(first, second)
    np.testing.assert_array_equal(searched.draw(50, 0), first)
    # The search draws of three other streams, by the same seed.
    for stream in range(3):
        drawn = searched.algorithm.propose(50, [4 * searched.seed + stream, 0]).tokens
        assert not np.array_equal(drawn, first)
