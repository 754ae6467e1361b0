"""The base of the controllers, in which drawing and scoring architectures are one program."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import keras
import tensorflow as tf

from enas_tf.core.config import option
from enas_tf.core.errors import UserError
from enas_tf.core.space import Space
from enas_tf.layers.graph_function import graph_function


@dataclass(frozen=True)
class ControllerConfig:
    """The controller, and the algorithm that trains it."""

    kind: Literal["lstm", "ppo", "random"] = option(
        "lstm",
        "what proposes architectures: lstm, an LSTM that REINFORCE trains, as in the paper; ppo, "
        "the same LSTM trained by PPO, which takes several bounded steps on each batch of rewarded "
        "architectures; random, uniform draws that never learn, the baseline of equal budget",
    )
    ppo_clip: float = option(
        0.2,
        "for kind=ppo: a choice whose probability has changed by more than this share since it was "
        "drawn is pushed no further",
    )
    ppo_epochs: int = option(
        4, "for kind=ppo: steps of Adam on the same architectures in an update; 1 is REINFORCE"
    )
    lstm_size: int = option(64, "hidden size of the LSTM")
    temperature: float = option(0.0, "divides logits before the tanh; 0 leaves them")
    tanh_constant: float = option(1.1, "logits become this times their tanh; 0 leaves them")
    op_tanh_reduce: float = option(2.5, "divides the tanh constant of the ops' logits")
    entropy: Literal["source", "true_entropy"] = option(
        "source", "source: as the authors compute it; true_entropy: of each choice's distribution"
    )
    entropy_weight: float = option(1e-4, "weight of the entropy in the reward")
    learning_rate: float = option(0.0035, "Adam's learning rate")
    beta_1: float = option(0.0, "Adam's beta_1")
    epsilon: float = option(1e-3, "Adam's epsilon")
    baseline_decay: float = option(0.99, "decay of the baseline, the moving average of rewards")
    baseline_init: Literal["zero", "first"] = option(
        "zero", "where the baseline starts: at 0, or at the first reward"
    )
    init_range: float = option(0.1, "initial weights are uniform between minus and plus this")

    def __post_init__(self) -> None:
        """Raises UserError for values with which no controller is possible."""
        if self.lstm_size < 1:
            raise UserError(f"controller.lstm_size must be at least 1, got {self.lstm_size}")
        for name in ("baseline_decay", "beta_1"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UserError(f"controller.{name} must be at least 0 and below 1, got {value}")
        for name in ("temperature", "tanh_constant", "learning_rate", "epsilon", "init_range"):
            if getattr(self, name) < 0:
                value = getattr(self, name)
                raise UserError(f"controller.{name} must not be negative, got {value}")
        if self.op_tanh_reduce <= 0:
            raise UserError(f"controller.op_tanh_reduce must be over 0, got {self.op_tanh_reduce}")
        if not 0 < self.ppo_clip < 1:
            raise UserError(f"controller.ppo_clip must be over 0 and below 1, got {self.ppo_clip}")
        if self.ppo_epochs < 1:
            raise UserError(f"controller.ppo_epochs must be at least 1, got {self.ppo_epochs}")


class Draws(NamedTuple):
    """A batch of architectures, with the probabilities that the controller gives them.

    Attributes:
        tokens: `(n, num_tokens)`, int32.
        log_prob: log-probability, the sum over all choices, `(n,)`, float32.
        log_probs: log-probability of each token, given those chosen before it,
            `(n, num_tokens)`, float32.
        entropy: the sum over all choices, `(n,)`, float32; no gradient flows through it.
        penalty: a term of the loss, already weighted, `(n,)`, float32; 0 if a space has none.
        metrics: other metrics to report, by name, each `(n,)`, float32.
    """

    tokens: tf.Tensor
    log_prob: tf.Tensor
    log_probs: tf.Tensor
    entropy: tf.Tensor
    penalty: tf.Tensor
    metrics: dict[str, tf.Tensor]


NEVER = -1e9
"""The logit of an impossible option.

Minus infinity would make `p log p` zero times infinity, which is not a number.
"""


class Pick:
    """Makes the choices of a batch of architectures: draws them, or replays given ones.

    Args:
        num_tokens: number of tokens of an architecture.
        batch: number of architectures.
        tokens: tokens to replay, `(batch, num_tokens)`, or None to draw.
        seed: seed of the draws, `(2,)`, int32 or int64.
        true_entropy: whether the entropy of a choice is that of its distribution; otherwise it is
            `-p log p` of the chosen value.

    Attributes:
        penalty: as in `Draws`; a sampling procedure may set it.
        metrics: as in `Draws`; a sampling procedure may add to it.
    """

    def __init__(
        self,
        num_tokens: int,
        batch: int | tf.Tensor,
        tokens: tf.Tensor | None,
        seed: tf.Tensor,
        true_entropy: bool,
    ) -> None:
        self.batch = batch
        self._replayed = None if tokens is None else tf.unstack(tokens, num_tokens, axis=1)
        self._seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), num_tokens))
        self._true_entropy = true_entropy
        # In the order of the choices.
        self._slots: list[int] = []
        self._values: list[tf.Tensor] = []
        self._logits: list[tf.Tensor] = []
        self.penalty = tf.zeros([batch])
        self.metrics: dict[str, tf.Tensor] = {}

    def __call__(self, slot: int, logits: tf.Tensor) -> tf.Tensor:
        """Makes a choice.

        Args:
            slot: place of the token to choose.
            logits: `(batch, options)`, float32.

        Returns:
            The chosen values, `(batch,)`, int32.
        """
        values = self._values_of([slot], logits)
        self._note([slot], values, tf.expand_dims(logits, 1))
        return tf.squeeze(values, 1)

    def several(self, first_slot: int, logits: tf.Tensor) -> tf.Tensor:
        """Makes choices that do not depend on each other and have equally many options.

        Args:
            first_slot: place of the first token to choose; the others follow it.
            logits: `(batch, choices, options)`, float32.

        Returns:
            The chosen values, `(batch, choices)`, int32.
        """
        _, choices, options = logits.shape
        slots = range(first_slot, first_slot + choices)
        values = self._values_of(slots, tf.reshape(logits, [-1, options]))
        values = tf.reshape(values, [-1, choices])
        self._note(slots, values, logits)
        return values

    def _values_of(self, slots: Sequence[int], logits: tf.Tensor) -> tf.Tensor:
        """Returns values that are drawn by logits, `(batch * slots, options)`, or replayed; int32.

        Drawn values are of shape `(batch * slots, 1)`, replayed ones `(batch, slots)`.
        """
        if self._replayed is None:
            # Stateless, so that the same seed draws the same architectures; each choice has a seed
            # of its own.
            seed = self._seeds[slots[0]]
            return tf.random.stateless_categorical(logits, 1, seed, dtype=tf.int32)
        return tf.stack([self._replayed[slot] for slot in slots], axis=1)

    def _note(self, slots: Sequence[int], values: tf.Tensor, logits: tf.Tensor) -> None:
        self._slots += slots
        self._values.append(values)
        self._logits.append(logits)

    def draws(self) -> Draws:
        """Returns all choices together; every slot must have been decided."""
        values = tf.concat(self._values, axis=1)
        # Slots with fewer options are padded with options of probability 0, so that one softmax
        # serves them all.
        most = max(logits.shape[-1] for logits in self._logits)
        padded = [
            tf.pad(logits, [[0, 0], [0, 0], [0, most - logits.shape[-1]]], constant_values=NEVER)
            for logits in self._logits
        ]
        log_probs = tf.nn.log_softmax(tf.concat(padded, axis=1))
        log_prob = tf.gather(log_probs, values, batch_dims=2)
        if self._true_entropy:
            entropy = -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1)
        else:
            entropy = -log_prob * tf.exp(log_prob)
        order = sorted(range(len(self._slots)), key=self._slots.__getitem__)
        return Draws(
            tf.gather(values, order, axis=1),
            tf.reduce_sum(log_prob, axis=1),
            tf.gather(log_prob, order, axis=1),
            tf.stop_gradient(tf.reduce_sum(entropy, axis=1)),
            self.penalty,
            self.metrics,
        )


class Controller(keras.layers.Layer):
    """Draws architectures and scores given ones.

    A subclass creates its weights in `build` and defines the sampling procedure in `decide`.

    Args:
        space: the space of its architectures.
        config: settings of the controller.
    """

    true_entropy = False
    """Whether the authors' code uses the entropy of distributions in this space."""

    def __init__(self, space: Space, config: ControllerConfig, **kwargs) -> None:
        super().__init__(dtype="float32", **{"name": "controller", **kwargs})
        self.space = space
        self.config = config
        self.num_tokens = len(space.slots)
        initializer = keras.initializers.RandomUniform(-config.init_range, config.init_range)
        self.initializer = initializer.clone
        self.lstm = keras.layers.LSTMCell(
            config.lstm_size,
            kernel_initializer=self.initializer(),
            recurrent_initializer=self.initializer(),
            use_bias=False,
            dtype="float32",
            name="lstm",
        )
        self.lstm.build((None, config.lstm_size))
        self._step = graph_function(lambda x, state: self.lstm(x, state))
        self.build(None)

    @abstractmethod
    def decide(self, pick: Pick) -> None:
        """Makes every choice of an architecture with `pick`, in the order of the procedure."""

    def sample(self, n: int | tf.Tensor, seed: tf.Tensor) -> Draws:
        """Draws `n` architectures; the same seed, `(2,)`, draws the same ones."""
        return self._run(n, None, seed)

    def score(self, tokens: tf.Tensor) -> Draws:
        """Computes log-probability and entropy of given architectures, `(n, num_tokens)`, int32."""
        # Nothing is drawn, so the seed does not matter.
        return self._run(tf.shape(tokens)[0], tokens, tf.zeros([2], tf.int32))

    def _run(self, batch: int | tf.Tensor, tokens: tf.Tensor | None, seed: tf.Tensor) -> Draws:
        true_entropy = self.true_entropy or self.config.entropy == "true_entropy"
        pick = Pick(self.num_tokens, batch, tokens, seed, true_entropy)
        self.decide(pick)
        return pick.draws()

    def step(self, x: tf.Tensor, state: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Takes a step of the LSTM; returns its output, `(batch, lstm_size)`, and its new state."""
        return self._step(x, state)

    def add_weights(self, **shapes: tuple[int, ...]) -> None:
        """Creates a weight of each shape, within the initial range, and sets it as an attribute."""
        for name, shape in shapes.items():
            weight = self.add_weight(shape=shape, initializer=self.initializer(), name=name)
            setattr(self, name, weight)

    def add_attention(self) -> None:
        """Creates `key_kernel` and the other weights of `attend`."""
        size = self.config.lstm_size
        self.add_weights(key_kernel=(size, size), query_kernel=(size, size), attention=(size, 1))

    def attend(self, output: tf.Tensor, keys: list[tf.Tensor]) -> tf.Tensor:
        """Computes the logits of earlier decisions by attention, `(batch, keys)`.

        Args:
            output: output of the LSTM, `(batch, lstm_size)`.
            keys: earlier outputs times `key_kernel`, each `(batch, lstm_size)`.
        """
        query = tf.matmul(output, self.query_kernel)[:, tf.newaxis]
        energies = tf.tanh(tf.stack(keys, axis=1) + query)
        return tf.squeeze(tf.matmul(energies, self.attention), axis=-1)

    def squash(self, logits: tf.Tensor, reduce: float = 1.0) -> tf.Tensor:
        """Divides logits by the temperature and bounds them by the tanh constant over `reduce`."""
        config = self.config
        if config.temperature:
            logits /= config.temperature
        if config.tanh_constant:
            logits = config.tanh_constant / reduce * tf.tanh(logits)
        return logits
