"""The base of REINFORCE and PPO: a controller trained by Adam, and a moving-average baseline."""

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

    A subclass defines, in `_learn`, a loss and how often Adam follows its gradient.

    Args:
        controller: the controller to train.
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
        """Makes a controller and the algorithm that trains it."""
        return cls(controller(space, config))

    @property
    def variables(self) -> Mapping[str, tf.Variable]:
        """The variables that an exact resume needs, by name: of controller, Adam and baseline."""
        weights = named_weights("controller", self.controller.variables)
        slots = named_slots("controller_optimizer", self.optimizer, weights)
        named = {name: variable.value for name, variable in {**weights, **slots}.items()}
        return named | {"baseline": self.baseline.value}

    def propose(self, n: int, seed: Sequence[int]) -> Draws:
        """Draws `n` architectures from the current controller."""
        # On the host, as `Algorithm` explains; `n` is a tensor, so that one trace serves any `n`.
        with tf.device("CPU:0"):
            return self._sample(tf.constant(n), tf.constant(seed))

    def feedback(self, tokens: tf.Tensor, rewards: Sequence[float]) -> dict[str, tf.Tensor]:
        """Updates the controller; see `Algorithm.feedback`.

        The weighted entropy is added to each reward, and the controller's penalty to the loss.

        Args:
            tokens: tokens drawn from the current controller.
            rewards: the rewards of these architectures.

        Returns:
            Means over the architectures; `reward` does not include the entropy.
        """
        with tf.device("CPU:0"):
            return self._learn(tf.constant(tokens), tf.constant(rewards, tf.float32))

    def log_prob(self, tokens: tf.Tensor) -> tf.Tensor:
        """Computes the controller's log-probabilities of architectures, `(n,)`."""
        with tf.device("CPU:0"):
            return self.controller.score(tokens).log_prob

    @abstractmethod
    def _learn(self, tokens: tf.Tensor, rewards: tf.Tensor) -> dict[str, tf.Tensor]:
        """Updates the controller from tokens, `(n, num_tokens)`, and rewards, `(n,)`, float32."""

    def _advance_baseline(
        self, draws: Draws, rewards: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Does what `Baseline.advantages` does, once per update, before its first step of Adam."""
        return self.baseline.advantages(draws, rewards, tf.equal(self.optimizer.iterations, 0))

    def _descend(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """Applies the gradient of the loss and returns its norm."""
        variables = self.controller.trainable_variables
        gradients = tape.gradient(
            loss,
            [variable.value for variable in variables],
            # In a network of one layer, without skips, attention's weights are not used.
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # As the authors report it: an embedding's slices count one by one, even if several belong
        # to the same row.
        norm = tf.linalg.global_norm(gradients)
        # Made dense, since Keras' Adam would square slices of the same row one by one, not their
        # sum.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, variables)
        return norm
