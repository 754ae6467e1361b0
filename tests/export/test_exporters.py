import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.export.base import write_version
from enas_tf.export.exporters import EXPORTERS, VERSION, ExportedModel

EXTRA = {"labels.txt": "a\nb\n", "model.json": "{}"}


@pytest.fixture
def model(tmp_path):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    spec = tf.TensorSpec((None, 3), tf.float32, name="x")
    serve = tf.function(lambda x: {"y": network(x)}).get_concrete_function(spec)
    warmup = {"serving_default": {"x": np.zeros((1, 3), np.float32)}}
    return ExportedModel(tmp_path / "model", network, {"serving_default": serve}, EXTRA, warmup)


WITHIN, BESIDE = f"{VERSION}/", ""
WRITTEN = {
    "SavedModel": [WITHIN + "saved_model.pb", WITHIN + "fingerprint.pb"],
    "ExtraFiles": [WITHIN + "assets.extra/labels.txt", WITHIN + "assets.extra/model.json"],
    "WarmUp": [WITHIN + "assets.extra/tf_serving_warmup_requests"],
    "KerasModel": [BESIDE + "model.keras"],
    "ServerConfigs": [BESIDE + "batching_params.pbtxt", BESIDE + "models.config"],
}


@pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda exporter: type(exporter).__name__)
def test_each_writes_its_own_files_alone(model, tmp_path, exporter):
    (tmp_path / "aside" / VERSION).mkdir(parents=True)
    exporter.write(model, tmp_path / "aside")
    files = [p for p in (tmp_path / "aside").rglob("*") if p.is_file()]
    names = {str(path.relative_to(tmp_path / "aside")) for path in files}
    names = {name for name in names if "/variables/" not in name}
    assert names == set(WRITTEN[type(exporter).__name__])
    assert not model.folder.exists()


class ShapesAsJson:
    """A format of another kind, as a user may add one."""

    def write(self, model, aside):
        shapes = {weight.path: list(weight.shape) for weight in model.model.weights}
        (aside / VERSION / "shapes.json").write_text(json.dumps(shapes))
        (aside / "newest.txt").write_text("shapes")


def test_another_format_is_one_more_entry(model):
    version = write_version(model, (*EXPORTERS, ShapesAsJson()))
    assert version == model.folder / "1"
    shapes = json.loads((version / "shapes.json").read_text())
    assert sorted(shapes.values()) == [[2], [3, 2]]
    assert (version / "saved_model.pb").exists()
    beside = {path.name for path in model.folder.iterdir()}
    assert beside == {"1", "newest.txt", "model.keras", "models.config", "batching_params.pbtxt"}


def test_nothing_is_published_where_the_last_exporter_fails(model):
    class Failing:
        def write(self, model, aside: Path):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        write_version(model, (*EXPORTERS, Failing()))
    assert list(model.folder.iterdir()) == []


def test_a_servers_configurations_stay_as_the_user_has_changed_them(model):
    write_version(model)
    (model.folder / "models.config").write_text("the user's own")
    (model.folder / "batching_params.pbtxt").unlink()
    assert write_version(model).name == "2"
    assert (model.folder / "models.config").read_text() == "the user's own"
    assert "max_batch_size" in (model.folder / "batching_params.pbtxt").read_text()
