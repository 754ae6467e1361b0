from dataclasses import dataclass

import pytest

from enas_tf.core.config import option, overridden
from enas_tf.core.errors import UserError
from enas_tf.core.network_config import CellChildConfig


@dataclass(frozen=True)
class Other:
    out_filters: int = 36
    l2: float = 0.5
    num_epochs: int = 3


def test_an_option_has_its_meaning_and_what_else_launchers_heed():
    made = option(3, "how many", flag="ops")
    assert made.default == 3
    assert made.metadata == {"help": "how many", "flag": "ops"}


def test_the_fields_of_both_configs_are_overridden():
    child = CellChildConfig(out_filters=4, l2=0.1, lr_max=0.2)
    assert overridden(child, Other()) == CellChildConfig(out_filters=36, l2=0.5, lr_max=0.2)
    assert child.out_filters == 4


def test_what_the_config_refuses_is_told():
    with pytest.raises(UserError, match="out_filters must be even"):
        overridden(CellChildConfig(), Other(out_filters=5))
