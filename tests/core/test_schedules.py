import math

import pytest

from enas_tf.core.schedules import CosineRestarts


@pytest.mark.parametrize(
    ("epoch", "fraction", "period"),
    [(0, 0, 10), (5, 5, 10), (9, 9, 10), (10, 0, 20), (29, 19, 20), (30, 0, 40), (69, 39, 40)],
)
def test_periods_double_and_start_at_the_maximum(epoch, fraction, period):
    wanted = 0.001 + 0.049 * (1 + math.cos(math.pi * fraction / period)) / 2
    assert CosineRestarts(0.05, 0.001, 10, 2)(epoch) == pytest.approx(wanted, rel=1e-12)


def test_periods_end_after_their_last_epoch():
    schedule = CosineRestarts(0.05, 0.001, 10, 2)
    assert [n for n in range(1, 160) if schedule.ends_after(n)] == [10, 30, 70, 150]
