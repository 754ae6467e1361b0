import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.training.cluster import find_cluster
from tests.launching import launch

SLURM = {
    "JOB_ID": "1002003",
    "STEP_NODELIST": "gpu[9-10],big",
    "STEP_NUM_TASKS": "5",
    "STEP_TASKS_PER_NODE": "2(x2),1",
    "PROCID": "3",
    "NODEID": "1",
    "LOCALID": "1",
}


@pytest.fixture
def slurm(monkeypatch):
    """Sets Slurm's variables, with some of them changed or, by None, missing."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def set_variables(**changes):
        for name, value in (SLURM | changes).items():
            if value is None:
                monkeypatch.delenv(f"SLURM_{name}", raising=False)
            else:
                monkeypatch.setenv(f"SLURM_{name}", value)

    return set_variables


def test_slurms_tasks_are_numbered_by_its_list_of_nodes(slurm):
    slurm()
    found = find_cluster()
    # By name, gpu10 would come before gpu9. The ports are those of job 3 of a thousand.
    assert found.cluster_spec().as_dict() == {
        "worker": ["gpu9:12048", "gpu9:12049", "gpu10:12048", "gpu10:12049", "big:12048"]
    }
    assert (found.task_type, found.task_id) == ("worker", 3)
    assert found.num_accelerators() == {"GPU": 0}


def test_tf_config_counts_before_slurm(slurm, monkeypatch):
    slurm()
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}',
    )
    found = find_cluster()
    assert found.cluster_spec().as_dict() == {"worker": ["a:1", "b:1"]}
    assert (found.task_type, found.task_id) == ("worker", 1)


@pytest.mark.parametrize(
    ("changes", "seen", "own"),
    [
        ({}, 4, [2, 3]),
        ({"PROCID": "2", "LOCALID": "0"}, 5, [0, 1]),
        # The only task of its node.
        ({"PROCID": "4", "NODEID": "2", "LOCALID": "0"}, 3, [0, 1, 2]),
        # Slurm has given each task its own.
        ({"GPUS_PER_TASK": "4"}, 4, None),
        ({"TRES_PER_TASK": "gres/gpu=2"}, 2, None),
        ({}, 1, None),
    ],
)
def test_tasks_that_see_the_same_gpus_share_them(slurm, monkeypatch, changes, seen, own):
    slurm(**changes)
    taken = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(seen)))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: taken.append(gpus))
    find_cluster()
    assert taken == ([] if own is None else [own])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not set: start the processes by srun"),
        ({"STEP_NODELIST": "a[1"}, "name no cluster with this task: SLURM_JOB_ID=1002003, "),
        ({"STEP_TASKS_PER_NODE": "many"}, "name no cluster with this task"),
        ({"PROCID": "5"}, "name no cluster with this task"),
        ({"JOB_ID": "one"}, "name no cluster with this task"),
        # Cyclic: the tasks 0 to 2 on one node each, then again from the first one on.
        ({"NODEID": "0"}, "task 3 on node 0 of the job, where node 1 .* srun --distribution=block"),
        (dict.fromkeys(SLURM), "TF_CONFIG, such as .* or by those that Slurm's srun sets; it has"),
    ],
)
def test_variables_that_name_no_cluster_are_refused(slurm, changes, line):
    slurm(**changes)
    with pytest.raises(UserError, match=line):
        find_cluster()


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        '{"cluster": []}',
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": 0}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": "one"}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_tf_config_without_this_process_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG must name all processes of the job"):
        find_cluster()


def test_a_tf_config_that_is_not_json_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(UserError, match="TF_CONFIG is not JSON"):
        find_cluster()


def test_a_launcher_tells_that_there_is_no_job(tmp_path):
    done = launch("search", "--strategy=multiworker", f"--workdir={tmp_path}", launcher="ptb_rnn")
    assert done.status == 2
    assert "it has neither" in done.stderr and "Traceback" not in done.stderr
