"""Exports: a trained network as TensorFlow Serving and Keras take it."""
