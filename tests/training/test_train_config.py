import math
from dataclasses import fields

import pytest

from enas_tf.core.errors import UserError
from enas_tf.core.network_config import CellChildConfig, ImageChildConfig, RnnChildConfig
from enas_tf.training.train_config import CellTrainConfig, ImageTrainConfig, RnnTrainConfig


def test_the_final_network_differs_from_the_searchs_in_what_the_training_sets():
    sizes = {"num_layers": 3, "out_filters": 8}
    search = CellChildConfig(**sizes, aux_weight=0.3, grad_clip=5.0, decay_idle=False)
    final = CellTrainConfig(num_layers=9, out_filters=12, keep_prob=0.7, lr_period=4).child(search)
    assert (final.num_layers, final.out_filters, final.keep_prob, final.lr_period) == (
        9,
        12,
        0.7,
        4,
    )
    assert (final.l2, final.lr_min, final.drop_path_keep_prob) == (2e-4, 0.0001, 0.6)
    assert (final.aux_weight, final.grad_clip, final.decay_idle) == (0.3, 5.0, True)


def test_a_short_training_holds_validation_data_out_and_ends_at_the_lowest_rate():
    short = CellTrainConfig(lr_max=0.1, lr_min=0.0, lr_period=15, batch_size=9).shortened(4)
    assert (short.num_epochs, short.use_validation, short.batch_size) == (4, False, 9)
    child = short.child(CellChildConfig())
    rates = [child.learning_rate_at(epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.1, 0.08535534, 0.05, 0.01464466])
    text = RnnTrainConfig(learning_rate=3.0).shortened(4)
    assert (text.num_epochs, text.learning_rate) == (4, 3.0)


@pytest.mark.parametrize(
    ("train", "child"),
    [
        (ImageTrainConfig, ImageChildConfig),
        (CellTrainConfig, CellChildConfig),
        (RnnTrainConfig, RnnChildConfig),
    ],
)
def test_every_option_that_says_so_is_the_final_networks(train, child):
    """An option whose help says `as child.NAME` decides that value, whatever the search's is."""
    said = [f for f in fields(train) if f.metadata.get("help", "").startswith("as child.")]
    assert len(said) >= 8
    for field in said:
        assert field.metadata["help"].startswith(f"as child.{field.name}, of the final ")
        default = field.default
        value = not default if isinstance(default, bool) else default / 2
        value = default + 2 if isinstance(default, int) and not isinstance(default, bool) else value
        assert getattr(train(**{field.name: value}).child(child()), field.name) == value
        assert getattr(train().child(child(**{field.name: value})), field.name) == default


def test_what_the_final_network_refuses_is_the_trainings_mistake():
    with pytest.raises(UserError, match=r"^train\.num_layers must be at least 3"):
        CellTrainConfig(num_layers=2).child(CellChildConfig())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_epochs": 0}, "train.num_epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "train.batch_size must be at least 1, got 0"),
        ({"max_steps": -1}, "train.max_steps must not be negative, got -1"),
    ],
)
def test_wrong_numbers(numbers, message):
    with pytest.raises(UserError, match=message):
        ImageTrainConfig(**numbers)


@pytest.mark.parametrize("wrong", [{"label_smoothing": 1.0}, {"mixup": -0.1}, {"mixup": math.inf}])
def test_wrong_shares_are_refused(wrong):
    with pytest.raises(UserError, match=f"train.{next(iter(wrong))} must "):
        ImageTrainConfig(**wrong)
