"""Statistics of a controller's draws, which show what it prefers and whether it has learnt."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from enas_tf.core.space import Arc, Space
from enas_tf.search.algorithm import Algorithm
from enas_tf.search.controller import Draws
from enas_tf.search.truth import Truth
from enas_tf.training.session import Session

# A share of all drawn ops. A hundred draws have at least a hundred ops, so chance is far below it.
_COLLAPSED_SHARE = 0.95

# Of all drawn architectures. Uniform draws in the smallest spaces of cells hold a twentieth.
_WEIGHTLESS_SHARE = 0.5

# In nats. By Pinsker's inequality, the total variation is then at most 0.1: nine of ten draws
# could be the other distribution's as well.
_UNMOVED_DIVERGENCE = 0.02


class ControllerMonitor:
    """Follows how an algorithm's draws develop, and warns of problems.

    Args:
        algorithm: before it has learnt anything.
        start: what it drew then; a hundred architectures at least.
        epochs: those of the search in which the algorithm learns.
        truth: true accuracies, to report those of what is drawn.
    """

    def __init__(
        self, algorithm: Algorithm, start: Draws, epochs: range, truth: Truth | None = None
    ) -> None:
        self._algorithm = algorithm
        self._start = start
        self._truth = truth
        # A controller may need most of a search to leave the start, and then be quick.
        self._late_epoch = epochs.start + math.ceil(0.75 * len(epochs)) - 1
        self._drawn: Arc | None = None

    def report(
        self,
        session: Session,
        epoch: int,
        arcs: Sequence[Arc],
        rewards: Sequence[float],
        uniform: Sequence[float],
    ) -> None:
        """Records how the controller does, warns of problems, and draws the best architecture.

        The record holds `reward`, `best_reward`, `uniform_reward`, `gap` and `gap_error`, the
        number of `distinct` architectures, the `divergence` of the controller's distribution from
        that at the start, and how often `ops` and `inputs` stand in the architectures. With true
        accuracies also their mean over the architectures, `truth`, and over all that are known,
        `uniform_truth`.

        Args:
            session: session of the search.
            epoch: the epoch that has ended.
            arcs: architectures drawn just now, at least a hundred.
            rewards: rewards of the first of them.
            uniform: as many rewards of uniform draws, as for `gap`.
        """
        now = self._algorithm.log_prob(self._start.tokens)
        moved = divergence(self._start.log_prob.numpy(), now.numpy())
        space = self._algorithm.space
        counts = {"ops": count_ops(space, arcs), "inputs": count_inputs(space, arcs)}
        session.record(
            "valid",
            epoch,
            counts,
            reward=statistics.fmean(rewards),
            best_reward=max(rewards),
            uniform_reward=statistics.fmean(uniform),
            **gap(rewards, uniform),
            distinct=len(set(arcs)),
            divergence=moved,
            **self._true_means(arcs),
        )
        for warning in (
            *self._warnings(epoch, moved, counts["ops"], session.state),
            *self._weightless(arcs, session.state),
        ):
            session.note(warning)
        best = arcs[rewards.index(max(rewards))]
        if best != self._drawn:
            from enas_tf.reporting.drawing import (
                figure,  # imported late: matplotlib would delay each start by half a second
            )

            session.metrics.draw(
                "valid/best_architecture", figure(space.graphs(best)), session.step
            )
            self._drawn = best

    def _true_means(self, arcs: Sequence[Arc]) -> dict[str, float]:
        """Returns the mean true accuracy of the draws that are known, and of the whole table."""
        if self._truth is None:
            return {}
        known = self._truth.accuracies
        found = [known[arc.tokens] for arc in arcs if arc.tokens in known]
        mine = {"truth": statistics.fmean(found)} if found else {}
        return mine | {"uniform_truth": self._truth.mean}

    def _weightless(self, arcs: Sequence[Arc], state: dict) -> Iterator[str]:
        """Yields a warning, once, where a learner has come to draw what has no weights."""
        space = self._algorithm.space
        names = space.weightless_ops
        weightless = {op for op, name in enumerate(space.ops) if name in names}
        share = statistics.fmean(weightless.issuperset(arc.ops) for arc in arcs)
        if not self._algorithm.learns or share < _WEIGHTLESS_SHARE or state.get("weightless"):
            return
        state["weightless"] = True
        yield (
            f"warning: {share:.0%} of the architectures that the controller draws have none but "
            f"ops without weights ({', '.join(names)}); shared weights that are trained too little "
            "reward these, since they need no training: try more --search.max_steps or "
            "--search.num_epochs in another --workdir"
        )

    def _warnings(
        self, epoch: int, moved: float, ops: Mapping[str, int], state: dict
    ) -> Iterator[str]:
        """Yields warnings about a controller that is meant to learn, each only once."""
        if not self._algorithm.learns:
            return
        op = max(ops, key=ops.get)
        share = ops[op] / sum(ops.values())
        if share > _COLLAPSED_SHARE and not state.get("collapsed"):
            state["collapsed"] = True
            yield (
                f"warning: the controller has collapsed: {share:.0%} of the ops that it draws are "
                f"{op}; unless compare shows that these architectures are better than chance, try "
                "a larger --controller.entropy_weight or a lower --controller.learning_rate in "
                "another --workdir"
            )
        if moved < _UNMOVED_DIVERGENCE and epoch == self._late_epoch:
            yield (
                "warning: three quarters of the controller's epochs are over, and it still draws "
                f"as it did at the start (divergence {moved:.4f} nats); try a higher "
                "--controller.learning_rate, a lower --controller.epsilon or more "
                "--search.updates_per_epoch in another --workdir"
            )


def count_ops(space: Space, arcs: Iterable[Arc]) -> dict[str, int]:
    """Counts how often each op of a space occurs in architectures, by its name."""
    counts = Counter(op for arc in arcs for op in arc.ops)
    return {name: counts[op] for op, name in enumerate(space.ops)}


def count_inputs(space: Space, arcs: Iterable[Arc]) -> dict[str, int]:
    """Counts how often each entry of a space is chosen as an input, by its name."""
    counts = Counter(entry for arc in arcs for entry in arc.inputs)
    return {name: counts[entry] for entry, name in enumerate(space.entries)}


def gap(rewards: Sequence[float], uniform: Sequence[float]) -> dict[str, float]:
    """Computes by how much the rewards of drawn architectures exceed those of uniform draws.

    Args:
        rewards: rewards of drawn architectures, at least two.
        uniform: as many rewards of uniform draws, each on the same data as the reward in its
            place.

    Returns:
        `gap`, the mean of the differences, and `gap_error`, the standard error of this mean.
    """
    differences = [mine - other for mine, other in zip(rewards, uniform, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return {"gap": statistics.fmean(differences), "gap_error": error}


def divergence(start: np.ndarray, now: np.ndarray) -> float:
    """Estimates the Kullback-Leibler divergence of a distribution from its start, in nats.

    The estimate is the mean of `r - 1 - log r`, where `r` is the probability of a draw now over
    that at the start. It has less noise than the mean of `-log r`, and is 0 if nothing has changed.

    Args:
        start: log-probabilities of draws when they were drawn, `(n,)`.
        now: log-probabilities of the same draws now, `(n,)`.
    """
    log_ratios = np.asarray(now, np.float64) - start
    return float(np.mean(np.expm1(log_ratios) - log_ratios))
