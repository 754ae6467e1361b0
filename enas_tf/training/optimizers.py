"""SGD with Nesterov momentum."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("enas_tf")
class NesterovSGD(keras.optimizers.Optimizer):
    """SGD whose momentum gathers gradients, not steps.

    `m = momentum * m + g`, then `w -= learning_rate * (g + momentum * m)`, as in TensorFlow 1 and
    in the authors' code. Keras' SGD gathers `learning_rate * g` instead, which is something else
    as soon as the learning rate changes.

    Args:
        learning_rate: a number; assign another at any time.
        momentum: in [0, 1); 0 is plain SGD.
        name: of the optimizer.
    """

    def __init__(
        self,
        learning_rate: float,
        momentum: float = 0.0,
        name: str = "nesterov_sgd",
        **kwargs,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum

    def build(self, variables: list) -> None:
        """Makes a momentum for each variable, where there is any momentum."""
        if self.built:
            return
        super().build(variables)
        # One constant in the graph, not one for each variable.
        self._factor = tf.constant(self.momentum)
        self._momentums = [
            self.add_variable_from_reference(variable, name="momentum")
            for variable in (variables if self.momentum else ())
        ]

    def apply(self, grads: list[tf.Tensor], trainable_variables: list) -> None:
        """Takes a step, on each replica of a strategy for itself.

        Keras' own sums gradients over replicas first, and reads the learning rate once for every
        variable: a third of the nodes that many variables make.

        Args:
            grads: the same on all replicas.
            trainable_variables: in the same order.
        """
        self.build(trainable_variables)
        learning_rate = tf.convert_to_tensor(self.learning_rate)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)
        self.iterations.assign_add(1)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable and its momentum, by one kernel: many variables make many ops."""
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=learning_rate, delta=gradient
            )
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=momentum.value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=self._factor,
            use_nesterov=True,
        )

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return super().get_config() | {"momentum": self.momentum}
