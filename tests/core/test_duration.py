import pytest

from enas_tf.core.duration import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (41.6, "42s"),
        (59.7, "1m 00s"),
        (185, "3m 05s"),
        (3599.9, "1h 00m"),
        (3725, "1h 02m"),
        (360_300, "100h 05m"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text
