"""What all tests share: TensorFlow with two devices."""

import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def two_logical_devices():
    """Splits the CPU in two, for tests of distribution.

    TensorFlow takes this only before it makes its first tensor, so test modules must make none
    when they are imported. Runs that need no TensorFlow do not load it.
    """
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
