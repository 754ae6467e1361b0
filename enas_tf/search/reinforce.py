"""REINFORCE with a moving-average baseline: how rewards train a controller.

Reference: Williams, "Simple statistical gradient-following algorithms", 1992; Pham et al. 2018,
section 2.2; `build_trainer` of the authors' controllers.
"""

import keras
import tensorflow as tf

from enas_tf.search.controller import Controller
from enas_tf.training.checkpoints import named_slots, named_weights


class Reinforce:
    """Trains a controller; holds its optimizer and its baseline.

    Args:
        controller: whose weights are trained.
    """

    def __init__(self, controller: Controller) -> None:
        config = controller.config
        self.controller = controller
        self.optimizer = keras.optimizers.Adam(
            config.learning_rate, beta_1=config.beta_1, epsilon=config.epsilon
        )
        self.optimizer.build(controller.trainable_variables)
        self.baseline = tf.Variable(0.0, trainable=False, name="baseline")
        self._updates = self.optimizer.iterations

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All that an exact resume needs, by name: of controller, Adam and baseline."""
        weights = named_weights("controller", self.controller.variables)
        slots = named_slots("controller_optimizer", self.optimizer, weights)
        named = {name: variable.value for name, variable in {**weights, **slots}.items()}
        return named | {"baseline": self.baseline}

    @tf.function(autograph=False)
    def learn(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one step of Adam on rewarded architectures.

        The loss is the mean over the architectures of `-log_prob * (reward - baseline) + penalty`,
        where the reward includes the entropy's share, the baseline has taken in this reward
        already, and the penalty is the controller's own.

        Args:
            tokens: `(n, num_tokens)`, int32, drawn from the controller as it is now.
            rewards: `(n,)`, float32, in the order in which the baseline takes them in.

        Returns:
            Means over the architectures: `reward` (without the entropy's share), `baseline`,
            `advantage`, `entropy`, `log_prob`, `loss`, and the numbers that the controller adds;
            and `grad_norm`.
        """
        with tf.GradientTape() as tape:
            draws = self.controller.score(tokens)
            whole_rewards = rewards + self.controller.config.entropy_weight * draws.entropy
            with tape.stop_recording():
                baselines = self._advance_baseline(whole_rewards)
            advantages = tf.stop_gradient(whole_rewards - baselines)
            loss = tf.reduce_mean(draws.penalty - draws.log_prob * advantages)
        return {name: tf.reduce_mean(values) for name, values in draws.numbers.items()} | {
            "loss": loss,
            "reward": tf.reduce_mean(rewards),
            "baseline": baselines[-1],
            "advantage": tf.reduce_mean(advantages),
            "entropy": tf.reduce_mean(draws.entropy),
            "log_prob": tf.reduce_mean(draws.log_prob),
            "grad_norm": self._descend(tape, loss),
        }

    def _descend(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """Applies the gradient of the loss; returns its norm."""
        if self.controller.config.kind == "random":
            self._updates.assign_add(1)
            return tf.zeros([])
        variables = self.controller.trainable_variables
        gradients = tape.gradient(
            loss,
            [variable.value for variable in variables],
            # A single layer has no skip connections, and so no use for the attention's weights.
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # As the authors report it: of an embedding's slices, even where several are of one row.
        norm = tf.linalg.global_norm(gradients)
        # Keras' Adam would square these slices one by one, not their sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, variables)
        return norm

    def _advance_baseline(self, rewards: tf.Tensor) -> tf.Tensor:
        """Takes in the rewards one after the other; returns the baseline after each, `(n,)`."""
        decay = self.controller.config.baseline_decay
        start = self.baseline.read_value()
        if self.controller.config.baseline_init == "first":
            start = tf.where(tf.equal(self._updates, 0), rewards[0], start)
        baselines = []
        for reward in tf.unstack(rewards):
            start = start - (1 - decay) * (start - reward)
            baselines.append(start)
        self.baseline.assign(start)
        return tf.stack(baselines)
