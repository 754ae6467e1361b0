"""The task of image classification: batches, losses, rewards and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig, ImageData

Outputs = tuple[tf.Tensor, tf.Tensor | None]
"""Logits, and auxiliary logits when training with an auxiliary head."""


RewardMetric = Literal["accuracy", "balanced_accuracy"]
ClassWeights = Literal["none", "balanced"]

# In up to so many classes, the right one is among five too often to be worth telling.
_FEW_CLASSES = 10

# With more, every batch's matrix would take too much memory, and nobody could read it.
_MOST_CONFUSED = 100


@dataclass(frozen=True)
class Objective:
    """What a network of images is trained for, and judged by.

    Attributes:
        reward: the metric that is an architecture's reward; `balanced_accuracy` is the mean of the
            classes' own accuracies.
        by_class: whether evaluations count which classes are taken for which.
        class_weights: of each image's loss: none, or balanced, so that all classes weigh the same.
        label_smoothing: the share of each label that all classes get; Szegedy et al. 2016.
        mixup: of the beta distribution that images are mixed by, its parameter; 0 mixes none.
            Zhang et al. 2018.
    """

    reward: RewardMetric = "accuracy"
    by_class: bool = False
    class_weights: ClassWeights = "none"
    label_smoothing: float = 0.0
    mixup: float = 0.0


_PLAIN = Objective()


class ImageTask:
    """Image classification, as search, derivation and training use it.

    See `enas_tf.tasks.base.Task`.

    Args:
        data: the images.
        data_config: how training images are augmented.
        child_config: config of the child, which has the weight of the auxiliary loss.
        cutout: side in pixels of the square set to zero in training images; 0 for none.
        objective: what is minimised and rewarded.
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
        objective: Objective = _PLAIN,
    ) -> None:
        self.data = data
        self._objective = objective
        self._weights = None
        if objective.class_weights == "balanced":
            self._weights = balanced_weights(data)
        self._pad = data_config.pad
        self._cutout = cutout
        self._aux_weight = child_config.aux_weight

    def train_batches(
        self, batch_size: int, *, seed: int, steps: range, shard: tuple[int, int]
    ) -> tf.data.Dataset:
        """Returns augmented batches of images and labels from the training split.

        Labels are int32 `(batch,)`, or with mixup the classes' shares, float32 `(batch, classes)`.
        """
        return self.data.train_batches(
            "train",
            batch_size,
            seed=seed,
            num_steps=len(steps),
            first_step=steps.start,
            augment=Augment(self._pad, self.data.flip, self._cutout),
            mixup=self._objective.mixup,
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
            labels: as of `train_batches`.

        Returns:
            The mean cross-entropy in nats, including the auxiliary head's share; and the metrics
            `loss` (without that share), `aux_loss` if there is one, and `accuracy`.
        """
        logits, aux_logits = outputs
        loss = self._mean_loss(logits, labels)
        likeliest = tf.argmax(labels, axis=-1) if len(labels.shape) == 2 else labels
        metrics = {"loss": loss, "accuracy": tf.reduce_mean(_correct(logits, likeliest))}
        if aux_logits is None:
            return loss, metrics
        aux_loss = self._mean_loss(aux_logits, labels)
        return loss + self._aux_weight * aux_loss, metrics | {"aux_loss": aux_loss}

    def _mean_loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the mean cross-entropy, with class weights and label smoothing if there are."""
        smoothing = self._objective.label_smoothing
        if len(labels.shape) == 1 and not smoothing and self._weights is None:
            return tf.reduce_mean(_cross_entropy(logits, labels))
        shares = tf.one_hot(labels, logits.shape[-1]) if len(labels.shape) == 1 else labels
        weights = 1.0 if self._weights is None else tf.linalg.matvec(shares, self._weights)
        shares = (1 - smoothing) * shares + smoothing / logits.shape[-1]
        losses = tf.nn.softmax_cross_entropy_with_logits(shares, logits)
        return tf.reduce_mean(weights * losses)

    def totals(self, outputs: Outputs, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes totals over a batch, for `metrics`: `loss`, `correct` and `count`.

        By class also `class_count` and `class_correct`, `(classes,)`; of at most a hundred classes
        `confusion`, `(classes, classes)`, how many images of each class are taken for each; and of
        more than ten classes `top5`, how many are among the five likeliest.
        """
        logits, _ = outputs
        totals = {
            "loss": tf.reduce_sum(_cross_entropy(logits, labels)),
            "correct": tf.reduce_sum(_correct(logits, labels)),
            "count": tf.cast(tf.size(labels), tf.float32),
        }
        if not self._objective.by_class:
            return totals
        classes = logits.shape[-1]
        correct = _correct(logits, labels)
        ones = tf.ones_like(correct)
        totals["class_count"] = tf.math.unsorted_segment_sum(ones, labels, classes)
        totals["class_correct"] = tf.math.unsorted_segment_sum(correct, labels, classes)
        if classes <= _MOST_CONFUSED:
            cells = classes * labels + tf.argmax(logits, axis=-1, output_type=labels.dtype)
            counts = tf.math.unsorted_segment_sum(ones, cells, classes**2)
            totals["confusion"] = tf.reshape(counts, [classes, classes])
        if classes > _FEW_CLASSES:
            top5 = tf.nn.in_top_k(labels, logits, 5)
            totals["top5"] = tf.reduce_sum(tf.cast(top5, tf.float32))
        return totals

    @staticmethod
    def metrics(totals: Mapping[str, float | np.ndarray]) -> dict[str, float]:
        """Computes metrics from added `totals`.

        Returns:
            `loss`, the mean cross-entropy in nats, and `accuracy`; by class `balanced_accuracy`;
            and of more than ten classes `top5_accuracy`.
        """
        count = float(totals["count"])
        metrics = {
            "loss": float(totals["loss"]) / count,
            "accuracy": float(totals["correct"]) / count,
        }
        if "class_count" in totals:
            metrics["balanced_accuracy"] = float(np.nanmean(_recalls(totals)))
        if "top5" in totals:
            metrics["top5_accuracy"] = float(totals["top5"]) / count
        return metrics

    def details(self, totals: Mapping[str, float | np.ndarray]) -> dict:
        """Returns what a whole evaluation tells besides its metrics.

        Returns:
            By class, `class_accuracy`, by the classes' names, None where there are no images; and
            of at most a hundred classes `confusion`, for each a list of how many of its images are
            taken for each.
        """
        if "class_count" not in totals:
            return {}
        recalls = [None if np.isnan(one) else float(one) for one in _recalls(totals)]
        details: dict = {"class_accuracy": dict(zip(self.data.class_names, recalls, strict=True))}
        if "confusion" in totals:
            details["confusion"] = np.asarray(totals["confusion"]).astype(int).tolist()
        return details

    def reward(self, metrics: Mapping[str, float]) -> float:
        """Returns an architecture's reward: its accuracy, plain or balanced."""
        return metrics[self._objective.reward]


def balanced_weights(data: ImageData) -> np.ndarray:
    """Returns a weight for each class, float32, with which all weigh the same in training.

    The mean over the training images is 1. A class without images has the weight 0.
    """
    counts = np.bincount(data.splits["train"].labels, minlength=data.num_classes)
    present = np.count_nonzero(counts)
    return np.where(counts, counts.sum() / (present * np.maximum(counts, 1)), 0).astype(np.float32)


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


def _recalls(totals: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the accuracy of each class; not a number where there are no images."""
    correct, counts = (np.asarray(totals[n], np.float64) for n in ("class_correct", "class_count"))
    return np.divide(correct, counts, np.full(len(counts), np.nan), where=counts > 0)


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    predicted = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    return tf.cast(tf.equal(predicted, labels), tf.float32)
