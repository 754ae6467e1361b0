import itertools

import pytest

from tests.flag_pairs import FLAGS, check, rows_of


@pytest.mark.parametrize("launcher", FLAGS)
def test_any_two_values_of_two_flags_meet_in_a_row(launcher):
    met = {
        pair for row in rows_of(FLAGS[launcher]) for pair in itertools.combinations(row.items(), 2)
    }
    for (one, values), (other, others) in itertools.combinations(FLAGS[launcher].items(), 2):
        for value, another in itertools.product(values, others):
            assert ((one, value), (other, another)) in met


# All rows take too long for every run of the tests; `python -m tests.flag_pairs` takes them.
@pytest.mark.parametrize("launcher", ["cifar_macro", "ptb_rnn"])
def test_pairs_of_flags_run_a_whole_pipeline(tmp_path, launcher):
    (*_, row) = rows_of(FLAGS[launcher])
    # XLA takes a minute for each program, but for the small ones of text.
    compiled = "true" if launcher == "ptb_rnn" else "false"
    check(tmp_path, launcher, [row | {"--jit_compile": compiled}])
