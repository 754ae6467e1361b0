import json
from dataclasses import replace

import pytest

from enas_tf.core.errors import UserError
from enas_tf.experiment.settings import free_settings, run_config
from enas_tf.micro.recipe import CIFAR_MICRO

PAPER = CIFAR_MICRO.presets["paper"]


def test_the_first_preset_is_the_papers():
    assert list(CIFAR_MICRO.presets) == ["paper", "paper_text", "tiny"]
    for name, settings in CIFAR_MICRO.presets.items():
        assert settings.common.preset == name


def test_the_authors_micro_search():
    search, child = PAPER.search, PAPER.child
    assert (search.batch_size, search.num_epochs, search.max_steps) == (160, 150, 0)
    assert (child.num_layers, child.out_filters, PAPER.space.num_nodes) == (6, 20, 5)
    assert (child.keep_prob, child.drop_path_keep_prob, child.l2) == (0.9, 1.0, 1e-4)
    assert (child.lr_max, child.lr_min, child.lr_period, child.lr_period_factor) == (
        *(0.05, 0.0005),
        *(10, 2),
    )
    assert (child.aux_head, child.aux_weight, child.momentum, child.grad_clip) == (
        True,
        0.4,
        0.9,
        0,
    )
    assert (search.updates_per_epoch, search.arcs_per_update, search.cutout) == (30, 10, 0)


def test_the_authors_micro_final_training():
    train, child = PAPER.train, PAPER.train.child(PAPER.child)
    assert (train.batch_size, train.num_epochs, train.use_validation) == (144, 630, True)
    assert (child.num_layers, child.out_filters) == (15, 36)
    assert (child.keep_prob, child.drop_path_keep_prob, child.l2) == (0.8, 0.6, 2e-4)
    assert (child.lr_max, child.lr_min, child.aux_head) == (0.05, 0.0001, True)
    assert PAPER.data.cutout == 16 and PAPER.data.pad == 4


def test_the_authors_micro_controller():
    controller = PAPER.controller
    assert (controller.lstm_size, controller.temperature) == (64, 0)
    assert (controller.tanh_constant, controller.op_tanh_reduce) == (1.1, 2.5)
    assert (controller.learning_rate, controller.beta_1, controller.epsilon) == (0.0035, 0, 1e-3)
    assert (controller.entropy_weight, controller.baseline_decay) == (1e-4, 0.99)
    assert controller.init_range == 0.1


def test_what_the_papers_text_says_otherwise():
    settings = CIFAR_MICRO.presets["paper_text"]
    controller = settings.controller
    assert (controller.learning_rate, controller.tanh_constant) == (0.00035, 2.5)
    assert (controller.temperature, controller.entropy_weight) == (5.0, 0.1)
    assert (settings.child.lr_max, settings.child.lr_min, settings.child.l2) == (0.05, 0.001, 1e-4)
    assert (settings.train.lr_min, settings.train.l2) == (0.001, 1e-4)
    # All else is the scripts'.
    assert replace(settings, child=PAPER.child, controller=PAPER.controller).search == PAPER.search


def test_tiny_runs_offline():
    assert CIFAR_MICRO.presets["tiny"].common.dataset == "digits"


def test_a_runs_config_is_all_but_what_one_command_asks_for():
    common = replace(PAPER.common, workdir="a", arc="b", overwrite=True, strategy="one", seed=3)
    config = run_config(replace(PAPER, common=common))
    json.dumps(config)
    other = replace(common, workdir="c", arc="d", overwrite=False)
    assert run_config(replace(PAPER, common=other)) == config
    assert run_config(replace(PAPER, common=replace(common, seed=4))) != config
    assert config["strategy"] == "one" and config["compare"]["num_samples"] == 100
    assert set(free_settings(PAPER)) < set(config)
    assert (config["seed"], config["precision"], config["dataset"]) == (3, "float32", "cifar10")
    assert config["child"]["out_filters"] == 20 and config["space"] == {
        "num_nodes": 5,
        "ops": "5",
    }


def test_a_final_network_that_cannot_be_built_is_told_before_the_search():
    with pytest.raises(UserError, match=r"^train\.out_filters must be even"):
        replace(PAPER, train=replace(PAPER.train, out_filters=5))
