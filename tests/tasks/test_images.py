import math
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.augment import Augment
from enas_tf.data.base import DataConfig
from enas_tf.tasks.images import ImageTask, Objective, balanced_weights
from tests import tiny

# Over three classes: probabilities 1/2, 1/4, 1/4 and 1/8, 1/8, 3/4.
LOGITS = [[math.log(2), 0, 0], [0, 0, math.log(6)]]


@pytest.fixture(scope="module")
def task():
    return ImageTask(tiny.data(), DataConfig(pad=0), ImageChildConfig(aux_weight=0.4))


def test_the_loss_is_the_mean_cross_entropy(task):
    loss, metrics = task.loss((tf.constant(LOGITS), None), tf.constant([0, 1]))
    assert float(loss) == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert {n: float(v) for n, v in metrics.items()} == pytest.approx(
        {"loss": 2 * math.log(2), "accuracy": 0.5}
    )


def test_the_auxiliary_heads_share_is_minimised_and_told_apart(task):
    uniform = tf.zeros([2, 3])
    loss, metrics = task.loss((tf.constant(LOGITS), uniform), tf.constant([0, 1]))
    assert float(loss) == pytest.approx(2 * math.log(2) + 0.4 * math.log(3))
    assert float(metrics["loss"]) == pytest.approx(2 * math.log(2))
    assert float(metrics["aux_loss"]) == pytest.approx(math.log(3))


def test_totals_of_batches_make_means(task):
    totals = task.totals((tf.constant(LOGITS), None), tf.constant([0, 2]))
    wanted = {"loss": math.log(2) - math.log(0.75), "correct": 2, "count": 2}
    assert {n: float(v) for n, v in totals.items()} == pytest.approx(wanted)
    metrics = task.metrics({"loss": 6.0, "correct": 3.0, "count": 4.0})
    assert metrics == {"loss": 1.5, "accuracy": 0.75}
    assert task.reward(metrics) == 0.75


def judged(**objective):
    return ImageTask(
        tiny.data(), DataConfig(pad=0), ImageChildConfig(), objective=Objective(**objective)
    )


def test_by_class_totals_tell_what_is_taken_for_what():
    task = judged(by_class=True)
    logits = tf.one_hot([0, 0, 1, 2, 1], 3)
    totals = task.totals((logits, None), tf.constant([0, 0, 0, 2, 2]))
    confusion = totals["confusion"].numpy()
    assert confusion.tolist() == [[2, 1, 0], [0, 0, 0], [0, 1, 1]]
    added = {name: 2 * value.numpy() for name, value in totals.items()}
    metrics = task.metrics(added)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    # The second class has no images.
    assert metrics["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert "top5_accuracy" not in metrics
    names = tiny.data().class_names
    recalls = dict(zip(names, [pytest.approx(2 / 3), None, 0.5], strict=True))
    assert task.details(added) == {
        "class_accuracy": recalls,
        "confusion": [[4, 2, 0], [0, 0, 0], [0, 2, 2]],
    }
    assert task.reward(metrics) == metrics["accuracy"]
    assert judged(reward="balanced_accuracy").reward(metrics) == metrics["balanced_accuracy"]


def test_of_many_classes_the_five_likeliest_count():
    task = judged(by_class=True)
    logits = tf.tile(-tf.range(12.0)[tf.newaxis], [4, 1])
    totals = task.totals((logits, None), tf.constant([0, 4, 5, 11]))
    metrics = task.metrics({name: value.numpy() for name, value in totals.items()})
    assert (metrics["accuracy"], metrics["top5_accuracy"]) == (0.25, 0.5)


@pytest.mark.parametrize(("classes", "has_confusion"), [(100, True), (101, False)])
def test_of_very_many_classes_only_their_accuracies_are_told(classes, has_confusion):
    labels = tf.constant([0, 5, 5, classes - 1])
    logits = tf.one_hot([0, 5, 6, classes - 1], classes)
    task = judged(by_class=True)
    totals = {name: v.numpy() for name, v in task.totals((logits, None), labels).items()}
    assert ("confusion" in totals) is has_confusion
    assert sum(value.size for value in totals.values()) == 4 + 2 * classes + has_confusion * 10_000
    assert task.metrics(totals)["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    task.data = SimpleNamespace(class_names=tuple(map(str, range(classes))))
    details = task.details(totals)
    assert details["class_accuracy"] == {str(n): None for n in range(classes)} | {
        "0": 1.0,
        "5": 0.5,
        str(classes - 1): 1.0,
    }
    assert ("confusion" in details) is has_confusion


def test_balanced_weights_give_all_classes_the_same_share():
    data = tiny.data()
    labels = np.array([0] * 30 + [2] * 15, np.int32)
    train = SimpleNamespace(labels=labels, images=data.splits["train"].images)
    unequal = SimpleNamespace(splits={"train": train}, num_classes=3)
    weights = balanced_weights(unequal)
    assert weights.tolist() == pytest.approx([0.75, 0, 1.5])
    assert weights[labels].mean() == pytest.approx(1)


def test_class_weights_weigh_the_loss(monkeypatch):
    monkeypatch.setattr("enas_tf.tasks.images.balanced_weights", lambda data: np.float32([3, 1, 2]))
    task = judged(class_weights="balanced")
    loss, _ = task.loss((tf.constant(LOGITS), None), tf.constant([0, 1]))
    assert float(loss) == pytest.approx((3 * math.log(2) + math.log(8)) / 2)


def test_label_smoothing_gives_all_classes_a_share():
    loss, metrics = judged(label_smoothing=0.3).loss(
        (tf.constant(LOGITS[:1]), None), tf.constant([0])
    )
    assert float(loss) == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4))
    assert float(metrics["accuracy"]) == 1


def test_mixup_mixes_images_and_labels_alike():
    task, plain = judged(mixup=0.4), judged()
    options = {"seed": 5, "steps": range(3), "shard": (0, 1)}
    mixed, unmixed = (list(one.train_batches(6, **options)) for one in (task, plain))
    found = []
    for (images, shares), (own, labels) in zip(mixed, unmixed, strict=True):
        assert shares.shape == (6, 3) and shares.dtype == tf.float32
        np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), 1, rtol=1e-6)
        of_own = tf.gather(shares, labels, batch_dims=1).numpy()
        different = np.flatnonzero(of_own < 0.999)
        share = of_own[different[0]]
        found.append(share)
        # One share for the whole batch, and the same of images as of labels.
        np.testing.assert_allclose(of_own[different], share, rtol=1e-5)
        others = (images - share * own) / (1 - share)
        known = plain.data.splits["train"].images
        pixels = np.round((others * task.data.std + task.data.mean) * 255).astype(int)
        for image, flipped in zip(pixels, pixels[:, :, ::-1], strict=True):
            assert (known == image).all((1, 2, 3)).any() or (known == flipped).all((1, 2, 3)).any()
    assert len(set(found)) == 3
    # Two halves are the whole, as for replicas.
    halves = [list(task.train_batches(6, **options | {"shard": (n, 2)})) for n in (0, 1)]
    for whole, first, second in zip(mixed, *halves, strict=True):
        for one, *parts in zip(whole, first, second, strict=True):
            np.testing.assert_allclose(one, np.concatenate(parts), atol=1e-5)
    logits = tf.constant([[math.log(2), 0, 0]])
    loss, metrics = task.loss((logits, None), tf.constant([[0.75, 0.25, 0]]))
    assert float(loss) == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))
    assert float(metrics["accuracy"]) == 1


@pytest.mark.parametrize(("at_most", "steps"), [(0, 11), (3, 3), (20, 11)])
def test_steps_per_epoch(task, at_most, steps):
    # 45 images in batches of four.
    assert task.steps_per_epoch(4, at_most) == steps


def test_batches_of_steps_continue_each_other():
    task = ImageTask(tiny.data(), DataConfig(pad=0), ImageChildConfig(), cutout=2)
    options = {"seed": 5, "shard": (0, 1)}
    whole = list(task.train_batches(4, steps=range(13), **options))
    rest = list(task.train_batches(4, steps=range(9, 13), **options))
    for (images, labels), (more, more_labels) in zip(whole[9:], rest, strict=True):
        np.testing.assert_array_equal(images, more)
        np.testing.assert_array_equal(labels, more_labels)
    # A square of two by two pixels, cut off at the border at most, is the mean: zero.
    zeros = (whole[0][0].numpy() == 0).sum(axis=(1, 2, 3))
    assert zeros.min() >= 1 and zeros.max() <= 4


def test_reward_batches_are_of_the_validation_split_unchanged(task):
    valid = task.data.splits["valid"]
    mean, std = float(task.data.mean[0]), float(task.data.std[0])
    known = {image.tobytes() for image in valid.images}
    for images, _ in task.reward_batches(4, seed=0, steps=range(6)):
        restored = np.round((images.numpy() * std + mean) * 255).astype(np.uint8)
        assert all(image.tobytes() in known for image in restored)


def test_evaluation_sees_the_whole_split_once(task):
    sizes = [len(labels) for _, labels in task.eval_batches("test", 7, (0, 1))]
    assert sizes == [7, 7, 4]


def test_the_data_sets_flip_and_the_configs_pad_are_used(monkeypatch):
    asked = {}
    data = SimpleNamespace(flip=True, train_batches=lambda *args, **kw: asked.update(kw))
    task = ImageTask(data, DataConfig(pad=3), ImageChildConfig(), cutout=6)
    task.train_batches(4, seed=0, steps=range(2, 5), shard=(1, 2))
    assert asked["augment"] == Augment(pad=3, flip=True, cutout=6)
    assert (asked["first_step"], asked["num_steps"], asked["shard"]) == (2, 3, (1, 2))
