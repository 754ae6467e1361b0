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


# What the image launchers share is tried by one of them in full.
@pytest.mark.parametrize(("launcher", "at_most"), [("cifar_micro", 3), ("cifar_macro", 99)])
def test_pairs_of_flags_run_a_whole_pipeline_of_images(tmp_path, launcher, at_most):
    rows = [row | {"--jit_compile": "false"} for row in rows_of(FLAGS[launcher])]
    check(tmp_path, launcher, rows[:at_most])


def test_pairs_of_flags_run_a_whole_pipeline_of_text(tmp_path):
    *rows, last = rows_of(FLAGS["ptb_rnn"])
    rows = [row | {"--jit_compile": "false"} for row in rows]
    check(tmp_path, "ptb_rnn", [*rows, last | {"--jit_compile": "true"}])
