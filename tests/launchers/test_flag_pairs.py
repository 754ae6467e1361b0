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


# Other rows take too long for every run of the tests: XLA takes a minute for a program of images.
# `python -m tests.flag_pairs` takes them all.
def test_pairs_of_flags_run_a_whole_pipeline(tmp_path):
    (*_, row) = rows_of(FLAGS["ptb_rnn"])
    check(tmp_path, "ptb_rnn", [row | {"--jit_compile": "true"}])
