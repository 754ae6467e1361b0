"""The domain of image classification."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from enas_tf.core.space import Arc
from enas_tf.data.base import ImageData
from enas_tf.data.images import load_images
from enas_tf.experiment.settings import Settings
from enas_tf.export.images import export_images, predict
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.final_weights import Named
from enas_tf.layers.listing import Block, ListingBlocks
from enas_tf.tasks.images import ImageTask, NetworkForward, Objective

_SHOWN_IMAGES = 3

# In pixels; an eighth of it still has room for two reductions.
_LARGE_SIDE = 96

_OF_CLASSES = ("classifier/kernel", "classifier/bias", "aux_head/dense")

Sizes = tuple[tuple[int, int, int], int]
"""The height, width and channels of an image, and the number of classes."""


class ImageDomain:
    """The `enas_tf.experiment.domain.Domain` of image classification.

    Args:
        supernet: a callable that builds the supernet from a space, a child configuration, the
            image shape, the number of classes, an rng, and whether to keep moving averages.
        build_network: a callable that builds a final network from an architecture, a child
            configuration, the image shape, the number of classes and an rng.
        count_cost: a callable that counts the cost of that network from the same arguments
            without the rng, without building it; a last argument gives the blocks that count.
    """

    formats = ("saved_model", "tflite")
    lower_is_better = False

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
        """Loads the images into memory or, if they are many, finds them on disk."""
        common = settings.common
        return load_images(common.dataset, common.data_dir, settings.data)

    def summary(self, settings: Settings, data: ImageData) -> list[str]:
        """Returns the numbers and the shape of the images, and what to consider for them."""
        counts = ", ".join(f"{len(split):,} of {name}" for name, split in data.splits.items())
        shape = "x".join(map(str, data.image_shape))
        lines = [f"images: {counts}; {shape}, classes: {data.num_classes}"]
        child, epochs = settings.train.child(settings.child), settings.train.num_epochs
        if child.ends_high(epochs):
            lines.append(
                "note: the final training ends at a learning rate of "
                f"{child.learning_rate_at(epochs - 1):.2g}, in the middle of a period; "
                f"--train.lr_period={epochs} lets it fall to {child.lr_min:g} in "
                f"its {epochs} epochs"
            )
        if min(data.image_shape[:2]) >= _LARGE_SIDE and child.stem == "cifar":
            lines.append(
                "note: images as large as these take long at full resolution; "
                "--child.stem=imagenet works on an eighth of each side"
            )
        return lines

    def labels(self, data: ImageData) -> tuple[str, ...]:
        """Returns the names of the classes."""
        return data.class_names

    def relabel(
        self, weights: Named, network: keras.Model, old: Sequence[str], new: Sequence[str]
    ) -> tuple[Named, str]:
        """Leaves out the weights of the classifiers' last layers."""
        kept = {path: weight for path, weight in weights.items() if path not in _OF_CLASSES}
        return kept, "its classes are others"

    def sizes(self, data: ImageData) -> Sizes:
        """Returns the shape of the images and the number of classes."""
        return data.image_shape, data.num_classes

    def known_sizes(self, settings: Settings) -> Sizes | None:
        """Returns the sizes of CIFAR-10 if the settings use it as it is, else None."""
        is_known = settings.common.dataset == "cifar10" and not settings.data.image_size
        return ((32, 32, 3), 10) if is_known else None

    def metric(self, settings: Settings) -> str:
        """Returns the accuracy that rewards architectures, plain or balanced."""
        return settings.search.metric

    def search_task(self, settings: Settings, data: ImageData) -> ImageTask:
        """Returns the task of the search, with the cutout size of the search settings."""
        metric = settings.search.metric
        objective = Objective(reward=metric, by_class=metric == "balanced_accuracy")
        return ImageTask(data, settings.data, settings.child, settings.search.cutout, objective)

    def train_task(self, settings: Settings, data: ImageData) -> ImageTask:
        """Returns the task of the final training, which may train on the validation split too."""
        child = settings.train.child(settings.child)
        data = data.with_validation() if settings.train.use_validation else data
        train = settings.train
        objective = Objective(
            reward=settings.search.metric,
            by_class=True,
            class_weights=train.class_weights,
            label_smoothing=train.label_smoothing,
            mixup=train.mixup,
        )
        return ImageTask(data, settings.data, child, settings.data.cutout, objective)

    def supernet(self, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """Builds the supernet, with moving averages if rewards are computed from them."""
        moving = settings.search.reward_bn == "moving"
        return self._supernet(settings.space, settings.child, *sizes, rng, moving)

    def network(self, arc: Arc, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """Builds the final network, whose outputs are logits and, if any, auxiliary logits."""
        return self._build_network(arc, settings.train.child(settings.child), *sizes, rng)

    def forward(self, network: keras.Model) -> NetworkForward:
        """Returns a forward pass that runs the auxiliary head in training only."""
        return NetworkForward(network)

    def count_cost(self, arc: Arc, settings: Settings, sizes: Sizes) -> Cost:
        """Counts the cost for one image, without the auxiliary head."""
        return self._count_cost(arc, settings.train.child(settings.child), *sizes)

    def list_blocks(self, arc: Arc, settings: Settings, sizes: Sizes) -> Counter[Block]:
        """Lists the blocks that the final network runs for one batch outside training."""
        blocks = ListingBlocks()
        self._count_cost(arc, settings.train.child(settings.child), *sizes, blocks)
        return blocks.found

    def example(self, sizes: Sizes) -> str:
        """Returns a phrase for one image of the data's size."""
        return f"for an image of {'x'.join(map(str, sizes[0]))}"

    def export(
        self,
        network: keras.Model,
        task: ImageTask,
        folder: Path,
        arc: str,
        card: dict,
        formats: Sequence[str],
    ) -> Path:
        """Exports an image classifier as the next version; returns the version's folder."""
        return export_images(network, task.data, folder, arc, card, formats)

    def show(self, version: Path, data: ImageData) -> None:
        """Prints the predicted and true labels of the first test images."""
        test = data.splits["test"]
        predictions = predict(version, test.images[:_SHOWN_IMAGES])
        for number, (label, probability) in enumerate(predictions):
            truth = data.class_names[test.labels[number]]
            print(
                f"prediction: test image {number} is {label!r} with probability "
                f"{probability:.3f} (its label is {truth!r})"
            )
