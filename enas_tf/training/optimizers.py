"""SGD with Nesterov momentum."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("enas_tf")
class NesterovSGD(keras.optimizers.Optimizer):
    """SGD with a Nesterov momentum that accumulates gradients, not steps.

    `m = momentum * m + g`, then `w -= learning_rate * (g + momentum * m)`, as in TensorFlow 1 and
    in the authors' code. Keras' SGD accumulates `learning_rate * g` instead, which differs as soon
    as the learning rate changes.

    Args:
        learning_rate: the learning rate, a number; another one may be assigned at any time.
        momentum: the momentum, in [0, 1); 0 is plain SGD.
        name: name of the optimizer.
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
        """Creates a momentum variable for each variable, unless the momentum is 0."""
        if self.built:
            return
        super().build(variables)
        # A tensor, so that the graph has one constant and not one for each variable.
        self._factor = tf.constant(self.momentum)
        self._momentums = [
            self.add_variable_from_reference(variable, name="momentum")
            for variable in (variables if self.momentum else ())
        ]

    def apply(self, grads: list[tf.Tensor], trainable_variables: list) -> None:
        """Takes a step, on each replica of a strategy by itself.

        Keras' method sums gradients over replicas first and reads the learning rate once for every
        variable; with many variables this makes a third of the optimizer's nodes in the graph.

        Args:
            grads: gradients, the same on all replicas.
            trainable_variables: variables in the same order.
        """
        self.build(trainable_variables)
        learning_rate = tf.convert_to_tensor(self.learning_rate)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)
        self.iterations.assign_add(1)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates a variable and its momentum."""
        # By one kernel instead of eight ops, which would add up over many variables.
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
        """Returns the constructor's arguments."""
        return super().get_config() | {"momentum": self.momentum}
