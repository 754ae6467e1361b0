import shutil

import pytest

from enas_tf.core import stores
from enas_tf.core.errors import UserError
from enas_tf.core.stores import Store
from enas_tf.serving.server import ServeConfig, _command, _find_model
from tests.stand_in_store import store

__all__ = ["store"]


def export(url, signature=b"serve_bytes"):
    for version in ("9", "10"):
        Store(url).write(f"{version}/saved_model.pb", b"..." + signature)
    Store(url).write("notes/saved_model.pb", b"score_text")
    return ServeConfig(export_dir=url)


@pytest.fixture
def program(monkeypatch):
    """Sets which of the programs that serve is there."""
    return lambda name: monkeypatch.setattr(
        shutil, "which", lambda wanted: f"/bin/{wanted}" if wanted == name else None
    )


@pytest.fixture
def gs(store, monkeypatch):
    monkeypatch.setitem(stores._FILES, "gs", stores._FsspecFiles)


def test_a_server_reads_gs_itself(gs, program):
    config = export("gs://bucket/export/model/")
    model = _find_model(config)
    assert (model.path, model.name, model.is_text) == ("gs://bucket/export/model", "model", False)
    program("tensorflow_model_server")
    command = _command(config, model, batching=True)
    assert "--model_base_path=gs://bucket/export/model" in command
    assert "--batching_parameters_file=gs://bucket/export/model/batching_params.pbtxt" in command


def test_a_container_gets_the_credentials_in_place_of_a_folder(gs, program, monkeypatch, tmp_path):
    config = export("gs://bucket/export/model")
    program("docker")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    command = _command(config, _find_model(config), batching=False)
    mounts = [flag for flag in command if flag.startswith("--mount")]
    source = f"source={tmp_path / 'key.json'},target=/credentials.json"
    assert mounts == [f"--mount=type=bind,{source},readonly"]
    assert "--env=GOOGLE_APPLICATION_CREDENTIALS=/credentials.json" in command


def test_of_s3_a_copy_is_served(store, capsys):
    model = _find_model(export("s3://bucket/export/model", b"score_text"))
    assert model.name == "model" and model.is_text and "cache" in model.path
    assert "the server cannot read s3://" in capsys.readouterr().err


def test_a_store_without_an_export_is_told(gs):
    with pytest.raises(UserError, match="gs://bucket/none holds no exported model"):
        _find_model(ServeConfig(export_dir="gs://bucket/none"))
