import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.search.evaluator import KeptRewards
from enas_tf.training.run_folder import Run
from tests import tiny

TOKENS = [[0, 0, 1, 0, 0, 0, 1, 0], [1, 2, 0, 3, 1, 4, 0, 2], [0, 4, 0, 4, 1, 1, 1, 3]]


def accuracies(search, tokens, batches):
    """Each architecture's accuracy on a batch of its own, through the child alone."""
    for one, (images, labels) in zip(tokens, batches, strict=True):
        logits, _ = search.weights.trainer.child(images, one)
        yield float(np.mean(np.argmax(logits, axis=-1) == labels.numpy()))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("strategy", [None, tiny.two_devices], ids=["one device", "two devices"])
def test_a_reward_is_the_accuracy_on_one_validation_batch_per_architecture(strategy, jit_compile):
    search = tiny.search(strategy and strategy(), jit_compile=jit_compile)
    tokens = tf.constant([TOKENS[n % 3] for n in range(6)])
    batches = search.weights.task.reward_batches(4, seed=3, steps=range(7, 13))
    wanted = list(accuracies(tiny.search(), tokens, batches))
    assert len(set(wanted)) > 1
    assert search.evaluator.rewards(
        tokens, search.evaluator.shuffled_batches(3, 7, 6)
    ) == pytest.approx(wanted)


@pytest.mark.parametrize("strategy", [None, tiny.two_devices], ids=["one device", "two devices"])
def test_a_reward_may_take_several_batches(strategy):
    config = replace(tiny.SEARCH, reward_batches=3)
    search = tiny.search(strategy and strategy(), config=config)
    assert search.weights.examples_per_reward == 12
    tokens = tf.constant([TOKENS[0]] * 4)
    batches = search.weights.task.reward_batches(4, seed=3, steps=range(6, 18))
    single = list(accuracies(tiny.search(), [tokens[0]] * 12, batches))
    # The same ones on any number of devices.
    wanted = np.reshape(single, (4, 3)).mean(axis=1)
    assert len(set(wanted)) > 1
    found = search.evaluator.rewards(tokens, search.evaluator.shuffled_batches(3, 2, 4))
    assert found == pytest.approx(wanted.tolist())


@pytest.mark.parametrize("strategy", [None, tiny.two_devices], ids=["one device", "two devices"])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("num_batches", "images"), [(0, 24), (2, 8)])
def test_on_the_split_all_are_rewarded_on_the_same_batches(
    strategy, num_batches, images, jit_compile
):
    search = tiny.search(strategy and strategy(), jit_compile=jit_compile)
    batch = next(iter(search.weights.task.eval_batches("valid", images, (0, 1))))
    for one in TOKENS:
        [wanted] = accuracies(tiny.search(), tf.constant([one]), [batch])
        found = search.evaluator.reward_on_split(tf.constant(one), num_batches)
        assert found == pytest.approx(wanted)


@pytest.mark.parametrize("strategy", [None, tiny.two_devices], ids=["one device", "two devices"])
def test_rewards_may_be_those_of_averaged_weights(strategy):
    search = tiny.search(strategy and strategy(), config=replace(tiny.SEARCH, average_decay=0.75))
    trainer, averaged = search.weights.trainer, tiny.search()
    generator = np.random.default_rng(0)
    for weight, mean in zip(trainer.trained, averaged.weights.trainer.trained, strict=True):
        mean.assign(generator.normal(size=mean.shape))
        weight.assign(mean.numpy() - 2)
    search.weights.average.update()
    for weight in trainer.trained:
        weight.assign(weight.numpy() + 4)
    # The second of two updates counts as in a mean, by a half and not by a quarter.
    search.weights.average.update()
    last = [weight.numpy() for weight in trainer.trained]
    batches = list(search.weights.task.reward_batches(4, seed=3, steps=range(6)))
    tokens = tf.constant([TOKENS[n % 3] for n in range(6)])
    wanted = list(accuracies(averaged, tokens, batches))
    assert wanted != list(accuracies(search, tokens, batches)) and len(set(wanted)) > 1
    shuffled = search.evaluator.shuffled_batches(3, 0, 6)
    assert search.evaluator.rewards(tokens, shuffled) == pytest.approx(wanted)
    [batch] = search.weights.task.eval_batches("valid", 24, (0, 1))
    [wanted] = accuracies(averaged, tokens[:1], [batch])
    assert search.evaluator.reward_on_split(tokens[0], 0) == pytest.approx(wanted)
    for weight, value in zip(trainer.trained, last, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


@pytest.mark.parametrize("strategy", [None, tiny.two_devices], ids=["one device", "two devices"])
@pytest.mark.parametrize(
    # The validation split has six batches of four.
    ("num_batches", "places"),
    [(0, [(0, 1, 2), (3, 4, 5)]), (3, [(0, 1), (2,)]), (1, [(0,), ()])],
)
def test_each_snapshot_of_the_weights_rewards_on_its_part_of_the_split(
    strategy, num_batches, places
):
    config = replace(tiny.SEARCH, snapshots=3)
    search, other = tiny.search(strategy and strategy(), config=config), tiny.search()
    trained, generator = search.weights.trainer.trained, np.random.default_rng(1)
    batches = list(search.weights.task.eval_batches("valid", 4, (0, 1)))
    tokens, wanted = tf.constant(TOKENS[0]), []
    # The third has not been taken, as in a search that was not finished.
    for snapshot, mine in zip(search.weights.snapshots[:2], places, strict=True):
        for weight, copy in zip(trained, other.weights.trainer.trained, strict=True):
            copy.assign(generator.normal(size=copy.shape))
            weight.assign(copy.numpy())
        snapshot.update()
        wanted += accuracies(other, [tokens] * len(mine), [batches[place] for place in mine])
    assert search.evaluator.reward_on_split(tokens, num_batches) == pytest.approx(np.mean(wanted))
    # A search rewards with the weights as they are.
    shuffled = list(search.weights.task.reward_batches(4, seed=3, steps=range(2)))
    rewards = search.evaluator.rewards(
        tf.stack([tokens] * 2), search.evaluator.shuffled_batches(3, 0, 2)
    )
    assert rewards == pytest.approx(list(accuracies(other, [tokens] * 2, shuffled)))
    assert num_batches == 1 or len(set(wanted)) > 1


def texts(tokens):
    return {" ".join(map(str, one)): tf.constant(one) for one in tokens}


def test_what_is_known_is_not_rewarded_again(tmp_path, monkeypatch):
    evaluator, run = tiny.search().evaluator, Run(tmp_path)
    asked = []
    monkeypatch.setattr(
        evaluator, "reward_on_split", lambda tokens, n: asked.append((int(tokens[1]), n)) or 0.5
    )
    first, second, third = texts(TOKENS)
    kept = KeptRewards(run, "rewards.jsonl", step=7, num_batches=4)
    kept.add(second, 0.25)
    found = evaluator.rewards_on_split(texts(TOKENS), 4, kept, "derive")
    assert list(found.items()) == [(first, 0.5), (second, 0.25), (third, 0.5)]
    assert asked == [(0, 4), (4, 4)]
    lines = [json.loads(line) for line in run.path("rewards.jsonl").open()]
    assert [(r["step"], r["arc"], r["reward"]) for r in lines] == [
        (7, second, 0.25),
        (7, first, 0.5),
        (7, third, 0.5),
    ]


def test_half_a_line_and_the_rewards_of_other_weights_or_batches_are_left_out(tmp_path):
    run = Run(tmp_path)

    def kept(step, num_batches=0):
        return KeptRewards(run, "rewards.jsonl", step, num_batches)

    kept(7).add("0 1", 0.25)
    kept(9).add("0 2", 0.5)
    kept(9, num_batches=4).add("0 2", 0.75)
    with run.path("rewards.jsonl").open("a") as file:
        file.write('{"step": 9, "num_batches": 0, "arc": "0 3", "rew')
    assert kept(9).rewards == {"0 2": 0.5}
    # What is written next starts a line of its own.
    kept(9).add("0 3", 1.0)
    assert kept(9).rewards == {"0 2": 0.5, "0 3": 1.0}
    assert kept(7).rewards == {"0 1": 0.25}
    assert kept(9, num_batches=4).rewards == {"0 2": 0.75}
