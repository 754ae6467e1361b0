"""A search whose rewards come from a table."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.nasbench201.controller import Nasbench201Controller
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.search.algorithms import make_algorithm
from enas_tf.search.controller import ControllerConfig
from enas_tf.search.derive import DeriveConfig, derive
from enas_tf.search.search import Search, SearchConfig
from enas_tf.search.truth import Truth
from enas_tf.search.truth_rewards import NoWeights, TruthEvaluator
from enas_tf.training.run_folder import Run
from tests import tiny

SPACE = Nasbench201Space(3)
# The better, the more edges have op 3.
TRUTH = Truth(
    "table, column,",
    {
        (a, b, c): 40.0 + 20.0 * (a, b, c).count(3)
        for a in range(5)
        for b in range(5)
        for c in range(5)
    },
)
CONFIG = SearchConfig(num_epochs=2, updates_per_epoch=3, arcs_per_update=4, reward="truth")


def search(config=CONFIG, truth=TRUTH, **controller):
    keras.utils.set_random_seed(0)
    options = ControllerConfig(lstm_size=8, epsilon=1e-8, op_tanh_reduce=1.0, **controller)
    algorithm = make_algorithm(Nasbench201Controller, SPACE, options)
    return Search(NoWeights(TruthEvaluator(truth, lambda: None)), algorithm, config, seed=3)


def test_a_reward_is_the_accuracy_as_a_fraction_of_1():
    evaluator = search().evaluator
    tokens = tf.constant([[0, 1, 2], [3, 3, 0], [3, 3, 3]])
    assert evaluator.rewards(tokens, evaluator.shuffled_batches(0, 0, 3)) == [0.4, 0.8, 1.0]
    assert evaluator.rewards_on_split({"a": tokens[1]}, 0, None, "derive") == {"a": 0.8}
    assert "true accuracies, of table, column, as fractions of 1" in evaluator.note


def test_the_controller_alone_is_trained(tmp_path):
    one = search()
    before = tiny.values(one.variables)
    assert {name.partition("/")[0] for name in before} == {
        *("controller", "controller_optimizer", "baseline")
    }
    one.run(run := Run(tmp_path))
    after = tiny.values(one.variables)
    assert not np.array_equal(
        before["controller/controller/op_kernel"], after["controller/controller/op_kernel"]
    )
    assert [record["phase"] for record in tiny.records(run, "search")] == [
        *2 * ["controller", "valid"]
    ]
    assert run.is_done("search", step=6)


@pytest.mark.parametrize("kind", ["lstm", "ppo"])
def test_learns_what_the_table_rewards(tmp_path, kind):
    """It could fail: the best architecture must become ten times as likely, and not by chance."""
    config = SearchConfig(num_epochs=1, updates_per_epoch=60, arcs_per_update=10, reward="truth")
    one, best = search(config, kind=kind, learning_rate=0.01), tf.constant([[3, 3, 3]])
    before = float(one.algorithm.log_prob(best)[0])
    assert before == pytest.approx(-np.log(125), abs=0.2)
    one.run(Run(tmp_path))
    assert float(one.algorithm.log_prob(best)[0]) > before + np.log(10)


def test_a_killed_search_goes_on_to_the_same_end(tmp_path):
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    searches = [search() for _ in range(3)]
    with tiny.many_checkpoints():
        searches[0].run(whole)
        with tiny.killed_at(5):
            searches[1].run(killed)
        searches[2].run(killed)
    tiny.assert_same(tiny.values(searches[2].variables), tiny.values(searches[0].variables))
    assert tiny.records(killed, "search") == tiny.records(whole, "search")


def test_derives_the_truly_best_of_what_is_drawn(tmp_path, capsys):
    one = search()
    one.run(run := Run(tmp_path))
    best = derive(one.searched(), DeriveConfig(num_samples=30), run, lambda _: {"params": 0}, None)
    drawn = [tuple(map(int, record["arc"].split())) for record in run.read_json("arcs.json")]
    assert TRUTH.accuracy(best.tokens) == max(map(TRUTH.accuracy, drawn))
    assert len(drawn) == 30 and "no shared weights were trained" in capsys.readouterr().out


def test_an_architecture_that_the_table_lacks_ends_the_search_in_one_line(tmp_path):
    few = Truth("table, column,", {(0, 0, 0): 50.0})
    with pytest.raises(UserError, match=r"^table, column, does not have the architecture \d \d \d"):
        search(truth=few).run(Run(tmp_path))
