"""A step of SGD on a child's weights, and the child's evaluation, for search and training."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig, RnnChildConfig
from enas_tf.layers.form import Form, traced_for
from enas_tf.tasks.base import Task
from enas_tf.training.checkpoints import named_slots, named_weights
from enas_tf.training.distribution import DistributedBatches, is_mirrored, on_gpu
from enas_tf.training.optimizers import NesterovSGD

Batches = tf.data.Dataset | DistributedBatches

Forward = Callable[..., Any]
"""A function `forward(inputs, *extra, training=...)`; returns a child's outputs for its task."""


class ChildTrainer:
    """Trains a child's weights on all replicas of a strategy.

    Create it within the strategy's scope, after the child.

    Args:
        child: the network whose weights are trained.
        forward: runs the child.
        task: defines loss and metrics.
        config: learning rate, momentum, weight decay and clipping.
        jit_compile: whether XLA compiles what each replica computes.
    """

    def __init__(
        self,
        child: keras.Model,
        forward: Forward,
        task: Task,
        config: ImageChildConfig | RnnChildConfig,
        jit_compile: bool = False,
    ) -> None:
        self.child = child
        self._forward = forward
        self._task = task
        self.config = config
        self.strategy = tf.distribute.get_strategy()
        self.trained = config.trained(child)
        self._carried = {str(n): v for n, v in enumerate(child.non_trainable_variables)}
        self.optimizer = NesterovSGD(config.learning_rate_at(0), config.momentum)
        self.optimizer.build(self.trained)
        if keras.mixed_precision.dtype_policy().name == "mixed_float16":
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self.trained)
        self.train_step = tf.function(self._train_step, autograph=False)
        self.eval_step = tf.function(self._eval_step, autograph=False)
        self._form = Form.GPU if on_gpu(self.strategy) else Form.CPU
        if jit_compile:
            self._form = Form.XLA
            compiled = partial(tf.function, autograph=False, jit_compile=True)
            self._backward = compiled(self._backward)
            if not is_mirrored(self.strategy):
                # On a mirrored strategy all replicas update Keras' count of steps together, which
                # cannot be part of one replica's program.
                self._descend = compiled(self._descend)
            if not task.carries_state:
                self._totals = compiled(self._totals)

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name."""
        weights = named_weights("child", self.child.variables)
        slots = named_slots("optimizer", self.optimizer, weights)
        return {name: variable.value for name, variable in {**weights, **slots}.items()}

    def _train_step(self, batch: tuple, *extra: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes a step; returns the task's metrics and `grad_norm`, as means over replicas.

        Args:
            batch: inputs and targets of every replica.
            *extra: further arguments of the child, such as tokens: either the same for all
                replicas or one for each.
        """
        metrics = self.strategy.run(self._step, args=(*batch, *extra))
        return self._reduce("mean", metrics)

    def _eval_step(self, batch: tuple, *extra: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes the task's totals over a batch, summed over all replicas."""
        totals = self._reduce("sum", self.strategy.run(self.totals, args=(*batch, *extra)))
        return {name: total[0] for name, total in totals.items()}

    def trace(self, batches: Batches, *extra: tf.Tensor) -> None:
        """Traces the training step for all shapes that the batches of a data set may have.

        A graph for the shape of the first batch alone rounds differently from one for all shapes,
        so that results would depend on the batch that a resumed run begins with.

        Args:
            batches: a data set, on one device or distributed.
            *extra: as for `train_step`; only shapes and dtypes matter.
        """
        self.train_step.get_concrete_function(batches.element_spec, *extra)

    def evaluate(self, batches: Batches, *extra: tf.Tensor) -> dict[str, float]:
        """Computes the task's metrics over the batches of a data set.

        Args:
            batches: a data set, on one device or distributed.
            *extra: further arguments of the child, the same for all batches.
        """
        return self._task.metrics(self.added_totals(batches, *extra))

    def added_totals(self, batches: Batches, *extra: tf.Tensor) -> dict[str, np.ndarray]:
        """Computes the task's totals over the batches of a data set; as for `evaluate`."""
        self.trace_evaluation(batches, *extra)
        return self.totals_of_part(batches, *extra)

    def trace_evaluation(self, batches: Batches, *extra: tf.Tensor) -> None:
        """Traces the evaluation for all shapes that batches may have, as `trace` does."""
        self.eval_step.get_concrete_function(batches.element_spec, *extra)

    def totals_of_part(self, batches: Iterable, *extra: tf.Tensor) -> dict[str, np.ndarray]:
        """Computes the task's totals over some batches of a data set, once it is traced."""
        totals = [self.eval_step(batch, *extra) for batch in batches]
        # Converted only now, so that devices need not wait for the host between two batches.
        return {n: np.sum([one[n].numpy() for one in totals], 0, np.float64) for n in totals[0]}

    def totals(self, inputs: tf.Tensor, targets: tf.Tensor, *extra: tf.Tensor) -> dict:
        """Computes the task's totals over a replica's batch, each `(1,)`."""
        # Not the compiled function itself: `strategy.run` would compile one program for all
        # replicas, which cannot reach variables of several devices.
        return self._totals(inputs, targets, *extra)

    def _totals(self, inputs: tf.Tensor, targets: tf.Tensor, *extra: tf.Tensor) -> dict:
        with traced_for(self._form):
            totals = self._task.totals(self._forward(inputs, *extra, training=False), targets)
        return {name: value[tf.newaxis] for name, value in totals.items()}

    def _step(self, inputs: tf.Tensor, targets: tf.Tensor, *extra: tf.Tensor) -> dict:
        """Takes a replica's part of a step."""
        gradients, metrics, updates = self.gradients(inputs, targets, *extra)
        grad_norm = self._descend(gradients, self._task.lr_scale(inputs))
        # Outside of what XLA compiles, since replicas may have to communicate here.
        for name, value in updates.items():
            self._carried[name].assign(value)
        return metrics | {"grad_norm": grad_norm}

    def gradients(
        self, inputs: tf.Tensor, targets: tf.Tensor, *extra: tf.Tensor
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Computes the gradients of a step, as means over replicas.

        Returns:
            The gradients in the order of `trained`, scaled for mixed precision; this replica's
            metrics of the task; and the new values of what the child carries from step to step,
            such as moving averages, which are assigned outside of what XLA compiles.
        """
        if self._form is Form.XLA:
            inputs, targets = self._task.padded(inputs, targets)
        gradients, metrics, updates = self._backward(inputs, targets, *extra)
        if self.strategy.num_replicas_in_sync > 1:
            context = tf.distribute.get_replica_context()
            # Averaged before clipping, which must use the norm of the mean over all replicas.
            gradients = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        return gradients, metrics, updates

    def _descend(self, gradients: list[tf.Tensor], lr_scale: float | tf.Tensor) -> tf.Tensor:
        """Applies gradients; returns their global norm before any scaling or clipping."""
        norm = tf.linalg.global_norm(gradients) / self.optimizer.scale_loss(1.0)
        factor = lr_scale
        if self.config.grad_clip:
            factor *= tf.minimum(1.0, self.config.grad_clip / norm)
        if tf.is_tensor(factor) or factor != 1:
            gradients = [factor * gradient for gradient in gradients]
        self.optimizer.apply(gradients, self.trained)
        return norm

    def _backward(
        self, inputs: tf.Tensor, targets: tf.Tensor, *extra: tf.Tensor
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Computes this replica's part of `gradients`."""
        weights = [variable.value for variable in self.trained]
        # In the scope Keras collects what the child assigns, since a compiled step may assign
        # nothing but the optimizer's variables.
        with traced_for(self._form), keras.StatelessScope() as scope, tf.GradientTape() as tape:
            outputs = self._forward(inputs, *extra, training=True)
            loss, metrics = self._task.loss(outputs, targets)
            total = self.optimizer.scale_loss(loss)
        with traced_for(self._form):
            # An architecture may leave weights out.
            zero = tf.UnconnectedGradients.ZERO
            gradients = tape.gradient(total, weights, unconnected_gradients=zero)
        if self.config.l2:
            # The gradient of l2 * sum(w**2); as a part of the loss it would take twice the graph.
            decay = tf.convert_to_tensor(self.optimizer.scale_loss(2 * self.config.l2))
            decaying = weights if self.config.decay_idle else map(_used, weights, gradients)
            gradients = [g + decay * w for g, w in zip(gradients, decaying, strict=True)]
        carried = {name: scope.get_current_value(v) for name, v in self._carried.items()}
        return gradients, metrics, {n: value for n, value in carried.items() if value is not None}

    def _reduce(self, how: str, values: dict) -> dict[str, tf.Tensor]:
        op = tf.distribute.ReduceOp[how.upper()]
        return {name: self.strategy.reduce(op, value, axis=None) for name, value in values.items()}


def _used(weights: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Returns weights with zeros in place of those that have no gradient."""
    return tf.where(tf.equal(gradient, 0), tf.zeros_like(weights), weights)
