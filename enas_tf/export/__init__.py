"""Exports trained networks in the formats of TensorFlow Serving and Keras."""
