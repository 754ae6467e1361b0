import math
import random
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.experiment.initial_weights import take
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn.network import RnnNetwork, count_cost
from enas_tf.rnn.space import RnnSpace
from enas_tf.rnn.supernet import DrawnWiring, RnnSupernet
from enas_tf.tasks.language import LanguageTask
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import distribute
from tests import tiny

NO_DROPOUT = {
    f"drop_{place}": 0.0 for place in ("word", "embedding", "input", "node", "output", "weight")
}
SMALL = RnnChildConfig(hidden_size=3, init_range=1.0, **NO_DROPOUT)
SPACE = RnnSpace(3)
WORDS, ROWS = 7, 4
STARTS, GOES_ON = (True, False)


def supernet(config=SMALL, space=SPACE):
    keras.utils.set_random_seed(0)
    return RnnSupernet(space, config, WORDS, ROWS, StepRng(10, seed=0))


def words_of(time, rows=ROWS):
    return tf.constant(np.random.default_rng(4).integers(0, WORDS, (rows, time)), tf.int32)


@pytest.mark.parametrize("op", range(4))
def test_each_op_index_runs_the_activation_of_that_name(op):
    net = supernet(replace(SMALL, hidden_size=1), RnnSpace(1))
    net.recurrence.embedding.assign(tf.ones([WORDS, 1]))
    net.recurrence.entry_kernel.assign([[0.3, 0.2], [9.0, 9.0]])
    net.recurrence.banks[0].assign(tf.reshape([[-2.0, o] for o in range(4)], [4, 1, 1, 2]))
    states = net(words_of(1), tf.constant(STARTS), tf.constant([0, op])).states
    s = math.tanh(0.3) / (1 + math.exp(-0.2))
    h = {
        "tanh": math.tanh(-2 * s),
        "relu": 0.0,
        "sigmoid": 1 / (1 + math.exp(2 * s)),
        "identity": -2 * s,
    }[SPACE.ops[op]]
    wanted = s + (h - s) / (1 + math.exp(-op * s))
    np.testing.assert_allclose(states, np.full((ROWS, 1, 1), wanted), rtol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "ends"),
    # Node 1 feeds node 2; nodes 1 and 2 feed none; all but node 3 feed one.
    [([0, 0, 1, 0, 0, 0], [2, 3]), ([0, 0, 0, 0, 0, 0], [1, 2, 3]), ([0, 0, 1, 0, 2, 0], [3])],
)
def test_the_output_is_the_mean_of_all_nodes_or_of_the_loose_ends(tokens, ends):
    states = [tf.fill([2, 3], value) for value in (1.0, 10.0, 100.0)]
    everything = DrawnWiring(SPACE.rows, tf.constant(tokens), "all").output(states)
    np.testing.assert_allclose(everything, np.full((2, 3), 37), rtol=1e-6)
    loose = DrawnWiring(SPACE.rows, tf.constant(tokens), "loose_ends").output(states)
    wanted = np.mean([10.0 ** (end - 1) for end in ends])
    np.testing.assert_allclose(loose, np.full((2, 3), wanted), rtol=1e-6)


def test_only_the_drawn_weights_get_a_gradient():
    net = supernet()
    banks = [bank.value for bank in net.recurrence.banks]
    tokens = tf.constant([0, 2, 1, 0, 0, 3])
    with tf.GradientTape() as tape:
        outputs = net(words_of(4), tf.constant(STARTS), tokens, training=True)
        loss = tf.reduce_sum(outputs.logits**2) + outputs.decay
    for gradient, wanted in zip(tape.gradient(loss, banks), ([2, 0], [0, 1], [3, 0]), strict=True):
        sizes = np.abs(tf.convert_to_tensor(gradient)).max(axis=(2, 3))
        assert np.argwhere(sizes > 0).tolist() == [wanted]


@pytest.mark.parametrize("output", ["all", "loose_ends"])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_with_the_drawn_weights_computes_the_same(seed, output):
    config = replace(SMALL, output=output)
    net, arc = supernet(config), SPACE.random(random.Random(seed))
    alone = RnnNetwork(arc, config, WORDS, ROWS, StepRng(10, seed=0))
    found = take(alone, net.final_weights(arc, config), "shared", [])
    assert found["drawn"] == [] and found["taken_variables"] == 2 + len(arc.nodes)
    tokens = tf.constant(arc.tokens)
    for starts in (STARTS, GOES_ON):
        actual = net(words_of(5), tf.constant(starts), tokens)
        wanted = alone(words_of(5), tf.constant(starts))
        np.testing.assert_allclose(actual.logits, wanted.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(actual.states, wanted.states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("authors_decay", "wanted"),
    # Hidden size 2: 16 weights on word and state, of 1, and 8 of each node, of its number.
    [(False, (16 + 8 * (1 + 4 + 9)) / 2), (True, (16 + 8 * (16 + 81)) / 2)],
)
def test_decay_by_hand(authors_decay, wanted):
    net = supernet(replace(SMALL, hidden_size=2, authors_decay=authors_decay))
    net.recurrence.entry_kernel.assign(tf.ones([4, 4]))
    # What is not drawn is 100.
    for node, bank in enumerate(net.recurrence.banks, 1):
        values = np.full(bank.shape, 100.0)
        values[1, node - 1] = node
        bank.assign(values)
    tokens = tf.constant([0, 1, 1, 1, 2, 1])
    outputs = net(words_of(2), tf.constant(STARTS), tokens, training=True)
    assert float(outputs.decay) == pytest.approx(wanted)


def test_parameters_of_the_paper_s_size():
    space, config = RnnSpace(9), RnnChildConfig()
    net = RnnSupernet(space, config, 10_000, 2, StepRng(1, 0))
    weights = net.trainable_variables
    assert sum(math.prod(weight.shape) for weight in weights) == 16_560_000
    assert len(weights) == 11
    assert count_cost(space.random(random.Random(0)), config, 10_000).params == 2_880_000


def trainer(config, strategy):
    with strategy.scope():
        net = supernet(config)
        return ChildTrainer(net, net, LanguageTask(None, TextDataConfig(4), config), config)


def batches(strategy, shapes):
    """The same batches for any number of replicas, each with its rows."""
    generator = np.random.default_rng(5)
    texts = [generator.integers(0, WORDS, (rows, time + 1)) for rows, time, _ in shapes]

    def part(shard):
        def of_shard():
            for text, (rows, _, starts) in zip(texts, shapes, strict=True):
                mine = text[rows * shard[0] // shard[1] : rows * (shard[0] + 1) // shard[1]]
                yield mine[:, :-1], mine[:, 1:], starts

        words = tf.TensorSpec([None, None], tf.int32)
        signature = (words, words, tf.TensorSpec([], tf.bool))
        return tf.data.Dataset.from_generator(of_shard, output_signature=signature)

    return distribute(strategy, part)


def test_two_devices_train_and_evaluate_like_one_and_carry_the_same_state():
    config = replace(SMALL, learning_rate=1.0, weight_decay=1e-3, activation_l2=0.1)
    results = []
    for strategy in (tf.distribute.OneDeviceStrategy("CPU:0"), tiny.two_devices()):
        trained = trainer(config, strategy)
        tokens, found = tf.constant([0, 2, 1, 0, 0, 1]), []
        given = batches(strategy, [(ROWS, 3, STARTS), (ROWS, 4, GOES_ON)])
        trained.trace(given, tokens)
        for batch in given:
            metrics = trained.train_step(batch, tokens)
            found.append({name: float(metrics[name]) for name in ("loss", "grad_norm")})
        # The batch that comes first must not matter to the graph.
        assert trained.train_step.experimental_get_tracing_count() == 1
        # In the last batch the first of two replicas has no row.
        evaluated = batches(strategy, [(3, 3, STARTS), (3, 3, GOES_ON), (1, 3, STARTS)])
        found.append(trained.evaluate(evaluated, tokens))
        results.append((trained, found))
    (one, wanted), (two, actual) = results
    for numbers, others in zip(actual, wanted, strict=True):
        assert numbers == pytest.approx(others, rel=1e-4)
    assert np.abs(one.child.carried.state).min() > 0
    for value, other in zip(one.variables.values(), two.variables.values(), strict=True):
        for copy in two.strategy.experimental_local_results(other):
            np.testing.assert_allclose(copy, value, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_training_alone():
    net = supernet(replace(SMALL, drop_word=0.5, drop_node=0.5, drop_weight=0.5))
    tokens = tf.constant([0, 2, 1, 0, 0, 1])
    logits = []
    for step in (0, 0, 1):
        net._dropout._rng.step.assign(step)
        args = words_of(4), tf.constant(STARTS), tokens
        logits.append([np.array(net(*args, training=t).logits) for t in (True, False)])
    np.testing.assert_array_equal(logits[0][0], logits[1][0])
    assert np.any(logits[0][0] != logits[2][0])
    np.testing.assert_array_equal(logits[0][1], logits[2][1])
