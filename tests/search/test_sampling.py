import random

import numpy as np
import pytest

from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.rnn.space import RnnSpace
from enas_tf.search.sampling import SAMPLERS, draw_fairly

SPACES = [MicroSpace(2), MacroSpace(4), MacroSpace(3, 7), RnnSpace(3), Nasbench201Space(4)]


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("space", SPACES)
def test_draws_each_value_of_a_token_equally_often(space, sampler):
    tokens = sampler(space, 300, random.Random(0)).numpy()
    for one in tokens.tolist():
        assert space.parse(one).tokens == tuple(one)
    # 300 draws of a token of n values: each comes about 300 / n times.
    for column, size in zip(tokens.T, space.sizes, strict=True):
        shares = np.bincount(column, minlength=size) / 300
        assert shares == pytest.approx(np.full(size, 1 / size), abs=0.12)
    np.testing.assert_array_equal(sampler(space, 300, random.Random(0)), tokens)
    assert len({tuple(one) for one in tokens.tolist()}) > min(space.count(), 300) / 2


@pytest.mark.parametrize("space", SPACES)
def test_in_fair_draws_the_values_of_a_token_take_turns(space):
    tokens = draw_fairly(space, 23, random.Random(0)).numpy()
    assert tokens.shape == (23, len(space.sizes))
    for column, size in zip(tokens.T, space.sizes, strict=True):
        for first in range(0, 23 - size + 1, size):
            assert sorted(column[first : first + size]) == list(range(size))
