"""A child network of images with the original's weights, run and trained as the original was.

Outputs, losses, gradients and weights are the port's own, of the trainer that users run. Where
rounding leaves it open on which side of its kink an activation falls, gradients may be those of
the other side, within the limits of `kinks.py` and never without a warning.
"""

import warnings
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from enas_tf.core.network_config import ImageChildConfig
from enas_tf.data.base import DataConfig
from enas_tf.tasks.images import ImageTask, Outputs
from enas_tf.training.child_trainer import ChildTrainer
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, Comparison, NameMap, error
from tests.reference.kinks import KinkWarning, nearest


def image_options(case: Case) -> dict:
    """The options of `ImageChildConfig` that have a network do as the case's did."""
    config = case.config
    return {
        "out_filters": config["out_filters"],
        "keep_prob": config["keep_prob"],
        "drop_path_keep_prob": config.get("drop_path_keep_prob", 1.0),
        "aux_head": config.get("use_aux_heads", False),
        "train_aux_head": False,
        "l2": config["l2_reg"],
        "lr_max": config["lr_max"],
        "lr_min": config["lr_min"],
        "lr_period": config["lr_T_0"],
        "lr_period_factor": config["lr_T_mul"],
    }


class ImageChild:
    """The network under test.

    Args:
        case: where its weights come from.
        config: the network's.
        net: the network.
        names: of its variables.
        forward: from images, tokens and `training` to the outputs.
    """

    def __init__(
        self,
        case: Case,
        config: ImageChildConfig,
        net: keras.Model,
        names: NameMap,
        forward: Callable[..., Outputs],
    ) -> None:
        self.case = case
        self.l2 = config.l2
        self.names = names
        self.forward = forward
        self.task = ImageTask(None, DataConfig(), config)
        self.trainer = ChildTrainer(net, forward, self.task, config)
        # In a graph, as a step takes them.
        self.trainer.gradients = tf.function(self.trainer.gradients, autograph=False)
        self.trained = self.trainer.trained
        # All steps of a case are in the first epoch.
        self.trainer.optimizer.learning_rate = config.learning_rate_at(0)
        head = [name for name in names.shapes if name.startswith("child/aux_head/")]
        trained = case.meta["trained_variables"]
        names.check(self.trained, trained)
        names.check(net.trainable_variables, [*trained, *head])

    def restart(self) -> None:
        """Goes back to the original's first weights, without momentum."""
        self.names.assign(self.case.variables)
        for momentum in self.trainer.optimizer._momentums:
            momentum.assign(tf.zeros_like(momentum))

    def gradients(
        self, place: str, inputs: tuple, targets: list[np.ndarray]
    ) -> tuple[dict, dict, int]:
        """Gradients of the total loss, the port's own if those come near the targets.

        Args:
            place: in the case, such as "step0", for the warning if they do not.
            inputs: images, labels and tokens.
            targets: the original's gradients of `grad_names`.

        Returns:
            Gradients by name; the trainer's metrics; how many kinks fell otherwise.
        """
        wanted = dict(zip(self.case.meta["grad_names"], targets, strict=True))

        def compute() -> dict:
            gradients, metrics, _ = self.trainer.gradients(*inputs)
            return self.names.read(self.trained, gradients) | {"metrics": metrics}

        def off(found: dict, targets: dict) -> float:
            return max(error(found[name], target) for name, target in targets.items())

        found, sides = compute(), set()
        # Half of what is allowed, since the kink may matter more to other variables.
        tolerance = GRADIENTS / 2
        if (own := off(found, wanted)) > tolerance:
            # Sides are chosen eagerly, which must not make up for what a graph does wrong.
            graph = {name: found[name] for name in wanted}
            as_graph, _ = nearest(compute, graph, tolerance)
            assert off(as_graph, graph) <= GRADIENTS, "a graph's gradients are others than eager"
            found, sides = nearest(compute, wanted, tolerance)
            reach = max((abs(distance) for _, distance in sides), default=0.0)
            warnings.warn(
                f"{self.case.meta['case']} {place}: the port's own gradients are {own:.1e} off, "
                f"{off(found, wanted):.1e} with activations on the other side of their kinks: "
                f"{len(sides)}, up to {reach:.1e} away",
                KinkWarning,
                stacklevel=2,
            )
        return found, found.pop("metrics"), len(sides)


def check_evaluations(child: ImageChild, compare: Comparison) -> None:
    """Compares outputs, losses and gradients of every architecture."""
    case = child.case
    images, labels = case.inputs["images"], case.inputs["labels"]
    child.restart()
    for number, arc in enumerate(case.arcs()):
        theirs = case.under(f"arc{number}/")
        tokens = tf.constant(arc)
        targets = [theirs[f"grad{place}"] for place in range(len(case.meta["grad_names"]))]
        gradients, metrics, flipped = child.gradients(
            f"arc{number}", (images, labels, tokens), targets
        )
        logits, aux_logits = child.forward(images, tokens, training=True)
        loss, _ = child.task.loss((logits, aux_logits), labels)
        decay = child.l2 * sum(float(tf.reduce_sum(w**2)) for w in child.trained)
        values = {"logits": logits, "loss": metrics["loss"], "total_loss": loss + decay}
        if aux_logits is not None:
            values |= {"aux_logits": aux_logits, "aux_loss": metrics["aux_loss"]}
        for key, value in values.items():
            compare.check(f"arc{number}/{key}", value, theirs[key], VALUES)
        compare.report[f"arc{number}/kinks"] = str(flipped)
        check_gradients(case, gradients, f"arc{number}/", compare)
        rate = child.trainer.optimizer.learning_rate
        compare.check(f"arc{number}/lr", rate, theirs["lr"], RATES)


def check_gradients(case: Case, gradients: dict, prefix: str, compare: Comparison) -> None:
    """Compares some gradients, the norms of all, and the norm of all together."""
    theirs = case.under(prefix)
    for place, name in enumerate(case.meta["grad_names"]):
        compare.check(f"{prefix}grad{place}", gradients[name], theirs[f"grad{place}"], GRADIENTS)
    trained = case.meta["trained_variables"]
    sizes = [np.linalg.norm(np.ravel(gradients[name])) for name in trained]
    compare.check(f"{prefix}grad_norms", sizes, theirs["grad_norms"], GRADIENTS)
    compare.check(f"{prefix}grad_norm", np.linalg.norm(sizes), theirs["grad_norm"], GRADIENTS)


def check_steps(child: ImageChild, compare: Comparison) -> None:
    """Compares losses, gradients and weights of the original's optimiser steps."""
    case, arcs = child.case, child.case.arcs()
    optimizer = child.trainer.optimizer
    child.restart()
    momenta = [0.0] * len(case.meta["grad_names"])
    for step in range(case.num_steps("loss")):
        theirs = case.under(f"step{step}/")
        batch = "2" if step % 2 else ""
        images, labels = case.inputs[f"images{batch}"], case.inputs[f"labels{batch}"]
        # The original's gradients, of its momenta: m = 0.9 * m + g.
        new_momenta = [theirs[f"mom{place}"] for place in range(len(momenta))]
        targets = [new - 0.9 * old for new, old in zip(new_momenta, momenta, strict=True)]
        momenta = new_momenta
        inputs = images, labels, tf.constant(arcs[step % len(arcs)])
        gradients, metrics, flipped = child.gradients(f"step{step}", inputs, targets)
        optimizer.apply(child.names.place(child.trained, gradients), child.trained)
        norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values()))
        compare.report[f"step{step}/kinks"] = str(flipped)
        compare.check(f"step{step}/loss", metrics["loss"], theirs["loss"], VALUES)
        compare.check(f"step{step}/grad_norm", norm, theirs["grad_norm"], GRADIENTS)
        compare.check(f"step{step}/lr", optimizer.learning_rate, theirs["lr"], RATES)
        check_weights(child, step, compare)


def check_weights(child: ImageChild, step: int, compare: Comparison) -> None:
    """Compares some weights and momenta, and the norms of all.

    Norms are held to the largest: each step starts from the roundings of those before it, and
    the least momenta are little else.
    """
    case, theirs = child.case, child.case.under(f"step{step}/")
    sizes = dict(zip(case.meta["var_norms_order"], theirs["var_norms"], strict=True))
    momenta = child.trainer.optimizer._momentums
    kinds = ("var", "", child.trained), ("mom", "/Momentum", momenta)
    for kind, suffix, variables in kinds:
        ours = child.names.read(child.trained, variables)
        for place, name in enumerate(case.meta["grad_names"]):
            key = f"{kind}{place}"
            compare.check(f"step{step}/{key}", ours[name], theirs[key], GRADIENTS)
        found = [np.linalg.norm(np.ravel(values)) for values in ours.values()]
        wanted = [sizes[f"{name}{suffix}"] for name in ours]
        compare.check(f"step{step}/{kind}_sizes", found, wanted, GRADIENTS)
