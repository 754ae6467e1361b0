"""What REINFORCE and PPO share: a controller that Adam trains, and a moving-average baseline."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from enas_tf.core.space import Space
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.baseline import Baseline
from enas_tf.search.controller import Controller, ControllerConfig, Draws
from enas_tf.training.checkpoints import named_slots, named_weights


class PolicyGradient(Algorithm):
    """Trains a controller; holds its optimizer and its baseline.

    A subclass is one loss, and how often Adam follows its gradient in `_learn`.

    Args:
        controller: whose weights are trained.
    """

    learns = True

    def __init__(self, controller: Controller) -> None:
        config = controller.config
        super().__init__(controller.space, config)
        self.controller = controller
        self.optimizer = keras.optimizers.Adam(
            config.learning_rate, beta_1=config.beta_1, epsilon=config.epsilon
        )
        self.optimizer.build(controller.trainable_variables)
        self.baseline = Baseline(config)
        self._sample = tf.function(controller.sample, autograph=False)

    @classmethod
    def make(
        cls, controller: type[Controller], space: Space, config: ControllerConfig
    ) -> "PolicyGradient":
        """Makes the controller, and the algorithm that trains it."""
        return cls(controller(space, config))

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """All that an exact resume needs, by name: of controller, Adam and baseline."""
        weights = named_weights("controller", self.controller.variables)
        slots = named_slots("controller_optimizer", self.optimizer, weights)
        named = {name: variable.value for name, variable in {**weights, **slots}.items()}
        return named | {"baseline": self.baseline.value}

    def propose(self, n: int, seed: Sequence[int]) -> Draws:
        """Draws `n` architectures from the controller as it is now."""
        with tf.device("CPU:0"):
            # The number is a tensor, so that the function is traced once.
            return self._sample(tf.constant(n), tf.constant(seed))

    def feedback(self, tokens: tf.Tensor, rewards: Sequence[float]) -> dict[str, tf.Tensor]:
        """Updates the controller; see `Algorithm.feedback`.

        A reward includes the entropy's share, and the loss the controller's own penalty.

        Args:
            tokens: drawn from the controller as it is now.
            rewards: of these.

        Returns:
            Means over the architectures; `reward` is without the entropy's share.
        """
        with tf.device("CPU:0"):
            return self._learn(tf.constant(tokens), tf.constant(rewards, tf.float32))

    def log_prob(self, tokens: tf.Tensor) -> tf.Tensor:
        """Computes the log-probabilities, `(n,)`, that the controller gives architectures."""
        with tf.device("CPU:0"):
            return self.controller.score(tokens).log_prob

    @abstractmethod
    def _learn(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        """Updates the controller by tokens, `(n, num_tokens)`, and rewards, `(n,)`, float32."""

    def _advance_baseline(
        self, draws: Draws, rewards: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Takes rewards in, once an update and before Adam's first step of it.

        Returns:
            The advantages of the architectures, `(n,)`; and the metrics that do not depend on the
            loss.
        """
        whole_rewards = rewards + self.config.entropy_weight * draws.entropy
        is_first = tf.equal(self.optimizer.iterations, 0)
        baselines = self.baseline.advance(whole_rewards, is_first)
        advantages = tf.stop_gradient(whole_rewards - baselines)
        return advantages, {
            "reward": tf.reduce_mean(rewards),
            "baseline": baselines[-1],
            "advantage": tf.reduce_mean(advantages),
            "entropy": tf.reduce_mean(draws.entropy),
            "log_prob": tf.reduce_mean(draws.log_prob),
        }

    def _descend(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """Applies the gradient of the loss; returns its norm."""
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
