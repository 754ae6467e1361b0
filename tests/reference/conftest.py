"""Fixtures of the reference tests."""

import pytest

from tests.reference.cases import Comparison


@pytest.fixture
def compare(request, record_property):
    """Compares with the original; `-s` prints the largest error of each quantity."""
    comparison = Comparison()
    yield comparison
    for quantity, error in comparison.errors.items():
        record_property(quantity, error)
        print(f"\n  {request.node.name}: {quantity} {error:.1e}", end="")
