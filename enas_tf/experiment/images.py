"""Image classification."""

from collections.abc import Callable
from pathlib import Path

import keras

from enas_tf.core.space import Arc
from enas_tf.data.base import ImageData
from enas_tf.data.images import load_images
from enas_tf.experiment.settings import Settings
from enas_tf.export.images import export_images, predict
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.tasks.images import ImageTask, NetworkForward

_SHOWN_IMAGES = 3

Sizes = tuple[tuple[int, int, int], int]
"""Height, width and channels of an image; number of classes."""


class ImageDomain:
    """See `enas_tf.experiment.domain.Domain`.

    Args:
        supernet: called with space, child configuration, image shape, classes, rng, and whether
            to keep moving averages.
        build_network: from an architecture, child configuration, image shape, classes and rng.
        count_cost: from the same but the rng, without building.
    """

    def __init__(
        self,
        supernet: Callable[..., keras.Model],
        build_network: Callable[..., keras.Model],
        count_cost: Callable[..., Cost],
    ) -> None:
        self._supernet = supernet
        self._build_network = build_network
        self._count_cost = count_cost

    def load(self, settings: Settings) -> ImageData:
        """The images, in memory."""
        common = settings.common
        return load_images(common.dataset, common.data_dir, settings.data)

    def labels(self, data: ImageData) -> tuple[str, ...]:
        """The names of the classes."""
        return data.class_names

    def sizes(self, data: ImageData) -> Sizes:
        """Shape of the images and number of classes."""
        return data.image_shape, data.num_classes

    def known_sizes(self, settings: Settings) -> Sizes | None:
        """Those of CIFAR-10."""
        is_known = settings.common.dataset == "cifar10" and not settings.data.image_size
        return ((32, 32, 3), 10) if is_known else None

    def search_task(self, settings: Settings, data: ImageData) -> ImageTask:
        """Cutout is the search's own."""
        return ImageTask(data, settings.data, settings.child, settings.search.cutout)

    def train_task(self, settings: Settings, data: ImageData) -> ImageTask:
        """Trains on the validation split too where the settings say so."""
        child = settings.train.child(settings.child)
        data = data.with_validation() if settings.train.use_validation else data
        return ImageTask(data, settings.data, child, settings.data.cutout)

    def supernet(self, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """With moving averages where rewards go by them."""
        moving = settings.search.reward_bn == "moving"
        return self._supernet(settings.space, settings.child, *sizes, rng, moving)

    def network(self, arc: Arc, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """From images to logits and, where there is such a head, auxiliary logits."""
        return self._build_network(arc, settings.train.child(settings.child), *sizes, rng)

    def forward(self, network: keras.Model) -> NetworkForward:
        """Without the auxiliary head outside training."""
        return NetworkForward(network)

    def count_cost(self, arc: Arc, settings: Settings, sizes: Sizes) -> Cost:
        """For one image, the auxiliary head aside."""
        return self._count_cost(arc, settings.train.child(settings.child), *sizes)

    def example(self, sizes: Sizes) -> str:
        """An image of its size."""
        return f"for an image of {'x'.join(map(str, sizes[0]))}"

    def export(
        self, network: keras.Model, task: ImageTask, folder: Path, arc: str, card: dict
    ) -> Path:
        """A classifier of images."""
        return export_images(network, task.data, folder, arc, card)

    def show(self, version: Path, data: ImageData) -> None:
        """The labels of the first test images."""
        test = data.splits["test"]
        predictions = predict(version, test.images[:_SHOWN_IMAGES])
        for number, (label, probability) in enumerate(predictions):
            truth = data.class_names[test.labels[number]]
            print(
                f"prediction: test image {number} is {label!r} with probability "
                f"{probability:.3f} (its label is {truth!r})"
            )
