"""Fixtures of the reference tests."""

from contextlib import nullcontext

import pytest
import tensorflow as tf

from enas_tf.layers.form import Form, traced_for
from enas_tf.training import child_trainer as trainer
from tests.reference.cases import Comparison


@pytest.fixture(scope="module", autouse=True)
def ops_as_written():
    """Keeps graphs from fusing ops, such as batch norm and relu, which rounds otherwise."""
    tf.config.optimizer.set_experimental_options({"remapping": False})
    yield
    tf.config.optimizer.set_experimental_options({"remapping": True})


@pytest.fixture(scope="module", params=[Form.CPU, Form.XLA])
def both_forms(request):
    """Has children be built and run in a CPU's form of their layers, then in that for XLA."""
    with pytest.MonkeyPatch.context() as patch, traced_for(request.param):
        # The trainer's own choice.
        patch.setattr(trainer, "traced_for", lambda _: nullcontext())
        yield


@pytest.fixture
def compare(request, record_property):
    """Compares with the original; `-s` prints the error of each quantity."""
    comparison = Comparison()
    yield comparison
    for key, error in comparison.report.items():
        record_property(key, error)
        print(f"\n  {request.node.name}: {key} {error}", end="")
