"""Foundations of all parts, in plain Python: nothing here imports TensorFlow, Keras or numpy."""
