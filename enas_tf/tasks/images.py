"""The task of image classification: batches, losses, rewards and metrics."""

import keras
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig, ImageData

Outputs = tuple[tf.Tensor, tf.Tensor | None]
"""Logits, and auxiliary logits when training with an auxiliary head."""


class ImageTask:
    """Image classification, as search, derivation and training use it.

    See `enas_tf.tasks.base.Task`.

    Args:
        data: the images.
        data_config: how training images are augmented.
        child_config: config of the child, which has the weight of the auxiliary loss.
        cutout: side in pixels of the square set to zero in training images; 0 for none.
    """

    examples = "images"
    max_rollbacks = 0
    carries_state = False

    def __init__(
        self,
        data: ImageData,
        data_config: DataConfig,
        child_config: ImageChildConfig,
        cutout: int = 0,
    ) -> None:
        self.data = data
        self._pad = data_config.pad
        self._cutout = cutout
        self._aux_weight = child_config.aux_weight

    def train_batches(
        self, batch_size: int, *, seed: int, steps: range, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """Returns augmented batches of images and labels from the training split."""
        return self.data.train_batches(
            "train",
            batch_size,
            seed=seed,
            num_steps=len(steps),
            first_step=steps.start,
            augment=Augment(self._pad, self.data.flip, self._cutout),
            shard=shard,
        )

    def reward_batches(self, batch_size: int, *, seed: int, steps: range) -> tf.data.Dataset:
        """Returns shuffled batches of the validation split, not augmented, for the given steps."""
        return self.data.reward_batches(
            batch_size, seed=seed, num_steps=len(steps), first_step=steps.start
        )

    def eval_batches(self, split: str, batch_size: int, shard: tuple[int, int]) -> tf.data.Dataset:
        """Returns batches of the whole split once, in order; the last batch may be smaller."""
        return self.data.eval_batches(split, batch_size, shard)

    def steps_per_epoch(self, batch_size: int, at_most: int = 0) -> int:
        """Returns the number of full batches of the training split; at most `at_most` if not 0."""
        steps = self.data.steps_per_epoch("train", batch_size)
        return min(steps, at_most) if at_most else steps

    @staticmethod
    def num_examples(batch_size: int) -> int:
        """Returns the number of images per step, which is the batch size."""
        return batch_size

    @staticmethod
    def lr_scale(inputs: tf.Tensor) -> float:
        """Returns 1: the learning rate is the same for all steps of an epoch."""
        return 1.0

    @staticmethod
    def padded(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the batch unchanged, since all batches have the same size."""
        return images, labels

    def loss(self, outputs: Outputs, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns what training minimises, without weight decay, and the metrics it reports.

        Args:
            outputs: logits and auxiliary logits, `(batch, classes)` each, float32.
            labels: `(batch,)`, int32.

        Returns:
            The mean cross-entropy in nats, including the auxiliary head's share; and the metrics
            `loss` (without that share), `aux_loss` if there is one, and `accuracy`.
        """
        logits, aux_logits = outputs
        loss = tf.reduce_mean(_cross_entropy(logits, labels))
        metrics = {"loss": loss, "accuracy": tf.reduce_mean(_correct(logits, labels))}
        if aux_logits is None:
            return loss, metrics
        aux_loss = tf.reduce_mean(_cross_entropy(aux_logits, labels))
        return loss + self._aux_weight * aux_loss, metrics | {"aux_loss": aux_loss}

    def totals(self, outputs: Outputs, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes totals over a batch: `loss`, `correct` and `count`, for `metrics`."""
        logits, _ = outputs
        return {
            "loss": tf.reduce_sum(_cross_entropy(logits, labels)),
            "correct": tf.reduce_sum(_correct(logits, labels)),
            "count": tf.cast(tf.size(labels), tf.float32),
        }

    @staticmethod
    def metrics(totals: dict[str, float]) -> dict[str, float]:
        """Computes `loss`, the mean cross-entropy in nats, and `accuracy` from added `totals`."""
        return {
            "loss": totals["loss"] / totals["count"],
            "accuracy": totals["correct"] / totals["count"],
        }

    @staticmethod
    def reward(metrics: dict[str, float]) -> float:
        """Returns an architecture's reward: its accuracy."""
        return metrics["accuracy"]


class NetworkForward:
    """Runs a final network; outside training, without its auxiliary head.

    Args:
        network: maps images to logits and, if it has a head, auxiliary logits.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._main = keras.Model(network.inputs, network.outputs[0])

    def __call__(self, images: tf.Tensor, training: bool) -> Outputs:
        """Returns the outputs in the form that `ImageTask` takes."""
        if not training or len(self._network.outputs) == 1:
            return self._main(images, training=training), None
        logits, aux_logits = self._network(images, training=True)
        return logits, aux_logits


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(tf.equal(predicted, labels), tf.float32)
