"""What every part builds on, in plain Python: nothing here imports TensorFlow, Keras or numpy."""
