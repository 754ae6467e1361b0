"""Functions that the graph holds once, however often they are called."""

import tensorflow as tf

# Traced once per shape and called wherever it is needed: the graph stays small. An output that
# nothing is computed from costs: its gradient is a constant, and TensorFlow then optimises the
# gradient function for each call afresh.
graph_function = tf.function(
    autograph=False, experimental_attributes={"_noinline": True}, reduce_retracing=False
)
