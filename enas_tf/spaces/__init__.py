"""The three search spaces, in plain Python: nothing here imports TensorFlow, Keras or numpy."""
