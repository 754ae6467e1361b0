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
@pytest.mark.parametrize(
    ("launcher", "number"), [("cifar_micro", 1), ("cifar_macro", 2), ("ptb_rnn", 2)]
)
def test_pairs_of_flags_run_a_whole_pipeline(tmp_path, launcher, number):
    rows = [row | {"--jit_compile": "false"} for row in rows_of(FLAGS[launcher])[-number:]]
    if launcher == "ptb_rnn":
        rows[-1]["--jit_compile"] = "true"
    check(tmp_path, launcher, rows)
