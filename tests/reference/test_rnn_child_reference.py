"""The rnn space's networks against the authors' code."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.network_config import RnnChildConfig
from enas_tf.data.text import TextDataConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.rnn import network
from enas_tf.rnn.space import RnnSpace
from enas_tf.rnn.supernet import RnnSupernet
from enas_tf.tasks.language import LanguageTask
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.weight_average import WeightAverage
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, NameMap, cases
from tests.reference.rnn_names import network_links, supernet_links


def child_config(case):
    """What has a network do as the case's did: without dropout."""
    config = case.config
    places = ("word", "embedding", "input", "node", "output", "weight")
    return RnnChildConfig(
        hidden_size=config["hidden_size"],
        activation_l2=config["alpha"],
        slowness=config.get("beta", 0.0),
        weight_decay=config["weight_decay"],
        learning_rate=config["learning_rate"],
        grad_clip=config["grad_bound"],
        authors_decay=True,
        **{f"drop_{place}": 0.0 for place in places},
    )


class Child:
    """The network under test.

    Args:
        case: where its weights come from.
        net: the network.
        names: of its variables.
        extras: for each of the case's architectures, further arguments of a call.
    """

    def __init__(self, case, net, names, extras):
        self.case = case
        self.net = net
        self.names = names
        self.extras = extras
        self.config = child_config(case)
        self.task = LanguageTask(None, TextDataConfig(case.config["bptt_steps"]), self.config)
        self.trainer = ChildTrainer(net, net, self.task, self.config)
        self.trained = self.trainer.trained
        names.check(self.trained, case.meta["trained_variables"])

    @property
    def state(self):
        """The state of training."""
        return self.net.carried.state

    def restart(self):
        """Goes back to the original's first weights, and its state."""
        self.names.assign(self.case.variables)

    def batch(self, number):
        """Words, targets, and that the state goes on."""
        words, targets = (self.case.inputs[f"{name}{number + 1}"] for name in "xy")
        return tf.constant(words), tf.constant(targets), tf.constant(False)

    def by_name(self, values):
        """Values of our trained variables by the original's names."""
        return self.names.read(self.trained, values)


def sizes(case):
    """Words, rows, and random numbers of dropout, which is off."""
    return case.config["vocab_size"], case.config["batch_size"], StepRng(1, 0)


@pytest.fixture(scope="module", params=cases("rnn_search_child"))
def search_child(request, both_forms):
    case = Case.load(request.param)
    net = RnnSupernet(RnnSpace(case.config["num_layers"]), child_config(case), *sizes(case))
    names = NameMap(supernet_links(net), case.variables)
    return Child(case, net, names, [[tf.constant(arc)] for arc in case.arcs()])


@pytest.fixture(scope="module", params=cases("rnn_fixed_child"))
def fixed_child(request, both_forms):
    case = Case.load(request.param)
    _, arc = RnnSpace.of(case.config["fixed_arc"])
    net = network.build(arc, child_config(case), *sizes(case))
    return Child(case, net, NameMap(network_links(net), case.variables), [[]])


def check_training(child, compare):
    """Compares losses, states and, before they are clipped, gradients."""
    case = child.case
    unclipped = ChildTrainer(child.net, child.net, child.task, replace(child.config, grad_clip=0.0))
    words, targets, starts = child.batch(0)
    # Else the learning rate would scale the gradients.
    assert words.shape[1] == case.config["bptt_steps"]
    for number, extra in enumerate(child.extras):
        theirs = case.under(f"arc{number}/train/")
        child.restart()
        outputs = child.net(words, starts, *extra, training=True)
        total, metrics = child.task.loss(outputs, targets)
        values = {
            "loss": metrics["loss"],
            "reg_loss": total,
            "all_s": outputs.states,
            "logits": outputs.logits,
            "state_after": child.state,
        }
        if "l2_reg_loss" in theirs:
            values["l2_reg_loss"] = outputs.decay
        for key, value in values.items():
            compare.check(f"arc{number}/train/{key}", value, theirs[key], VALUES)
        child.restart()
        # In a graph, as a step takes them.
        compute = tf.function(unclipped.gradients, autograph=False)
        gradients, *_ = compute(words, targets, starts, *extra)
        gradients = child.by_name(gradients)
        found = {
            f"grad{place}": gradients[name] for place, name in enumerate(case.meta["grad_names"])
        }
        trained = case.meta["trained_variables"]
        found["grad_norms"] = [np.linalg.norm(np.ravel(gradients[name])) for name in trained]
        found["grad_norm"] = np.linalg.norm(found["grad_norms"])
        for key, value in found.items():
            compare.check(f"arc{number}/train/{key}", value, theirs[key], GRADIENTS)


def check_evaluations(child, compare):
    """Compares losses and states of consecutive batches, the first from the original's state."""
    case = child.case
    for number, extra in enumerate(child.extras):
        child.restart()
        child.net.carried.evaluation_state.assign(child.state)
        count = len([key for key in case.under(f"arc{number}/eval") if key.endswith("/loss")])
        assert count
        for chunk in range(count):
            theirs = case.under(f"arc{number}/eval{chunk}/")
            words, targets, starts = child.batch(chunk)
            outputs = child.net(words, starts, *extra)
            loss = child.task.metrics(child.task.totals(outputs, targets))["loss"]
            compare.check(f"arc{number}/eval{chunk}/loss", loss, theirs["loss"], VALUES)
            compare.check(f"arc{number}/eval{chunk}/all_s", outputs.states, theirs["all_s"], VALUES)


def check_steps(child, compare):
    """Compares losses, gradients' norms, rates and weights of the original's SGD steps.

    In these cases, the original averages the final network's weights from the first step on.
    """
    case = child.case
    child.restart()
    average = WeightAverage(child.trained)
    for step in range(case.num_steps("loss")):
        theirs = case.under(f"step{step}/")
        words, targets, starts = child.batch(step)
        extra = child.extras[step % len(child.extras)]
        metrics = child.trainer.train_step((words, targets, starts), *extra)
        rate = child.config.learning_rate_at(0) * child.task.lr_scale(words)
        compare.check(f"step{step}/loss", metrics["loss"], theirs["loss"], VALUES)
        compare.check(f"step{step}/grad_norm", metrics["grad_norm"], theirs["grad_norm"], GRADIENTS)
        compare.check(f"step{step}/lr", rate, theirs["lr"], RATES)
        check_weights(child, average, step, compare)


def check_weights(child, average, step, compare):
    """Compares some weights, all norms, and the average of the weights up to this step."""
    case, theirs = child.case, child.case.under(f"step{step}/")
    trained, order = case.meta["trained_variables"], case.meta["var_norms_order"]
    weights = child.by_name(child.trained)
    for place, name in enumerate(case.meta["grad_names"]):
        compare.check(f"step{step}/var{place}", weights[name], theirs[f"var{place}"], GRADIENTS)
    # Norms of averages are of those up to the step before.
    averages, _ = averages_of(child, average)
    values = weights | child.names.read([child.state], [child.state])
    values |= {f"average/{place}": averages[name] for place, name in enumerate(trained)}
    norms = dict(zip(order, theirs["var_norms"], strict=True))
    common = [name for name in order if name in values]
    assert set(trained) < set(common)
    found = [np.linalg.norm(np.ravel(values[name])) for name in common]
    wanted = [norms[name] for name in common]
    compare.check(f"step{step}/var_norms", found, wanted, GRADIENTS)
    average.update()
    averages, count = averages_of(child, average)
    if "avg0" in theirs:
        compare.check(f"step{step}/avg0", averages[trained[0]], theirs["avg0"], GRADIENTS)
        compare.check(f"step{step}/avg_step", count, theirs["avg_step"], GRADIENTS)


def averages_of(child, average):
    """Averages by the original's names, and of how many steps they are."""
    *averages, count = average.variables.values()
    return child.by_name(averages), count


def test_reference_search_child(search_child, compare):
    check_training(search_child, compare)


def test_reference_search_child_evaluations(search_child, compare):
    check_evaluations(search_child, compare)


def test_reference_search_child_steps(search_child, compare):
    check_steps(search_child, compare)


def test_reference_fixed_child(fixed_child, compare):
    check_training(fixed_child, compare)


def test_reference_fixed_child_evaluations(fixed_child, compare):
    check_evaluations(fixed_child, compare)


def test_reference_fixed_child_steps(fixed_child, compare):
    check_steps(fixed_child, compare)
