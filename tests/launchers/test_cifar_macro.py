"""The launcher as a user calls it; what all launchers do is tested with cifar_micro."""

import json

import numpy as np
import pytest

from enas_tf.data.base import DataConfig
from enas_tf.data.images import load_images
from enas_tf.export.images import predict
from tests.launching import launch


def test_the_pipeline_from_digits_to_an_export(tmp_path):
    # Many rewards, so that architectures with and without skip connections are among them.
    more = "--derive.num_samples=20", "--search.reward_bn=moving"
    done = launch(f"--workdir={tmp_path}", *more, launcher="cifar_macro")
    assert done.status == 0, done.stderr
    result = json.loads((tmp_path / "train/result.json").read_text())
    ranked = json.loads((tmp_path / "arcs.json").read_text())
    assert len(ranked) == 20 and ranked[0]["arc"] == result["arc"]
    # The formula that counts for the ranking, and the network that was built.
    assert ranked[0]["params"] == result["params"]
    lines = (tmp_path / "search/metrics.jsonl").read_text().splitlines()
    controller = [r for r in map(json.loads, lines) if r["phase"] == "controller"]
    assert all(0 <= r["skip_rate"] <= 1 and r["skip_penalty"] > 0 for r in controller)

    data = load_images("digits", None, DataConfig())
    test = data.splits["test"]
    shown = predict(tmp_path / "export/cifar_macro/1", test.images)
    wanted = [data.class_names[label] for label in test.labels]
    accuracy = np.mean([label for label, _ in shown] == np.array(wanted))
    assert accuracy == pytest.approx(result["test"]["accuracy"], abs=1 / len(wanted))
