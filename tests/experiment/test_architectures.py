import random

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.architectures import read_arc
from enas_tf.macro.space import MacroSpace


@pytest.mark.parametrize("op_set", [3, 6, 7, "max_pool_3x3,conv_3x3"])
def test_a_run_reads_its_own_architectures(op_set):
    space = MacroSpace(3, op_set)
    for seed in range(3):
        arc = space.random(random.Random(seed))
        for text in (arc.portable, arc.to_json()):
            assert read_arc(space, text)[1] == arc


def test_an_architecture_with_an_op_that_the_run_lacks_is_refused():
    text = MacroSpace(2, 7).parse("6 0 1").to_json()
    with pytest.raises(UserError, match=r"needs --space.ops=7; with --space.ops=6"):
        read_arc(MacroSpace(2), text)
    assert read_arc(MacroSpace(2, 7), text)[1].tokens == (6, 0, 1)
