"""The cases of the benchmark: the work that is repeated and measured."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from enas_tf.benchmark.base import BenchmarkConfig
from enas_tf.benchmark.measuring import WARM_UP, Work, measure
from enas_tf.benchmark.subjects import SUBJECTS, Subject
from enas_tf.core.space import Arc
from enas_tf.data.base import ImageData
from enas_tf.data.text import TextData
from enas_tf.experiment.domain import Domain
from enas_tf.layers.cost import count_params
from enas_tf.layers.dropout import StepRng
from enas_tf.search.evaluator import Evaluator
from enas_tf.search.reinforce import Reinforce
from enas_tf.tasks.base import Task
from enas_tf.training.child_trainer import ChildTrainer
from enas_tf.training.distribution import compiles, make_strategy
from enas_tf.training.train_config import ChildConfig, TrainConfig
from enas_tf.zoo import PUBLISHED

_BATCHES = 20
_ARCS_AT_ONCE = 100
_BATCHES_AT_ONCE = 50


def search(subject: Subject, total: int) -> Work:
    """Returns training steps of the shared weights, each on another architecture."""
    tokens = _draw(subject, total)
    task = subject.recipe.domain.search_task(subject.settings, subject.data())
    rng, trainer = _shared_weights(subject, task)
    size, compiled = subject.settings.search.batch_size, subject.jit_compile
    return _training(trainer, task, rng, size, compiled, lambda number: (tokens[number],))


def held(subject: Subject, total: int) -> Work:
    """Returns training steps of the shared weights, all on the architecture of `static`."""
    data = subject.data()
    tokens = tf.constant(_middle_arc(subject, data, total).tokens)
    task = subject.recipe.domain.search_task(subject.settings, data)
    rng, trainer = _shared_weights(subject, task)
    size, compiled = subject.settings.search.batch_size, subject.jit_compile
    return _training(trainer, task, rng, size, compiled, lambda _: (tokens,))


def static(subject: Subject, total: int) -> Work:
    """Returns the same training steps for a network of one architecture of those in `search`."""
    data, domain = subject.data(), subject.static_domain
    arc = _middle_arc(subject, data, total)
    subject = _of_search_sizes(subject)
    return _single_training(subject, domain, arc, domain.search_task(subject.settings, data))


def final(subject: Subject, total: int) -> Work:
    """Returns steps of the final training of a published architecture."""
    settings, domain = subject.settings, subject.recipe.domain
    arc = settings.space.of(PUBLISHED[subject.final_arc].text)[1]
    return _single_training(subject, domain, arc, domain.train_task(settings, subject.data()))


def controller(subject: Subject, total: int) -> Work:
    """Returns updates of the controller: draws, rewards on a batch for each arc, and feedback."""
    reinforce, count = _reinforce(subject), subject.settings.search.arcs_per_update
    _, evaluator, batches = _rewarding(subject, total)

    def step(number: int) -> dict[str, tf.Tensor]:
        tokens = reinforce.propose(count, (0, number)).tokens
        return reinforce.feedback(tokens, evaluator.rewards(tokens, batches))

    return Work(step, "arcs", count, count, _size(reinforce))


def reward(subject: Subject, total: int) -> Work:
    """Returns only the rewards of such updates; the first step has the arcs of `controller`."""
    reinforce, count = _reinforce(subject), subject.settings.search.arcs_per_update
    trainer, evaluator, batches = _rewarding(subject, total)
    tokens = [reinforce.propose(count, (0, number)).tokens for number in range(total)]

    def step(number: int) -> list[float]:
        return evaluator.rewards(tokens[number], batches)

    return Work(step, "arcs", count, count, count_params(trainer.child))


def sample(subject: Subject, total: int) -> Work:
    """Returns steps that draw a hundred architectures at once."""
    reinforce = _reinforce(subject)

    def step(number: int) -> tf.Tensor:
        return reinforce.propose(_ARCS_AT_ONCE, (0, number)).tokens

    return Work(step, "arcs", _ARCS_AT_ONCE, _ARCS_AT_ONCE, _size(reinforce))


def input_pipeline(subject: Subject, total: int) -> Work:
    """Returns steps that make augmented batches of the final training, and nothing else."""
    settings = subject.settings
    task = subject.recipe.domain.train_task(settings, subject.data())
    batch_size = settings.train.batch_size
    steps = range(_BATCHES_AT_ONCE * total)
    batches = iter(task.train_batches(batch_size, seed=0, steps=steps, shard=(0, 1)))

    def step(number: int) -> None:
        for _ in range(_BATCHES_AT_ONCE):
            next(batches)

    return Work(step, task.examples, batch_size, batch_size, 0, _BATCHES_AT_ONCE)


def run(case: str, config: BenchmarkConfig, started: float) -> dict[str, Any]:
    """Measures one case of `CASES`; returns its name and the result of `measure`."""
    keras.mixed_precision.set_dtype_policy(config.precision)
    make, subject = TABLE[case]
    subject = subject.with_batch(config.batch) if config.batch else subject
    jit_compile = compiles(config.jit_compile, make_strategy("one"), final=make is final)
    subject = replace(subject, jit_compile=jit_compile)
    keras.utils.set_random_seed(subject.settings.common.seed)
    work = make(subject, WARM_UP + config.steps)
    return {"case": case, **measure(work, config.steps, started)}


@dataclass(frozen=True)
class _SearchSizes(TrainConfig):
    """The settings of a final network that is as large as the search's child."""

    def child(self, search_child: ChildConfig) -> ChildConfig:
        """Returns the configuration of the search's child unchanged."""
        return search_child


def _of_search_sizes(subject: Subject) -> Subject:
    """Returns a subject whose final network and its batches are as large as the search's."""
    settings = subject.settings
    train = _SearchSizes(batch_size=settings.search.batch_size)
    return replace(subject, settings=replace(settings, train=train))


def _reinforce(subject: Subject) -> Reinforce:
    settings = subject.settings
    # On the host, as in a search: `switch_case` needs the tokens there.
    with tf.device("CPU:0"):
        return Reinforce.make(subject.recipe.controller, settings.space, settings.controller)


def _rewarding(subject: Subject, total: int) -> tuple[ChildTrainer, Evaluator, Iterator]:
    """Returns shared weights, their evaluator, and batches for the rewards of all updates."""
    settings = subject.settings
    task = subject.recipe.domain.search_task(settings, subject.data())
    _, trainer = _shared_weights(subject, task)
    evaluator = Evaluator(trainer, task, settings.search.batch_size)
    count = settings.search.arcs_per_update * total
    return trainer, evaluator, evaluator.shuffled_batches(settings.common.seed, 0, count)


def _draw(subject: Subject, count: int) -> tf.Tensor:
    """Draws tokens from an untrained controller, `(count, num_tokens)`, always the same ones."""
    keras.utils.set_random_seed(subject.settings.common.seed)
    return _reinforce(subject).propose(count, (0, 0)).tokens


def _middle_arc(subject: Subject, data: ImageData | TextData, total: int) -> Arc:
    """Returns the median architecture, by number of weights, of those that `search` measures."""
    settings, domain = _of_search_sizes(subject).settings, subject.static_domain
    sizes = domain.sizes(data)
    arcs = [settings.space.parse(one) for one in _draw(subject, total).numpy()[WARM_UP:]]
    arcs.sort(key=lambda arc: domain.count_cost(arc, settings, sizes).params)
    return arcs[len(arcs) // 2]


def _shared_weights(subject: Subject, task: Task) -> tuple[StepRng, ChildTrainer]:
    settings, domain = subject.settings, subject.recipe.domain
    with make_strategy("one").scope():
        rng = StepRng(_BATCHES, settings.common.seed)
        supernet = domain.supernet(settings, domain.sizes(task.data), rng)
        return rng, ChildTrainer(supernet, supernet, task, settings.child, subject.jit_compile)


def _single_training(subject: Subject, domain: Domain, arc: Arc, task: Task) -> Work:
    settings = subject.settings
    with make_strategy("one").scope():
        rng = StepRng(_BATCHES, settings.common.seed)
        network = domain.network(arc, settings, domain.sizes(task.data), rng)
        config = settings.train.child(settings.child)
        forward = domain.forward(network)
        trainer = ChildTrainer(network, forward, task, config, subject.jit_compile)
    size = settings.train.batch_size
    return _training(trainer, task, rng, size, subject.jit_compile, lambda number: ())


def _training(
    trainer: ChildTrainer,
    task: Task,
    rng: StepRng,
    batch_size: int,
    compiled: bool,
    extra: Callable[[int], tuple],
) -> Work:
    """Returns training steps on batches that are made beforehand."""
    # Made before the steps are timed, since batches have a case of their own.
    steps = range(_BATCHES)
    batches = task.train_batches(batch_size, seed=0, steps=steps, shard=(0, 1))
    trainer.trace(batches, *extra(0))
    batches = list(batches)

    def step(number: int) -> dict[str, tf.Tensor]:
        rng.step.assign(number)
        return trainer.train_step(batches[number % _BATCHES], *extra(number))

    num_examples, params = task.num_examples(batch_size), count_params(trainer.child)
    return Work(step, task.examples, num_examples, batch_size, params, compiled=compiled)


def _size(reinforce: Reinforce) -> int:
    return sum(math.prod(v.shape) for v in reinforce.controller.trainable_variables)


_KINDS = (search, held, static, reward, controller, sample, final)

TABLE = {
    f"{space}_{make.__name__}": (make, subject)
    for make in _KINDS
    for space, subject in SUBJECTS.items()
} | {"input_pipeline": (input_pipeline, SUBJECTS["micro"])}
"""The function that makes the work of each case, and the subject that it is given."""
