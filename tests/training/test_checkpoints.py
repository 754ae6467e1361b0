import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.training.checkpoints import Checkpoints, OtherFormat, named_slots, named_weights


def variables(weight=0.0, count=0):
    return {"weight": tf.Variable([weight, 2.0 * weight]), "count": tf.Variable(count)}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 1, 2 and 3, whose weights are 1, 2 and 3."""
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 3):
        Checkpoints(folder, variables(step, 10 * step)).save(step, {"step": step})
    return folder


def damage(folder, step, file="variables.data-00000-of-00001"):
    path = folder / f"step_{step:09d}" / file
    path.write_bytes(path.read_bytes()[:-3])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_restores_the_newest_into_fresh_variables(folder):
    fresh = variables()
    assert Checkpoints(folder, fresh).restore() == {"step": 3}
    np.testing.assert_array_equal(fresh["weight"], [3, 6])
    assert fresh["count"].numpy() == 30


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    fresh = variables(7.0)
    assert Checkpoints(tmp_path / "none", fresh).restore() is None
    np.testing.assert_array_equal(fresh["weight"], [7, 14])


def test_the_newest_two_are_kept_and_nothing_else(folder):
    assert names(folder) == ["step_000000002", "step_000000003"]


def test_checkpoints_of_another_kind_are_kept_apart(folder):
    kept = variables(5.0)
    checkpoints = Checkpoints(folder, kept)
    with pytest.raises(UserError, match="holds no checkpoint of the kind best"):
        checkpoints.read_newest("best")
    for step, epoch in ((4, 0), (6, 1), (6, 2)):
        kept["weight"].assign([step, epoch])
        checkpoints.write("best", step, {"epoch": epoch})
    checkpoints.save(7, {"step": 7})
    assert checkpoints.restore() == {"step": 7}
    assert checkpoints.read_newest("best") == {"epoch": 2}
    np.testing.assert_array_equal(kept["weight"], [6, 2])
    checkpoints.keep_only("best", 4)
    assert names(folder) == ["best_000000004", "step_000000003", "step_000000007"]


@pytest.mark.parametrize("file", ["variables.data-00000-of-00001", "variables.index", "state.json"])
def test_a_damaged_newest_is_set_aside_and_the_one_before_is_taken(folder, file, capsys):
    damage(folder, 3, file)
    fresh = variables()
    assert Checkpoints(folder, fresh).restore() == {"step": 2}
    np.testing.assert_array_equal(fresh["weight"], [2, 4])
    assert names(folder) == ["damaged_step_000000003", "step_000000002"]
    warning = capsys.readouterr().err
    assert warning.startswith("warning: the checkpoint ") and warning.count("\n") == 1
    assert str(folder / "step_000000003") in warning and "{{" not in warning


def test_a_checkpoint_that_lacks_a_file_is_damaged(folder):
    (folder / "step_000000003" / "state.json").unlink()
    assert Checkpoints(folder, variables()).restore() == {"step": 2}


def test_reads_arrays_by_name_without_variables(tmp_path):
    written = {"child/a.b/kernel": tf.Variable([[1.0, 2.0]]), "child/path_1": tf.Variable(3)}
    Checkpoints(tmp_path, written).write("best", 7, {})
    reader = Checkpoints(tmp_path, {})
    arrays = reader.read_arrays("best")
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "child/a.b/kernel": [[1.0, 2.0]],
        "child/path_1": 3,
    }
    assert not reader.exist()
    Checkpoints(tmp_path, written).save(8, {})
    assert reader.exist()
    next(tmp_path.glob("best_*/variables.index")).write_bytes(b"")
    with pytest.raises(UserError, match="best_000000007 cannot be read"):
        reader.read_arrays("best")
    set_format(tmp_path, 7, 1, "best")
    with pytest.raises(OtherFormat, match="is of format 1"):
        reader.read_arrays("best")


def test_where_all_are_damaged_the_user_is_told(folder):
    damage(folder, 2)
    damage(folder, 3)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read; --overwrite"):
        Checkpoints(folder, variables()).restore()


@pytest.mark.parametrize(
    "others",
    [
        pytest.param({"more": 1.0}, id="more"),
        pytest.param({"weight": [1.0, 2.0, 3.0]}, id="shape"),
    ],
)
def test_another_networks_variables_do_not_fit(folder, others):
    fresh = variables() | {name: tf.Variable(value) for name, value in others.items()}
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoints(folder, fresh).read_newest("step")


def test_fewer_variables_do_not_fit(folder):
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoints(folder, {"count": tf.Variable(0)}).read_newest("step")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        Checkpoints(tmp_path / "file" / "checkpoints", variables()).save(1, {})


def test_a_write_that_fails_leaves_the_earlier_ones_alone(folder, monkeypatch):
    def full(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\ntrace")

    monkeypatch.setattr(tf.train.Checkpoint, "write", full)
    with pytest.raises(UserError, match=r"\(No space left on device\); earlier ones are kept"):
        Checkpoints(folder, variables(4.0)).save(4, {"step": 4})
    assert names(folder) == ["step_000000002", "step_000000003"]


def test_a_process_killed_while_writing_leaves_nothing_that_is_taken_for_a_checkpoint(
    folder, monkeypatch
):
    seen = []
    rename = type(folder).rename

    def watched(self, target):
        seen.append((names(folder), target.name))
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", watched)
    Checkpoints(folder, variables(4.0)).save(4, {"step": 4})
    [(before, target)] = seen
    assert target == "step_000000004"
    assert before == [".step_000000004.tmp", "step_000000002", "step_000000003"]
    assert json.loads((folder / target / "state.json").read_text())["state"] == {"step": 4}


def test_what_killed_processes_left_half_written_is_removed(folder):
    for name in (".step_000000004.tmp", ".step_000000002.old", ".best_000000003.tmp"):
        (folder / name).mkdir()
        (folder / name / "state.json").write_text("{")
    checkpoints = Checkpoints(folder, variables(4.0))
    assert checkpoints.restore() == {"step": 3}
    checkpoints.save(4, {"step": 4})
    assert names(folder) == ["step_000000003", "step_000000004"]


def set_format(folder, step, number, kind="step"):
    """Rewrites what a checkpoint says of its format; None as the first one, which said nothing."""
    path = folder / f"{kind}_{step:09d}" / "state.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"format": number} if number else stored["state"]))


@pytest.mark.parametrize(("number", "shown"), [(None, 1), (1, 1), (3, 3)])
def test_another_versions_checkpoint_is_refused_in_one_line_and_kept(folder, number, shown):
    set_format(folder, 3, number)
    before = names(folder)
    with pytest.raises(
        OtherFormat, match=f"of format {shown}, and this version .*--overwrite"
    ) as e:
        Checkpoints(folder, variables()).restore()
    assert "\n" not in str(e.value) and names(folder) == before


def two_dense(order):
    """Two layers of one shape, made in the order of their names, and an optimizer of both."""
    layers = {name: keras.layers.Dense(2, use_bias=False, name=name) for name in order}
    for layer in layers.values():
        layer.build((None, 2))
    weights = named_weights("child", [layer.kernel for layer in layers.values()])
    optimizer = keras.optimizers.Adam(name="adam")
    optimizer.build(list(weights.values()))
    return layers, {**weights, **named_slots("optimizer", optimizer, weights)}


def test_layers_of_one_shape_find_their_own_weights_in_any_order(tmp_path):
    layers, saved = two_dense(["left", "right"])
    for number, variable in enumerate(saved.values()):
        if variable.shape == (2, 2):
            variable.assign([[number] * 2] * 2)
    Checkpoints(tmp_path, {n: v.value for n, v in saved.items()}).save(1, {})
    swapped, read = two_dense(["right", "left"])
    Checkpoints(tmp_path, {n: v.value for n, v in read.items()}).restore()
    for name, layer in layers.items():
        np.testing.assert_array_equal(layer.kernel, swapped[name].kernel)
    assert saved.keys() == read.keys()
    for name in ("optimizer/momentum/child/left/kernel", "optimizer/velocity/child/right/kernel"):
        np.testing.assert_array_equal(saved[name], read[name])
        assert np.any(saved[name])


def test_names_do_not_depend_on_what_the_process_has_made_before():
    def unnamed():
        inputs = keras.Input((4, 4, 1))
        x = keras.layers.Conv2D(2, 3, name="conv_7")(keras.layers.Conv2D(2, 1)(inputs))
        return keras.Model(inputs, keras.layers.Conv2D(2, 1)(x))

    found = [list(named_weights("child", unnamed().weights)) for _ in range(2)]
    assert found[0] == found[1]


def test_two_weights_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two weights are called weight"):
        named_weights("child", [keras.Variable(1.0, name="weight") for _ in range(2)])
