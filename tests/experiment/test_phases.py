import json
from dataclasses import replace

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.phases import is_derived, mark_derived, refuse_a_training
from enas_tf.search.derive import OUTPUTS, DeriveConfig
from enas_tf.training.run_folder import Run

CONFIG = DeriveConfig(num_samples=3)
OTHER = replace(CONFIG, num_samples=2)


@pytest.fixture
def run(tmp_path):
    """A run that was searched, derived at the search's end, and trained."""
    run = Run(tmp_path)
    for name in (*OUTPUTS, "train/arc.txt"):
        run.write_text(name, "")
    run.mark_done("search", outputs=[], step=9)
    mark_derived(run, CONFIG, 9)
    return run


def test_a_search_is_derived_by_the_same_settings_and_at_its_end(run):
    assert is_derived(run, CONFIG) and not is_derived(run, OTHER)
    run.mark_done("search", outputs=[], step=18)
    assert not is_derived(run, CONFIG)


def test_an_earlier_version_derived_by_the_defaults_of_what_it_lacked(run):
    marks = run.read_json("done.json")
    del marks["derive"]["facts"]["config"]["finalists"]
    run.write_text("done.json", json.dumps(marks))
    assert is_derived(run, CONFIG)
    assert not is_derived(run, replace(CONFIG, finalists=2))


def test_a_training_by_other_settings_is_refused_by_their_names(run):
    with pytest.raises(UserError) as error:
        refuse_a_training(run, OTHER)
    assert str(error.value) == (
        f"{run.folder} holds the training of an architecture that was derived by other settings: "
        "derive.num_samples was 3 and is now 2; give the same ones, or train what these derive in "
        "another --workdir, by --arc"
    )


def test_a_training_of_what_no_search_has_derived_is_refused(run):
    run.mark_done("search", outputs=[], step=18)
    with pytest.raises(UserError, match=r"no finished search has derived; go on .* --arc=.*arc"):
        refuse_a_training(run, CONFIG)
    run.path("train/arc.txt").unlink()
    refuse_a_training(run, CONFIG)
