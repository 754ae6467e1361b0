"""A controller with the original's weights, which scores and learns as the original did."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from enas_tf.search.controller import Controller
from enas_tf.search.reinforce import Reinforce
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, Comparison, Link, NameMap

# Options that enas_lm names otherwise than the CIFAR code.
RNN_NAMES = {"hidden": "lstm_size", "learning_rate": "lr_init", "baseline_dec": "bl_dec"}

# Of what a step reports; of all else it is `VALUES`.
STEP_TOLERANCES = {"grad_norm": GRADIENTS, "lr": RATES}


def controller_options(case: Case) -> dict:
    """The options of `ControllerConfig` that have a controller do as the case's did."""
    config = {RNN_NAMES.get(name, name): value for name, value in case.config.items()}
    return {
        "lstm_size": config["lstm_size"],
        "temperature": config.get("temperature") or 0.0,
        "tanh_constant": config["tanh_constant"] or 0.0,
        "entropy_weight": config["entropy_weight"] or 0.0,
        "learning_rate": config["lr_init"],
        "baseline_decay": config["bl_dec"],
    }


# Keras' gates are input, forget, candidate, output; for each of them its place in theirs.
_GATES = [0, 1, 3, 2]


def lstm_links(controller: Controller, name: str) -> Iterator[Link]:
    """Of the LSTM, which the original has in one matrix, the input's rows before the state's."""
    size = controller.config.lstm_size
    kernels = controller.lstm.kernel, controller.lstm.recurrent_kernel
    for number, kernel in enumerate(kernels):
        rows = slice(number * size, (number + 1) * size)
        for gates in enumerate(_GATES):
            ours, theirs = (slice(gate * size, (gate + 1) * size) for gate in gates)
            yield Link(name, kernel, (..., ours), (rows, theirs))


class ControllerUnderTest:
    """A controller and its trainer.

    Args:
        case: where its weights come from.
        controller: the controller.
        names: of its variables.
    """

    def __init__(self, case: Case, controller: Controller, names: NameMap) -> None:
        self.case = case
        self.controller = controller
        self.names = names
        self.variables = controller.trainable_variables
        names.check(self.variables, case.meta["grad_order"])

    def restart(self) -> Reinforce:
        """Goes back to the original's first weights, with a new trainer."""
        self.names.assign(self.case.variables)
        return Reinforce(self.controller)


def check_scores(tested: ControllerUnderTest, extras: dict, compare: Comparison) -> None:
    """Compares what the controller thinks of given architectures, and its gradients.

    Args:
        tested: the controller.
        extras: further outputs of the case, by the metric of ours that they are.
        compare: the comparison.
    """
    case = tested.case
    tested.restart()
    with tf.GradientTape(persistent=True) as tape:
        draws = tested.controller.score(tf.constant(case.inputs["arcs"]))
        # The original's is the sum of cross-entropies.
        log_probs = tf.unstack(-draws.log_prob)
    compare.check("log_prob", log_probs, case.outputs["log_prob"], VALUES)
    compare.check("entropy", draws.entropy, case.outputs["entropy"], VALUES)
    for name, values in extras.items():
        compare.check(name, draws.metrics[name], values, VALUES)
    for number, log_prob in enumerate(log_probs):
        gradients = tape.gradient(log_prob, [variable.value for variable in tested.variables])
        arrays = [tf.convert_to_tensor(gradient) for gradient in gradients]
        by_name = tested.names.read(tested.variables, arrays)
        sizes = [np.linalg.norm(np.ravel(by_name[name])) for name in case.meta["grad_order"]]
        theirs = case.outputs["grad_norms_log_prob"][number]
        compare.check(f"arc{number}/grad_norms", sizes, theirs, GRADIENTS)
        for name, values in by_name.items():
            key = f"grad_log_prob_arc{number}/{name}"
            if key in case.outputs:
                compare.check(key, values, case.outputs[key], GRADIENTS)


def step_rewards(case: Case) -> np.ndarray:
    """The reward of each step's architecture: accuracy, or 80 / perplexity."""
    inputs = case.inputs
    if "rl_loss" in inputs:
        return 80 / np.exp(inputs["rl_loss"])
    return (inputs["valid_correct"] / inputs["valid_batch"]).astype(np.float32)


def check_steps(
    tested: ControllerUnderTest,
    extras: tuple[str, ...],
    compare: Comparison,
    without: tuple[str, ...] = (),
) -> None:
    """Compares the original's updates: rewards, baselines, losses, and weights after each.

    Args:
        tested: the controller.
        extras: further metrics of ours that the case has.
        compare: the comparison.
        without: metrics of ours that the case does not have.
    """
    case, reinforce = tested.case, tested.restart()
    weight = tested.controller.config.entropy_weight
    rewards = step_rewards(case)
    for step, (tokens, reward) in enumerate(zip(case.inputs["step_arcs"], rewards, strict=True)):
        before = reinforce.baseline.value.numpy()
        found = reinforce.feedback(tokens[np.newaxis], reward[np.newaxis])
        ours = {
            "baseline": before,
            "baseline_after": reinforce.baseline.value,
            "reward": found["reward"] + weight * found["entropy"],
            "log_prob": -found["log_prob"],
            "entropy": found["entropy"],
            "loss": found["loss"],
            "grad_norm": found["grad_norm"],
            "lr": reinforce.optimizer.learning_rate,
        }
        ours |= {name: found[name] for name in extras}
        for name in [name for name in ours if name not in without]:
            theirs = case.outputs[f"steps/{name}"][step]
            tolerance = STEP_TOLERANCES.get(name, VALUES)
            compare.check(f"step{step}/{name}", ours[name], theirs, tolerance)
        check_weights(tested, reinforce, step, compare)


def check_weights(
    tested: ControllerUnderTest, reinforce: Reinforce, step: int, compare: Comparison
) -> None:
    """The weights given, and the norms of all weights and of Adam's first and second moments."""
    case, variables, optimizer = tested.case, tested.variables, reinforce.optimizer
    weights = tested.names.read(variables, variables)
    for name, values in weights.items():
        key = f"step{step}/{name}"
        if key in case.outputs:
            compare.check(key, values, case.outputs[key], GRADIENTS)
    for suffix, slots in ("/Adam", optimizer._momentums), ("/Adam_1", optimizer._velocities):
        moments = tested.names.read(variables, slots)
        weights |= {f"{name}{suffix}": moments[name] for name in case.meta["grad_order"]}
    order = case.meta["var_norms_order"]
    theirs = dict(zip(order, case.outputs[f"step{step}/var_norms"], strict=True))
    ours = [np.linalg.norm(np.ravel(values)) for values in weights.values()]
    compare.check(f"step{step}/var_norms", ours, [theirs[name] for name in weights], GRADIENTS)
