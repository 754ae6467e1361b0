import math

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.network_config import CellChildConfig


@pytest.mark.parametrize(
    ("num_layers", "reductions", "aux_layer"),
    # num_layers // 3 and 2 * (num_layers // 3) + 1 of num_layers + 2; the head reads the next.
    [(3, (1, 3), 4), (5, (1, 3), 4), (6, (2, 5), 6), (15, (5, 11), 12)],
)
def test_reductions_are_at_the_thirds(num_layers, reductions, aux_layer):
    config = CellChildConfig(num_layers=num_layers)
    assert config.reductions == reductions
    assert config.aux_layer == aux_layer < num_layers + 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"num_layers": 2},
            "child.num_layers must be at least 3, one for each width, got 2",
        ),
        (
            {"out_filters": 5},
            "child.out_filters must be even, since a reduction splits channels in two halves, got "
            "5; try 6",
        ),
        ({"out_filters": 0}, "child.out_filters must be at least 1, got 0"),
        ({"lr_period": 0}, "child.lr_period must be at least 1, got 0"),
        ({"keep_prob": 0.0}, "child.keep_prob must be over 0 and at most 1, got 0.0"),
        (
            {"drop_path_keep_prob": 1.5},
            "child.drop_path_keep_prob must be over 0 and at most 1, got 1.5",
        ),
        ({"l2": -1e-4}, "child.l2 must not be negative, got -0.0001"),
        ({"lr_max": math.inf}, "child.lr_max must not be negative, got inf"),
        ({"momentum": 1.0}, "child.momentum must be at least 0 and below 1, got 1.0"),
        ({"momentum": math.nan}, "child.momentum must be at least 0 and below 1, got nan"),
    ],
)
def test_what_makes_no_network_is_refused_in_one_line(options, line):
    with pytest.raises(UserError) as raised:
        CellChildConfig(**options)
    assert str(raised.value) == line
