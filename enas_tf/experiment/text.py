"""The domain of language modelling."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from enas_tf.core.errors import UserError
from enas_tf.core.space import Arc
from enas_tf.data.corpora import load_text
from enas_tf.data.text import TextData
from enas_tf.experiment.settings import Settings
from enas_tf.export.text import export_text, next_words
from enas_tf.layers.cost import Cost
from enas_tf.layers.dropout import StepRng
from enas_tf.layers.final_weights import Named
from enas_tf.layers.listing import Block
from enas_tf.tasks.language import LanguageTask
from enas_tf.training.child_trainer import Forward

_READ_WORDS, _SHOWN_WORDS = 20, 3

_PENN_TREEBANK_WORDS = 10_000

_MANY_UNKNOWN = 0.5

_EMBEDDING = "recurrence/embedding"

Sizes = tuple[int]
"""The number of words in the vocabulary."""


class TextDomain:
    """The `enas_tf.experiment.domain.Domain` of language modelling.

    Args:
        supernet: a callable that builds the supernet from a space, a child configuration, the
            vocabulary size, the batch size and an rng.
        build_network: a callable that builds a final network from an architecture, a child
            configuration, the vocabulary size, the batch size and an rng.
        count_cost: a callable that counts the cost of that network from an architecture, a child
            configuration and the vocabulary size, without building it.
        deployable: a callable that turns a trained network into a model that takes its state as an
            input and returns it as an output.
    """

    formats = ("saved_model",)
    lower_is_better = True

    def __init__(
        self,
        supernet: Callable[..., keras.Model],
        build_network: Callable[..., keras.Model],
        count_cost: Callable[..., Cost],
        deployable: Callable[[keras.Model], keras.Model],
    ) -> None:
        self._supernet = supernet
        self._build_network = build_network
        self._count_cost = count_cost
        self._deployable = deployable

    def load(self, settings: Settings) -> TextData:
        """Loads the text into memory."""
        common = settings.common
        return load_text(common.dataset, common.data_dir, settings.data.tokens)

    def summary(self, settings: Settings, data: TextData) -> list[str]:
        """Returns the sizes of text and vocabulary, and how much is unknown, a line each."""
        counts = ", ".join(f"{len(words):,} of {name}" for name, words in data.splits.items())
        unknown = {name: data.unknown_share(name) for name in ("valid", "test")}
        shares = ", ".join(f"{share:.1%} of {name}" for name, share in unknown.items())
        lines = [
            f"{data.tokens}: {counts}; the vocabulary has {data.vocab_size:,}; unknown: {shares}"
        ]
        if max(unknown.values()) > _MANY_UNKNOWN:
            more = "" if data.tokens == "characters" else ", or use --data.tokens=characters"
            lines.append(
                f"warning: most {data.tokens} of a split are not in the vocabulary, which is that "
                f"of the training text; use text of the same kind{more}"
            )
        return lines

    def labels(self, data: TextData) -> tuple[str, ...]:
        """Returns the words of the vocabulary."""
        return data.vocabulary

    def relabel(
        self, weights: Named, network: keras.Model, old: Sequence[str], new: Sequence[str]
    ) -> tuple[Named, str]:
        """Gives each word that both vocabularies have its embedding, which the softmax shares."""
        rows = {word: row for row, word in enumerate(old)}
        known = [row for row, word in enumerate(new) if word in rows]
        note = f"{len(known):,} of {len(new):,} words were in its vocabulary"
        trained = weights[_EMBEDDING]
        drawn = next(v for v in network.variables if v.path == _EMBEDDING).numpy()
        if trained.shape[1] == drawn.shape[1]:
            drawn[known] = trained[[rows[new[row]] for row in known]]
            weights = weights | {_EMBEDDING: drawn}
        return weights, note

    def sizes(self, data: TextData) -> Sizes:
        """Returns the number of words in the vocabulary."""
        return (data.vocab_size,)

    def known_sizes(self, settings: Settings) -> Sizes | None:
        """Returns the whole Penn Treebank's size if the settings name no other files, else None."""
        common = settings.common
        is_words = settings.data.tokens == "words"
        is_known = common.dataset == "ptb" and common.data_dir is None and is_words
        return (_PENN_TREEBANK_WORDS,) if is_known else None

    def metric(self, settings: Settings) -> str:
        """Returns perplexity, of which a reward is a multiple of the inverse."""
        return "perplexity"

    def search_task(self, settings: Settings, data: TextData) -> LanguageTask:
        """Returns the task of the search, with the losses of the search's child."""
        return LanguageTask(data, settings.data, settings.child)

    def train_task(self, settings: Settings, data: TextData) -> LanguageTask:
        """Returns the task of the final training, with the losses of the final network."""
        return LanguageTask(data, settings.data, settings.train.child(settings.child))

    def supernet(self, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """Builds the supernet, which carries the states of a batch of the search."""
        batch_size = settings.search.batch_size
        return self._supernet(settings.space, settings.child, *sizes, batch_size, rng)

    def network(self, arc: Arc, settings: Settings, sizes: Sizes, rng: StepRng) -> keras.Model:
        """Builds the final network, which carries the states of a batch of its training."""
        child = settings.train.child(settings.child)
        return self._build_network(arc, child, *sizes, settings.train.batch_size, rng)

    def forward(self, network: keras.Model) -> Forward:
        """Returns the network itself, whose outputs are what the task expects."""
        return network

    def count_cost(self, arc: Arc, settings: Settings, sizes: Sizes) -> Cost:
        """Counts the cost for one word; the softmax shares the embedding, which counts once."""
        return self._count_cost(arc, settings.train.child(settings.child), *sizes)

    def list_blocks(self, arc: Arc, settings: Settings, sizes: Sizes) -> Counter[Block]:
        """Raises UserError: a language model is not made of blocks."""
        raise UserError(
            "latencies are of networks for images: all cells of one size do the same products, so "
            "leave search.cost=latency and derive.max_latency_ms out"
        )

    def example(self, sizes: Sizes) -> str:
        """Returns a phrase for one word of the vocabulary."""
        return f"for each word, of {sizes[0]:,}"

    def export(
        self,
        network: keras.Model,
        task: LanguageTask,
        folder: Path,
        arc: str,
        card: dict,
        formats: Sequence[str],
    ) -> Path:
        """Exports a language model, with its state as an input and an output, as a new version."""
        return export_text(self._deployable(network), task.data, folder, arc, card)

    def show(self, version: Path, data: TextData) -> None:
        """Prints the most likely next words after some of the first test words."""
        words = data.splits["test"][: _READ_WORDS + 1]
        predictions = next_words(version, words[:-1], _SHOWN_WORDS)
        for place, (word, probability) in enumerate(predictions, len(words) - _SHOWN_WORDS):
            read = " ".join(data.vocabulary[w] for w in words[max(0, place - 4) : place])
            print(
                f"prediction: after {read!r} comes {data.vocabulary[word]!r} with probability "
                f"{probability:.3f} (the text has {data.vocabulary[words[place]]!r})"
            )
