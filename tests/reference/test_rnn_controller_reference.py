"""The rnn space's controller against the authors' code."""

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.rnn.controller import RnnController, RnnControllerConfig
from enas_tf.rnn.space import RnnSpace
from tests.reference import controllers
from tests.reference.cases import VALUES, Case, NameMap, cases
from tests.reference.rnn_names import controller_links

CHANGES = 1e-2
"""Tolerance of what all steps together change: some 1e-4 of weights that float32 rounds."""


class Replay:
    """Makes the given choices, and keeps the log-probability of each."""

    def __init__(self, tokens):
        self.batch = len(tokens)
        self.tokens = tokens
        self.log_probs = np.zeros(tokens.shape)

    def __call__(self, slot, logits):
        values = self.tokens[:, slot]
        self.log_probs[:, slot] = tf.nn.log_softmax(logits).numpy()[range(self.batch), values]
        return tf.constant(values)


@pytest.fixture(scope="module", params=cases("rnn_controller"))
def controller(request):
    case = Case.load(request.param)
    controller = RnnController(
        RnnSpace(case.config["num_layers"]),
        RnnControllerConfig(**controllers.controller_options(case)),
    )
    names = NameMap(controller_links(controller), case.variables)
    return controllers.ControllerUnderTest(case, controller, names)


def test_reference_controller_scores(controller, compare):
    controllers.check_scores(controller, {}, compare)


def test_reference_controller_scores_each_choice(controller, compare):
    controller.restart()
    replay = Replay(controller.case.inputs["arcs"])
    controller.controller.decide(replay)
    # The original's are cross-entropies.
    compare.check("log_probs", -replay.log_probs, controller.case.outputs["log_probs"], VALUES)


def test_reference_controller_steps(controller, compare):
    # Their baseline is the one after the update; their rate never changes.
    controllers.check_steps(controller, (), compare, without=("baseline", "lr"))
    check_changes(controller, compare)


def check_changes(tested, compare):
    """Adam's rate is so low that the weights themselves hardly tell one step from none."""
    case, weights = tested.case, tested.names.read(tested.variables, tested.variables)
    last = case.under(f"step{case.num_steps('var_norms') - 1}/")
    given = [name for name in weights if name in last]
    assert given
    for name in given:
        ours, theirs = (values - case.variables[name] for values in (weights[name], last[name]))
        compare.check(f"change of {name}", ours, theirs, CHANGES)
