"""A child network of images with the original's weights, run and trained as the original was."""

from collections.abc import Callable

import tensorflow as tf

from enas_tf.optimizers import NesterovSGD
from enas_tf.schedules import CosineRestarts
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, Comparison, NameMap, norms

Outputs = tuple[tf.Tensor, tf.Tensor | None]
"""Logits and auxiliary logits, `(batch, classes)`."""


class ImageChild:
    """The network under test.

    Args:
        case: where its weights come from.
        names: of its variables.
        run: from images and tokens to the outputs in training mode.
    """

    def __init__(
        self, case: Case, names: NameMap, run: Callable[[tf.Tensor, tf.Tensor], Outputs]
    ) -> None:
        self.case = case
        self.names = names
        self.trained = names.variables(case.meta["trained_variables"])
        self._run = run

    def restore(self) -> None:
        """Goes back to the weights that the original started from."""
        self.names.assign(self.case.variables)

    @tf.function
    def evaluate(self, images: tf.Tensor, labels: tf.Tensor, tokens: tf.Tensor) -> dict:
        """Outputs, losses, and the gradients of the total loss; keys as in the case's outputs."""
        with tf.GradientTape() as tape:
            logits, aux_logits = self._run(images, tokens)
            loss = total_loss = _cross_entropy(logits, labels)
            found = {"logits": logits, "loss": loss}
            if aux_logits is not None:
                aux_loss = _cross_entropy(aux_logits, labels)
                found |= {"aux_logits": aux_logits, "aux_loss": aux_loss}
                total_loss += 0.4 * aux_loss
            squares = [tf.reduce_sum(tf.square(variable)) for variable in self.trained]
            total_loss += self.case.config["l2_reg"] * tf.add_n(squares)
        gradients = tape.gradient(total_loss, [variable.value for variable in self.trained])
        return found | {"total_loss": total_loss, "gradients": gradients}


def check_evaluation(child: ImageChild, number: int, compare: Comparison) -> None:
    """Compares `arc<number>`: outputs, losses and gradients."""
    case = child.case
    theirs = {
        key.removeprefix(f"arc{number}/"): value
        for key, value in case.outputs.items()
        if key.startswith(f"arc{number}/")
    }
    tokens = case.arcs()[number]
    found = child.evaluate(case.inputs["images"], case.inputs["labels"], tokens)
    gradients = found.pop("gradients")
    for key, value in found.items():
        compare.close(key, value, theirs[key], VALUES)
    ours = child.names.read(child.trained, gradients)
    _check_gradients(ours, theirs, case, compare)
    compare.close("lr", _learning_rate(case), theirs["lr"], RATES)


def _check_gradients(ours: dict, theirs: dict, case: Case, compare: Comparison) -> None:
    compare.close("grad_norm", tf.linalg.global_norm(list(ours.values())), theirs["grad_norm"], GRADIENTS)
    sizes = norms(ours)
    compare.close(
        "grad_norms",
        [sizes[name] for name in case.meta["trained_variables"]],
        theirs["grad_norms"],
        GRADIENTS,
    )
    for place, name in enumerate(case.meta["grad_names"]):
        compare.close("grad", ours[name], theirs[f"grad{place}"], GRADIENTS)


def check_steps(child: ImageChild, compare: Comparison) -> None:
    """Compares `step0`, `step1`, ...: the original's optimiser steps, from its weights on."""
    case = child.case
    optimizer = NesterovSGD(_learning_rate(case), momentum=0.9)
    arcs = case.arcs()
    for step in range(case.num_steps("loss")):
        theirs = {key: case.outputs[f"step{step}/{key}"] for key in ("loss", "grad_norm", "lr")}
        batch = "2" if step % 2 else ""
        images, labels = case.inputs[f"images{batch}"], case.inputs[f"labels{batch}"]
        found = child.evaluate(images, labels, arcs[step % len(arcs)])
        optimizer.apply(found["gradients"], child.trained)
        compare.close("loss", found["loss"], theirs["loss"], VALUES)
        norm = tf.linalg.global_norm(found["gradients"])
        compare.close("grad_norm", norm, theirs["grad_norm"], GRADIENTS)
        compare.close("lr", optimizer.learning_rate, theirs["lr"], RATES)
        _check_weights(child, optimizer, step, compare)


def _check_weights(
    child: ImageChild, optimizer: NesterovSGD, step: int, compare: Comparison
) -> None:
    case = child.case
    weights = child.names.read(child.trained, child.trained)
    momenta = child.names.read(child.trained, optimizer._momentums)
    for place, name in enumerate(case.meta["grad_names"]):
        compare.close("weights", weights[name], case.outputs[f"step{step}/var{place}"], GRADIENTS)
        compare.close("momenta", momenta[name], case.outputs[f"step{step}/mom{place}"], GRADIENTS)
    sizes = norms(weights) | norms({f"{name}/Momentum": m for name, m in momenta.items()})
    order = case.meta["var_norms_order"]
    theirs = dict(zip(order, case.outputs[f"step{step}/var_norms"], strict=True))
    assert set(sizes) <= set(order)
    compare.each_close("var_norms", sizes, {name: theirs[name] for name in sizes}, GRADIENTS)


def _learning_rate(case: Case) -> float:
    """That of the first epoch, in which all steps are."""
    config = case.config
    names = "lr_max", "lr_min", "lr_T_0", "lr_T_mul"
    return CosineRestarts(*(config[name] for name in names))(0)


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(losses)
