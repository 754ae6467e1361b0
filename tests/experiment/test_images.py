"""What is said of images before anything is trained on them."""

from enas_tf.data.base import ImageData
from enas_tf.micro.recipe import CIFAR_MICRO
from tests import tiny

PAPER = CIFAR_MICRO.presets["paper"]


def notes(data: ImageData, **values) -> list[str]:
    sizes, *more = CIFAR_MICRO.domain.summary(PAPER.changed(values), data)
    assert sizes.startswith("images: ") and sizes.endswith(f"classes: {data.num_classes}")
    return more


def test_a_training_whose_rate_does_not_fall_to_its_end_is_noted():
    assert notes(tiny.data()) == []
    assert notes(tiny.data(), **{"train.num_epochs": 50}) == [
        "note: the final training ends at a learning rate of 0.027, in the middle of a period; "
        "--train.lr_period=50 lets it fall to 0.0001 in its 50 epochs"
    ]
    assert notes(tiny.data(), **{"train.num_epochs": 50, "train.lr_period": 50}) == []
    constant = {"train.num_epochs": 50, "train.lr_min": 0.1, "train.lr_max": 0.1}
    assert notes(tiny.data(), **constant) == []
