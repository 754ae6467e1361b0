import pytest

from enas_tf.benchmark.base import CASES, BenchmarkConfig, table
from enas_tf.core.errors import UserError


def test_all_is_every_case_that_needs_no_export():
    assert BenchmarkConfig().cases == CASES
    assert len(CASES) == 22
    assert BenchmarkConfig(case="rnn_static,macro_final").cases == ("rnn_static", "macro_final")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"case": "micro_search,micro"}, ["'micro'", *CASES, "serving"]),
        ({"case": "serving"}, ["--export_dir"]),
        ({"case": "serving", "export_dir": "/no/where"}, ["/no/where holds no saved_model.pb"]),
        ({"steps": 0}, ["steps", "got 0"]),
        ({"batch": -1}, ["batch", "got -1"]),
    ],
)
def test_says_what_is_wrong(options, words):
    with pytest.raises(UserError) as caught:
        BenchmarkConfig(**options)
    assert all(word in str(caught.value) for word in words)


def test_table_has_a_column_for_every_field():
    results = [
        {"case": "a", "step_seconds": 0.123456, "params": 41344},
        {"case": "bc", "latency_ms": {"1": 2.0}, "peak_rss_mb": 1234.5},
    ]
    assert table(results).splitlines() == [
        "case  step_seconds  params  latency_ms  peak_rss_mb",
        "   a        0.1235  41,344                         ",
        "  bc" + " " * 30 + "1: 2" + " " * 8 + "1,234",
    ]
