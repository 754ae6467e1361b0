"""The micro space against the authors' code."""

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.child import ChildConfig
from enas_tf.controllers.base import ControllerConfig
from enas_tf.controllers.micro import MicroController
from enas_tf.layers.dropout import Clock
from enas_tf.networks import micro as network
from enas_tf.reinforce import Reinforce
from enas_tf.spaces.micro import MicroSpace
from enas_tf.supernets.micro import MicroSupernet
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, NameMap, cases
from tests.reference.children import ImageChild, check_evaluations, check_steps, image_options
from tests.reference.micro_names import controller_links, network_links, supernet_links


def child_config(case):
    return ChildConfig(num_layers=case.config["num_layers"], **image_options(case))


def image_sizes(case):
    """The images' shape, the number of classes, and a clock for dropout, of which there is none."""
    return case.inputs["images"].shape[1:], case.outputs["arc0/logits"].shape[-1], Clock(1, 0)


@pytest.fixture(scope="module", params=cases("micro_search_child"))
def search_child(request):
    case = Case.load(request.param)
    config = child_config(case)
    net = MicroSupernet(MicroSpace(case.config["num_cells"]), config, *image_sizes(case))
    return ImageChild(case, config, net, NameMap(supernet_links(net), case.variables), net)


@pytest.fixture(scope="module", params=cases("micro_fixed_child"))
def fixed_child(request):
    case = Case.load(request.param)
    config = child_config(case)
    arc = MicroSpace(case.config["num_cells"]).parse(case.config["fixed_arc"])
    net = network.build(arc, config, *image_sizes(case))
    names = NameMap(network_links(net, case.variables), case.variables)
    names.check(net.non_trainable_variables, [n for n in names.shapes if "/moving_" in n])

    def forward(images, tokens, training):
        outputs = net(images, training=training)
        return outputs if config.aux_head else (outputs, None)

    return ImageChild(case, config, net, names, forward)


def test_reference_search_child(search_child, compare):
    check_evaluations(search_child, compare)


def test_reference_search_child_steps(search_child, compare):
    check_steps(search_child, compare)


def test_reference_fixed_child(fixed_child, compare):
    check_evaluations(fixed_child, compare)


def test_reference_fixed_child_by_moving_averages(fixed_child, compare):
    fixed_child.restart()
    case = fixed_child.case
    logits, _ = fixed_child.forward(case.inputs["images"], None, training=False)
    compare.check("logits_eval", logits, case.outputs["arc0/logits_eval"], VALUES)


def test_reference_fixed_child_steps(fixed_child, compare):
    check_steps(fixed_child, compare)


@pytest.fixture(scope="module", params=cases("micro_controller"))
def controller(request):
    """The case, a controller and its learner, the original's names, and a way to start afresh."""
    case = Case.load(request.param)
    config = case.config
    reinforce = Reinforce(
        MicroController(
            MicroSpace(config["num_cells"]),
            ControllerConfig(
                lstm_size=config["lstm_size"],
                temperature=config.get("temperature") or 0.0,
                tanh_constant=config["tanh_constant"] or 0.0,
                op_tanh_reduce=config["op_tanh_reduce"],
                entropy_weight=config["entropy_weight"] or 0.0,
                learning_rate=config["lr_init"],
                baseline_decay=config["bl_dec"],
            ),
        )
    )
    names = NameMap(controller_links(reinforce.controller), case.variables)
    names.check(reinforce.controller.trainable_variables, case.meta["grad_order"])
    names.assign(case.variables)
    return case, reinforce, names


def test_reference_controller_scores(controller, compare):
    case, reinforce, names = controller
    names.assign(case.variables)
    variables = reinforce.controller.trainable_variables
    tokens = tf.constant(case.inputs["arcs"])
    with tf.GradientTape(persistent=True) as tape:
        draws = reinforce.controller.score(tokens)
        # The original's is the sum of cross-entropies.
        log_probs = tf.unstack(-draws.log_prob)
    compare.check("log_prob", log_probs, case.outputs["log_prob"], VALUES)
    compare.check("entropy", draws.entropy, case.outputs["entropy"], VALUES)
    for number, log_prob in enumerate(log_probs):
        gradients = tape.gradient(log_prob, [variable.value for variable in variables])
        by_name = names.read(variables, [tf.convert_to_tensor(g) for g in gradients])
        sizes = [np.linalg.norm(np.ravel(by_name[name])) for name in case.meta["grad_order"]]
        theirs = case.outputs["grad_norms_log_prob"][number]
        compare.check(f"arc{number}/grad_norms", sizes, theirs, GRADIENTS)
        for name, values in by_name.items():
            key = f"grad_log_prob_arc{number}/{name}"
            if key in case.outputs:
                compare.check(key, values, case.outputs[key], GRADIENTS)


def test_reference_controller_steps(controller, compare):
    case, reinforce, names = controller
    names.assign(case.variables)
    rewards = (case.inputs["valid_correct"] / case.inputs["valid_batch"]).astype(np.float32)
    for step, (tokens, reward) in enumerate(zip(case.inputs["step_arcs"], rewards, strict=True)):
        before = reinforce.baseline.numpy()
        found = reinforce.learn(tokens[np.newaxis], reward[np.newaxis])
        theirs = {name: case.outputs[f"steps/{name}"][step] for name in STEP_OUTPUTS}
        weight = reinforce.controller.config.entropy_weight
        ours = {
            "baseline": before,
            "baseline_after": reinforce.baseline,
            "reward": found["reward"] + weight * found["entropy"],
            "log_prob": -found["log_prob"],
            "entropy": found["entropy"],
            "loss": found["loss"],
        }
        for name, value in ours.items():
            compare.check(f"step{step}/{name}", value, theirs[name], VALUES)
        compare.check(f"step{step}/grad_norm", found["grad_norm"], theirs["grad_norm"], GRADIENTS)
        rate = reinforce.optimizer.learning_rate
        compare.check(f"step{step}/lr", rate, theirs["lr"], RATES)
        check_controller_weights(case, reinforce, names, step, compare)


STEP_OUTPUTS = (
    *("reward", "baseline", "baseline_after", "log_prob", "entropy"),
    *("loss", "grad_norm", "lr"),
)


def check_controller_weights(case, reinforce, names, step, compare):
    """The weights given, and the norms of all weights and of Adam's first and second moments."""
    variables = reinforce.controller.trainable_variables
    weights = names.read(variables, variables)
    for name, values in weights.items():
        key = f"step{step}/{name}"
        if key in case.outputs:
            compare.check(key, values, case.outputs[key], GRADIENTS)
    optimizer = reinforce.optimizer
    for suffix, slots in ("/Adam", optimizer._momentums), ("/Adam_1", optimizer._velocities):
        moments = names.read(variables, slots)
        weights |= {f"{name}{suffix}": moments[name] for name in case.meta["grad_order"]}
    order = case.meta["var_norms_order"]
    theirs = dict(zip(order, case.outputs[f"step{step}/var_norms"], strict=True))
    ours = [np.linalg.norm(np.ravel(values)) for values in weights.values()]
    compare.check(f"step{step}/var_norms", ours, [theirs[name] for name in weights], GRADIENTS)
