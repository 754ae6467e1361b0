import time
from dataclasses import replace
from functools import partial

import keras
import pytest

from enas_tf.benchmark import cases
from enas_tf.benchmark.base import CASES, BenchmarkConfig
from enas_tf.benchmark.measuring import WARM_UP
from enas_tf.benchmark.subjects import SUBJECTS, random_images, random_text
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.rnn.space import RnnSpace

STEPS = 3


def tiny(space):
    """A space's subject with a small network, little data and two architectures an update."""
    settings = {
        "micro": {"space": MicroSpace(1)},
        "macro": {"space": MacroSpace(3)},
        "rnn": {"space": RnnSpace(2)},
    }[space]
    subject = SUBJECTS[space]
    size = {"hidden_size": 8} if space == "rnn" else {"out_filters": 4}
    paper = subject.settings
    settings["child"] = replace(paper.child, **size)
    settings["train"] = replace(paper.train, **size)
    settings["search"] = replace(paper.search, arcs_per_update=2)
    data = partial(random_text, 3000, 300, 300, 50)
    if space != "rnn":
        data = partial(random_images, 60, 20, 10)
    return replace(subject, settings=replace(paper, **settings), data=data).with_batch(4)


def test_every_name_has_its_case():
    assert tuple(cases.TABLE) == CASES
    assert cases.TABLE["rnn_static"] == (cases.static, SUBJECTS["rnn"])


@pytest.mark.parametrize(
    ("case", "unit", "amount", "batch", "params"),
    [
        # Embedding, entry kernel, and per op and earlier node a kernel of each node.
        ("rnn_search", "tokens", None, 4, 50 * 8 + 2 * 8 * 16 + 4 * (1 + 2) * 8 * 16),
        # One kernel a node.
        ("rnn_static", "tokens", None, 4, 50 * 8 + 2 * 8 * 16 + 2 * 8 * 16),
        ("macro_static", "images", 4, 4, None),
        ("macro_reward", "arcs", 2, 2, None),
        ("rnn_controller", "arcs", 2, 2, None),
        ("macro_sample", "arcs", 100, 100, None),
        ("input_pipeline", "images", 4, 4, 0),
    ],
)
def test_measures(monkeypatch, case, unit, amount, batch, params):
    space = case.split("_")[0] if case != "input_pipeline" else "micro"
    monkeypatch.setitem(cases.TABLE, case, (cases.TABLE[case][0], tiny(space)))
    monkeypatch.setattr(cases, "_BATCHES_AT_ONCE", 2)
    started = time.time()
    result = cases.run(case, BenchmarkConfig(case=case, steps=1), started)
    assert list(result) == [
        "case",
        "device",
        "batch",
        "step_seconds",
        "step_cpu_seconds",
        f"{unit}_per_second",
        "trace_seconds",
        "first_step_seconds",
        "peak_rss_mb",
        "params",
    ]
    assert (result["case"], result["batch"]) == (case, batch)
    # 3,000 words make 749 a row, in 22 sequences.
    amount = amount or 4 * 749 / 22
    assert result[f"{unit}_per_second"] == pytest.approx(amount / result["step_seconds"])
    assert 0 < result["step_seconds"] < time.time() - started
    assert 0 < result["first_step_seconds"] < time.time() - started
    assert params in (None, result["params"])


@pytest.fixture
def float32_afterwards():
    yield
    keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.parametrize("jit_compile", ["true", "false"])
def test_tells_how_long_a_compiled_step_took_to_make(monkeypatch, jit_compile):
    monkeypatch.setitem(cases.TABLE, "macro_static", (cases.static, tiny("macro")))
    config = BenchmarkConfig(steps=1, jit_compile=jit_compile)
    result = cases.run("macro_static", config, time.time())
    assert ("compile_seconds" in result) == (jit_compile == "true")
    # XLA takes far longer to compile this network's gradients than to compute them.
    assert result.get("compile_seconds", 9) > 10 * result["step_seconds"]


def test_precision_is_set_before_anything_is_made(monkeypatch, float32_afterwards):
    def make(subject, total):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise InterruptedError

    monkeypatch.setitem(cases.TABLE, "rnn_search", (make, tiny("rnn")))
    with pytest.raises(InterruptedError):
        cases.run("rnn_search", BenchmarkConfig(precision="mixed_bfloat16"), time.time())


def test_rewards_the_architectures_that_the_controller_draws_first(monkeypatch):
    rewarded = []

    class Recording(cases.Evaluator):
        def rewards(self, tokens, batches):
            rewarded.append(
                (tokens.numpy().tolist(), [float(x.numpy().mean()) for x, _ in inputs(batches)])
            )
            return [0.25, 0.75]

    def inputs(batches):
        return [next(batches) for _ in range(2)]

    monkeypatch.setattr(cases, "Evaluator", Recording)
    for make in (cases.controller, cases.reward):
        keras.utils.set_random_seed(0)
        work = make(tiny("macro"), 2)
        assert (work.batch, work.examples) == (2, "arcs")
        outcome = work.step(0)
    assert rewarded[0] == rewarded[1] and len({*map(tuple, rewarded[0][0])}) == 2
    assert outcome == [0.25, 0.75]


def test_final_is_of_the_published_architecture_at_the_final_sizes(monkeypatch):
    monkeypatch.setattr(cases, "_single_training", lambda subject, domain, arc, task: arc)
    assert str(cases.final(tiny("rnn"), 1)) == "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2"


def test_batch_size_is_of_search_and_training(monkeypatch):
    def make(subject, total):
        settings = subject.settings
        assert (settings.search.batch_size, settings.train.batch_size) == (6, 6)
        assert total == WARM_UP + 2
        raise InterruptedError

    monkeypatch.setitem(cases.TABLE, "rnn_search", (make, tiny("rnn")))
    with pytest.raises(InterruptedError):
        cases.run("rnn_search", BenchmarkConfig(batch=6, steps=2), time.time())


def test_static_holds_the_middle_one_of_the_architectures_that_search_takes(monkeypatch):
    monkeypatch.setattr(cases, "_training", lambda *args: args[-1])
    monkeypatch.setattr(cases, "_single_training", lambda subject, domain, arc, task: arc)
    subject = tiny("macro")
    tokens_of = cases.search(subject, WARM_UP + STEPS)
    arcs = [subject.settings.space.parse(tokens_of(WARM_UP + n)[0].numpy()) for n in range(STEPS)]
    assert len(set(arcs)) == STEPS

    def params(arc):
        return subject.recipe.domain.count_cost(arc, subject.settings, ((32, 32, 3), 10)).params

    middle = sorted(arcs, key=params)[1]
    assert cases.static(subject, WARM_UP + STEPS) == middle
    # And `held` takes no other, at any step.
    tokens_of = cases.held(subject, WARM_UP + STEPS)
    assert all(tuple(tokens_of(n)[0].numpy()) == middle.tokens for n in range(2))
