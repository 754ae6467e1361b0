from dataclasses import fields, replace

from enas_tf.nasbench201.recipe import NASBENCH201

PAPER, ROBUST = NASBENCH201.presets["paper"], NASBENCH201.presets["robust"]


def test_every_preset_bears_its_name():
    assert list(NASBENCH201.presets) == ["paper", "paper_text", "robust", "tiny"]
    for name, settings in NASBENCH201.presets.items():
        assert settings.common.preset == name


def test_robust_differs_from_paper_in_the_search_alone():
    differ = {f.name for f in fields(PAPER) if getattr(PAPER, f.name) != getattr(ROBUST, f.name)}
    assert differ == {"common", "child", "controller", "search"}
    assert replace(ROBUST.common, preset="paper") == PAPER.common
    assert ROBUST.train.child(ROBUST.child) == PAPER.train.child(PAPER.child)


def test_robust_trains_shared_weights_at_one_rate_and_first_alone():
    child, search = ROBUST.child, ROBUST.search
    assert {child.learning_rate_at(epoch) for epoch in range(search.num_epochs)} == {0.1}
    assert not child.decay_idle and search.sampling == "fair"
    # What is kept for the ranking is of epochs in which the controller learns.
    assert 1 < search.snapshots <= search.num_epochs - search.warmup_epochs
