"""Fixtures of the reference tests."""

import pytest
import tensorflow as tf

from enas_tf import learner
from enas_tf.layers.form import form
from tests.reference.cases import Comparison


@pytest.fixture(scope="module", autouse=True)
def ops_as_written():
    """Keeps graphs from fusing ops, such as batch norm and relu, which rounds otherwise."""
    tf.config.optimizer.set_experimental_options({"remapping": False})
    yield
    tf.config.optimizer.set_experimental_options({"remapping": True})


@pytest.fixture(scope="module", params=[False, True], ids=["dynamic", "static"])
def both_forms(request):
    """Has children be built and run in one form of their layers, then in the other."""
    with pytest.MonkeyPatch.context() as patch, form(request.param):
        patch.setattr(learner, "on_gpu", lambda strategy: request.param)
        yield


@pytest.fixture
def compare(request, record_property):
    """Compares with the original; `-s` prints the error of each quantity."""
    comparison = Comparison()
    yield comparison
    for key, error in comparison.report.items():
        record_property(key, error)
        print(f"\n  {request.node.name}: {key} {error}", end="")
