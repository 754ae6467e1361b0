import json
import math

from enas_tf.rnn.space import RnnSpace
from enas_tf.search import arcs_log
from enas_tf.training.run_folder import Run

ARCS = [RnnSpace(1).parse(text) for text in ("0 0", "0 1", "0 2")]


def lines(run):
    return [json.loads(line) for line in run.path("search/arcs.jsonl").read_text().splitlines()]


def test_an_epoch_that_is_done_again_stands_there_once(tmp_path):
    run = Run(tmp_path)
    arcs_log.write_epoch(run, 0, ARCS, [0.1, 0.2])
    arcs_log.write_epoch(run, 1, ARCS[:1], [0.3])
    arcs_log.write_epoch(run, 1, ARCS[2:], [0.5])
    assert lines(run) == [
        {"epoch": 0, "arc": "0 0", "reward": 0.1},
        {"epoch": 0, "arc": "0 1", "reward": 0.2},
        {"epoch": 1, "arc": "0 2", "reward": 0.5},
    ]


def test_a_reward_that_is_no_number_is_null(tmp_path):
    arcs_log.write_epoch(Run(tmp_path), 0, ARCS, [math.nan])
    assert lines(Run(tmp_path)) == [{"epoch": 0, "arc": "0 0", "reward": None}]
