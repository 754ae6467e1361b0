import pytest
import tensorflow as tf

from enas_tf.training.session import Schedule, Session, Stage
from tests import tiny
from tests.training.test_session import read


class Stages:
    """Two stages of two and three steps, whose steps and epochs' ends it lists."""

    def __init__(self, folder, killed_at=None, rests=0):
        self.done, self.killed_at, self.counted = [], killed_at, tf.Variable(0)
        controller = Stage(3, self.run_by("controller"), first_epoch=rests)
        schedule = Schedule(2, [Stage(2, self.run_by("child")), controller], self.end, self.start)
        assert schedule.total_steps == 10 - 3 * rests
        self.session = Session(folder, {"counted": self.counted}, schedule, "images", "search")

    def start(self, retries):
        self.done.append(("start", retries))

    def end(self, session, epoch):
        self.done.append(("end", epoch, session.step))

    def run_by(self, phase):
        def run(session, epoch, left):
            self.done.append((phase, epoch, list(left)))
            for number in left:
                if session.step == self.killed_at:
                    raise tiny.Killed
                self.counted.assign_add(1)
                loss = {"loss": tf.constant(1.0)}
                session.advance(phase, epoch, 1, loss, number == left[-1])

        return run


def test_runs_the_stages_of_every_epoch_in_turn(tmp_path):
    stages = Stages(tmp_path)
    stages.session.run()
    stages.session.close()
    wanted = [("start", 0)]
    for epoch in (0, 1):
        wanted += [("child", epoch, [0, 1]), ("controller", epoch, [0, 1, 2])]
        wanted += [("end", epoch, 5 + 5 * epoch)]
    assert stages.done == wanted
    assert [(r["phase"], r["step"]) for r in read(tmp_path)] == [
        *(("child", 2), ("controller", 5)),
        *(("child", 7), ("controller", 10)),
    ]
    # What has come to its end does nothing.
    again = Stages(tmp_path)
    again.session.run()
    again.session.close()
    assert again.done == [("start", 0)] and again.session.done


@pytest.mark.parametrize(
    ("killed_at", "left"),
    [
        (1, [("child", 0, [0, 1]), "end", ("child", 1, [0, 1]), ("controller", 1, [0, 1, 2])]),
        (2, [("child", 1, [0, 1]), ("controller", 1, [0, 1, 2])]),
        (5, [("child", 1, [0, 1]), ("controller", 1, [0, 1, 2])]),
    ],
)
def test_a_stage_may_begin_in_a_later_epoch(tmp_path, killed_at, left):
    killed = Stages(tmp_path, killed_at, rests=1)
    with pytest.raises(tiny.Killed):
        killed.session.run()
    killed.session.close()
    resumed = Stages(tmp_path, rests=1)
    resumed.session.run()
    resumed.session.close()
    done = [one if one[0] != "end" else "end" for one in resumed.done]
    assert done == [("start", 0), *left, "end"]
    assert resumed.done[-1] == ("end", 1, 7) and int(resumed.counted) == 7


@pytest.mark.parametrize(
    ("killed_at", "left"),
    [
        (4, [("child", 0, [0, 1]), ("controller", 0, [0, 1, 2])]),
        (6, [("child", 1, [1]), ("controller", 1, [0, 1, 2])]),
        (7, [("controller", 1, [0, 1, 2])]),
        (9, [("controller", 1, [2])]),
    ],
    ids=["before any checkpoint", "amid a stage", "between two", "before the last step"],
)
def test_goes_on_with_the_steps_that_a_stage_has_left(tmp_path, monkeypatch, killed_at, left):
    # Checkpoints at every step of the second epoch.
    advance = Session.advance

    def saving(self, *args):
        advance(self, *args)
        if self.step > 5:
            self.save()

    monkeypatch.setattr(Session, "advance", saving)
    killed = Stages(tmp_path, killed_at)
    with pytest.raises(tiny.Killed):
        killed.session.run()
    killed.session.close()
    resumed = Stages(tmp_path)
    resumed.session.run()
    resumed.session.close()
    stages = [one for one in resumed.done if one[0] in ("child", "controller")]
    assert stages[: len(left)] == left
    assert resumed.done[-1] == ("end", 1, 10) and int(resumed.counted) == 10
