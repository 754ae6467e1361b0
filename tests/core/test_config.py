from typing import Literal

import pytest

from enas_tf.core.config import accepts, option


@pytest.mark.parametrize(
    ("annotation", "values", "others"),
    [
        (int, [3, 0], [True, 3.0, "3", None]),
        (float, [3, 0.5], [True, "3"]),
        (bool, [True], [1, "true"]),
        (str, ["a", 7], [True, 0.5, None]),
        (str | None, ["a", None], [0.5]),
        (bool | None, [None, False], [0]),
        (Literal["one", "two"], ["one"], ["three", 1]),
    ],
)
def test_accepts_what_a_flag_of_the_type_gives(annotation, values, others):
    assert all(accepts(annotation, value) for value in values)
    assert not any(accepts(annotation, value) for value in others)


def test_an_option_has_its_meaning_and_what_else_launchers_heed():
    made = option(3, "how many", flag="ops")
    assert made.default == 3
    assert made.metadata == {"help": "how many", "flag": "ops"}
