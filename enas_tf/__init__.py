"""Efficient Neural Architecture Search via Parameter Sharing, on TensorFlow 2 and Keras 3."""

__version__ = "0.1.0"
