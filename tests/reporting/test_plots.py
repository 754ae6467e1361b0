"""What the plots show, beyond what the tests of the report see."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from enas_tf.reporting import plots

TOLD = [
    {"step": 5, "gap": 0.1, "gap_error": 0.02, "ops": {"tanh": 3, "relu": 1}},
    {"step": 9, "gap": 0.3, "gap_error": 0.05, "ops": {"tanh": 4, "relu": 0}},
]


@pytest.fixture
def axes():
    return Figure().add_subplot()


def edges(area):
    """Lowest and highest y of a filled area."""
    ys = area.get_paths()[0].vertices[:, 1]
    return pytest.approx((ys.min(), ys.max()))


def test_the_gap_has_a_band_of_two_standard_errors(axes):
    plots._draw_gap(axes, TOLD)
    zero, gaps = axes.get_lines()
    assert set(zero.get_ydata()) == {0}
    np.testing.assert_array_equal(gaps.get_xydata(), [[5, 0.1], [9, 0.3]])
    [band] = axes.collections
    assert edges(band) == (0.06, 0.4)


def test_each_op_has_a_strip_as_high_as_its_share(axes):
    plots._draw_shares(axes, TOLD, "ops")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tanh", "relu"]
    # Of 0.9 for the highest share there is, all of the last four.
    assert [edges(strip) for strip in axes.collections] == [(-0.9, 0), (1 - 0.9 / 4, 1)]
    assert [note.get_text() for note in axes.texts] == ["100%", "0%"]


def test_a_space_without_inputs_has_no_strips(axes):
    plots._draw_shares(axes, [{"step": 1, "inputs": {}}], "inputs")
    assert not axes.collections
