import numpy as np

from tests import tiny


def test_draws_by_blocks_what_the_search_itself_does_not_draw():
    searched = tiny.search().searched()
    first, second = (searched.draw(50, block).numpy() for block in (0, 1))
    assert first.shape == (50, 8) and not np.array_equal(first, second)
    np.testing.assert_array_equal(searched.draw(50, 0), first)
    # The search draws of three other streams, by the same seed.
    for stream in range(3):
        drawn = searched.algorithm.propose(50, [4 * searched.seed + stream, 0]).tokens
        assert not np.array_equal(drawn, first)
