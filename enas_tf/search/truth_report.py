"""What a table of true accuracies says of a search: how good its result is, and its rewards.

Reference: Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020, for
ranks by shared weights against true ones.
"""

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.core.space import Space, text_of
from enas_tf.search.derive import DeriveConfig
from enas_tf.search.evaluator import KeptRewards
from enas_tf.search.sampling import draw_uniformly
from enas_tf.search.searched import Searched
from enas_tf.search.statistics import Rewards, difference, spearman
from enas_tf.search.truth import Truth
from enas_tf.training.run_folder import Run

_FILE = "truth.json"

# Uniform draws on which rewards are held against the truth.
_NUM_UNIFORM = 200

_RESAMPLES = 1000


def report_truth(
    searched: Searched, best: Sequence[int], config: DeriveConfig, run: Run, truth: Truth
) -> dict:
    """Holds a derived architecture, and the rewards that chose it, against the truth.

    Random search at equal cost has as many uniform draws as were derived, and takes the one with
    the highest reward. What an earlier, killed call has rewarded is not rewarded again.

    Args:
        searched: the search at its end.
        best: tokens of the derived architecture.
        config: of the derivation.
        run: where `truth.json` goes.
        truth: of all architectures, or of some.

    Returns:
        What `truth.json` holds: the `source`; `derived` and `random_search`, as `standing` gives
        them; `agreement` over uniform draws, and how many these were; None for what the table
        does not have.
    """
    uniform = uniform_draws(searched.algorithm.space, searched.seed, config.num_samples)
    kept = KeptRewards(run, "search/derived.jsonl", searched.step, config.num_batches)
    rewards = searched.evaluator.rewards_on_split(uniform, config.num_batches, kept, "truth")
    of_equal_cost = list(uniform)[: config.num_samples]
    chosen = uniform[max(of_equal_cost, key=rewards.get)]
    known = [text for text in uniform if _accuracy(truth, uniform[text]) is not None]
    accuracies = [truth.accuracy(uniform[text]) for text in known]
    result = {
        "source": truth.source,
        "derived": standing(truth, best),
        "random_search": standing(truth, chosen),
        "draws": len(known),
        "agreement": agreement([rewards[text] for text in known], accuracies, searched.seed),
    }
    run.write_json(_FILE, result)
    for line in in_words(result):
        print(f"truth: {line}")
    return result


def uniform_draws(space: Space, seed: int, at_least: int = 0) -> dict[str, tf.Tensor]:
    """Returns the uniform draws of a search of this seed: tokens, by their texts."""
    rng = random.Random(f"{seed} truth")
    tokens = draw_uniformly(space, max(_NUM_UNIFORM, at_least), rng)
    return {text_of(one.numpy()): one for one in tokens}


def standing(truth: Truth, tokens: Iterable[int]) -> dict[str, float] | None:
    """Returns how good an architecture truly is; None where the table does not have it.

    Returns:
        Its `accuracy` in percent; its `rank` among the `of` known ones, the best being 1; the
        `percentile`, the share of them in percent that are no better; and its `regret`, the points
        that it lacks to the best.
    """
    accuracy = _accuracy(truth, tokens)
    if accuracy is None:
        return None
    all_of_them = truth.accuracies.values()
    rank, number = 1 + sum(one > accuracy for one in all_of_them), len(all_of_them)
    return {
        "accuracy": accuracy,
        "rank": rank,
        "of": number,
        "percentile": 100 * (number - rank + 1) / number,
        "regret": truth.best - accuracy,
    }


def agreement(
    rewards: Sequence[float], accuracies: Sequence[float], seed: int
) -> dict[str, dict[str, float]] | None:
    """Measures how well rewards rank architectures as the truth does.

    Returns:
        Kendall's `tau`, Spearman's `rho`, and the `precision`, the share of the tenth with the
        highest rewards that is of the true best tenth; of each its `value`, and `low` and `high`,
        the ends of its 95 % bootstrap interval (percentiles). None for fewer than ten
        architectures, and where all rewards, or all accuracies, are the same.
    """
    if len(rewards) < 10 or 1 in (len(set(rewards)), len(set(accuracies))):
        return None
    values = _measures(np.array(rewards), np.array(accuracies))
    generator, resampled = np.random.default_rng(seed), []
    for _ in range(_RESAMPLES):
        some = generator.integers(0, len(rewards), len(rewards))
        resampled.append(_measures(np.array(rewards)[some], np.array(accuracies)[some]))
    low, high = np.nanpercentile(resampled, [2.5, 97.5], axis=0)
    return {
        name: {"value": value, "low": float(low[place]), "high": float(high[place])}
        for place, (name, value) in enumerate(zip(("tau", "rho", "precision"), values, strict=True))
    }


def truth_of_sets(
    truth: Truth, sets: Mapping[str, Sequence[str]], known: Rewards, seed: int
) -> dict | None:
    """Compares the true accuracies of a comparison's two sets; None with too few of either.

    Args:
        truth: the table.
        sets: the texts of what was drawn, as `controller` and as `uniform`.
        known: rewards of all of them.
        seed: of the resampling.

    Returns:
        The `source`; the mean accuracies of `controller` and `uniform`; their `difference`, in
        points; and the `agreement` of rewards with the truth, over so many distinct uniform
        `draws`.
    """
    accuracies = {
        name: [a for a in (_accuracy(truth, text.split()) for text in texts) if a is not None]
        for name, texts in sets.items()
    }
    if min(map(len, accuracies.values())) < 2:
        return None
    uniform = {t: _accuracy(truth, t.split()) for t in sets["uniform"]}
    uniform = {text: accuracy for text, accuracy in uniform.items() if accuracy is not None}
    rewards = [known[text] for text in uniform]
    return {
        "source": truth.source,
        **{name: statistics.fmean(values) for name, values in accuracies.items()},
        "difference": difference(accuracies["controller"], accuracies["uniform"], seed),
        "draws": len(uniform),
        "agreement": agreement(rewards, list(uniform.values()), seed),
    }


def truth_of_trained(truth: Truth, trained: Sequence[Mapping], seed: int) -> dict | None:
    """Holds both rewards of architectures that were trained alone against the truth.

    Args:
        truth: the table.
        trained: each with its `arc`, its `reward` by shared weights and its `stand_alone_reward`.
        seed: of the resampling.

    Returns:
        How many the table has, as `count`; and the `agreement` of their rewards, as `shared` and
        as `alone`. None where either has none.
    """
    found = {one["arc"]: _accuracy(truth, one["arc"].split()) for one in trained}
    known = [one for one in trained if found[one["arc"]] is not None]
    accuracies = [found[one["arc"]] for one in known]
    shared, alone = (
        agreement([one[name] for one in known], accuracies, seed)
        for name in ("reward", "stand_alone_reward")
    )
    return {"count": len(known), "shared": shared, "alone": alone} if shared and alone else None


def in_words(result: Mapping) -> list[str]:
    """Returns what `truth.json` says, a sentence each."""
    lines = []
    for name, what in (
        ("derived", "the derived architecture"),
        ("random_search", "the best by the same rewards among as many uniform draws"),
    ):
        found = result[name]
        if found is None:
            lines.append(f"{result['source']} does not have {what}.")
            continue
        lines.append(
            f"{what} truly reaches {found['accuracy']:.2f}: rank {found['rank']:,} of "
            f"{found['of']:,}, among the best {100 * found['rank'] / found['of']:.2f} %, "
            f"{found['regret']:.2f} points below the best ({result['source']})."
        )
    if result["agreement"]:
        lines.append(agreement_in_words(result["agreement"], result["draws"]))
    return lines


def truth_in_words(found: Mapping | None) -> list[str]:
    """Returns what a table says of a comparison's two sets, a sentence each."""
    if not found:
        return []
    gap = found["difference"]
    lines = [
        f"Their true accuracies are {found['controller']:.2f} and {found['uniform']:.2f} on "
        f"average: {gap['mean']:+.2f} points (95 % interval {gap['low']:+.2f} to "
        f"{gap['high']:+.2f})."
    ]
    if found["agreement"]:
        words = agreement_in_words(found["agreement"], found["draws"])
        lines.append(words[0].upper() + words[1:])
    if trained := found.get("trained"):
        shared, alone = (_shown(trained[name]["tau"]) for name in ("shared", "alone"))
        lines.append(
            f"Of the {trained['count']} that were trained alone, the short trainings rank as the "
            f"truth does to Kendall's tau {alone}, and shared weights to {shared}."
        )
    return lines


def agreement_in_words(found: Mapping, draws: int) -> str:
    """Returns how well rewards rank, with intervals of 95 %, in words."""
    shown = {name: _shown(one) for name, one in found.items()}
    return (
        f"over {draws} uniform draws, rewards rank as the truth does to Kendall's tau "
        f"{shown['tau']} and Spearman's rho {shown['rho']}; of the tenth with the highest rewards, "
        f"a part of {shown['precision']} is truly of the best tenth."
    )


def _shown(measure: Mapping[str, float]) -> str:
    return f"{measure['value']:.2f} ({measure['low']:.2f} to {measure['high']:.2f})"


def _accuracy(truth: Truth, tokens: Iterable[int] | tf.Tensor) -> float | None:
    try:
        return truth.accuracy(tokens)
    except UserError:
        return None


def _measures(rewards: np.ndarray, accuracies: np.ndarray) -> tuple[float, float, float]:
    from scipy import stats  # half a second, which a search does not need

    # Not a number where all rewards are equal, of which scipy warns.
    if np.ptp(rewards) == 0 or np.ptp(accuracies) == 0:
        return (float("nan"),) * 3
    tenth = max(1, len(rewards) // 10)
    best = set(np.argsort(-accuracies, kind="stable")[:tenth])
    chosen = set(np.argsort(-rewards, kind="stable")[:tenth])
    return (
        float(stats.kendalltau(rewards, accuracies).statistic),
        spearman(rewards, accuracies),
        len(best & chosen) / tenth,
    )
