"""Fixtures of the reference tests."""

import pytest

from tests.reference.cases import Comparison


@pytest.fixture
def compare(request, record_property):
    """Compares with the original; `-s` prints the error of each quantity."""
    comparison = Comparison()
    yield comparison
    for key, error in comparison.report.items():
        record_property(key, error)
        print(f"\n  {request.node.name}: {key} {error}", end="")
