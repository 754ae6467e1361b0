"""The statistics of a comparison with chance, with their uncertainty."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

# The confidence level of the difference's interval, and of whether a correlation is significant.
_LEVEL = 0.95

Rewards = Mapping[str, float]
"""The rewards of architectures, by their text."""


def difference(
    controller: Sequence[float], uniform: Sequence[float], seed: int
) -> dict[str, float]:
    """Computes the mean reward of the controller minus that of uniform draws.

    Args:
        controller: the reward of each draw from the controller.
        uniform: the reward of each uniform draw.
        seed: seed of the resampling.

    Returns:
        The `mean` difference; and `low` and `high`, the ends of its 95 % bootstrap interval
        (percentiles).
    """
    from scipy import stats  # imported late: it takes half a second, and a search needs none of it

    samples = [np.array(rewards) for rewards in (controller, uniform)]

    def difference_of_means(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    interval = stats.bootstrap(
        samples,
        difference_of_means,
        confidence_level=_LEVEL,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    mean = difference_of_means(*samples, axis=0)
    return {"mean": float(mean), "low": float(interval.low), "high": float(interval.high)}


def rank_correlation(trained: list[dict]) -> dict[str, float]:
    """Computes Kendall's `tau` and its `p_value` between shared-weight and stand-alone rewards.

    Both are NaN if there are fewer than two architectures or all rewards of one kind are equal.
    """
    from scipy import stats

    pairs = [(one["reward"], one["stand_alone_reward"]) for one in trained]
    if len(pairs) < 2:
        return {"tau": math.nan, "p_value": math.nan}
    found = stats.kendalltau(*zip(*pairs, strict=True))
    return {"tau": float(found.statistic), "p_value": float(found.pvalue)}


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Computes Spearman's rank correlation; NaN if all numbers of one kind are equal."""
    from scipy import stats

    # Of equal numbers scipy warns.
    if len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    return float(stats.spearmanr(first, second).statistic)


def difference_in_words(result: Mapping) -> str:
    """Describes what rewards with shared weights say about the controller, with uncertainty."""
    gap, controller, uniform = (result[n] for n in ("difference", "controller", "uniform"))
    text = (
        f"The controller's architectures reach a reward of {controller['mean']:.4f} on average, "
        f"uniform draws {uniform['mean']:.4f}: "
    )
    interval = f"{gap['mean']:+.4f} (95 % interval {gap['low']:+.4f} to {gap['high']:+.4f})"
    if gap["low"] > 0:
        text += f"better, {interval}."
    elif gap["high"] < 0:
        text += f"worse, {interval}."
    else:
        text += f"{interval}, no difference that this many draws could show."
    if result["kind"] == "random":
        text += " The controller is random and has learnt nothing, so that none is expected."
    return text


def ranks_in_words(result: Mapping) -> str:
    """Describes whether shared-weight rewards rank architectures as trainings from scratch do."""
    tau, p_value = (result["rank_correlation"][name] for name in ("tau", "p_value"))
    epochs, number = result["config"]["epochs"], len(result["trained"])
    if number < 2:
        return "Too few trainings from scratch ended well to say anything of ranks."
    text = f"Of {number} architectures trained from scratch (epochs: {epochs}), "
    if math.isnan(tau):
        return text + "the rewards of one kind are all equal, so that ranks say nothing."
    text += f"the ranks agree with those by shared weights to Kendall's tau {tau:.2f}"
    text += f" (p = {p_value:.3f}"
    if p_value < 1 - _LEVEL:
        return text + "), which chance alone would hardly give."
    return text + "), which chance alone could give too."
