"""A clock for forward passes of networks and of their blocks."""

import time
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from enas_tf.layers.listing import Block
from enas_tf.training.progress import Progress

# A block runs so many times in a call. A call takes some 0.1 ms before its first op runs, which
# would hide what a small block takes.
_COPIES = 8

# Everything is timed in turns, so that other work on the machine meets all of it alike. A turn
# takes at least so many calls and seconds.
_ROUNDS, _CALLS, _SECONDS = 16, 3, 0.02

# In milliseconds: by chance, a call of a block that takes next to nothing may be the faster one.
_LEAST = 1e-5

Call = Callable[[], object]
"""Runs a forward pass and waits for its end."""


class Clock:
    """Times forward passes on the device at hand.

    Args:
        batch: number of images in a pass.
        compiled: whether XLA compiles a pass.
        now: returns the time in seconds.
    """

    def __init__(
        self, batch: int, compiled: bool, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.batch = batch
        self.compiled = compiled
        self._now = now

    def time_blocks(self, blocks: Sequence[Block]) -> list[float]:
        """Returns the milliseconds that each block adds to a forward pass; shows progress."""
        empty = self._call(lambda inputs, training: inputs[0], [(1, 1, 1)], _COPIES)
        calls = (self._call(block.build(), block.shapes, _COPIES) for block in blocks)
        overhead, *times = self._time([empty], calls, len(blocks), "blocks")
        return [max(_LEAST, (one - overhead) / _COPIES) for one in times]

    def time_networks(self, networks: Iterable[keras.Model], count: int) -> list[float]:
        """Returns the milliseconds of a whole forward pass of each network; shows progress.

        Args:
            networks: networks for images, made one after the other.
            count: how many they are.
        """
        calls = (self._call(network, [network.input_shape[1:]], 1) for network in networks)
        return self._time([], calls, count, "networks")

    def _call(
        self,
        model: Callable[..., tf.Tensor],
        shapes: Sequence[tuple[int, int, int]],
        copies: int,
    ) -> Call:
        """Traces a function that runs a model on inputs of these shapes, several times in turn.

        Each time has inputs of its own, since TensorFlow computes what is equal only once.
        """
        dtype = keras.mixed_precision.dtype_policy().compute_dtype
        # Free, as in an export: TensorFlow simplifies more where it knows all shapes.
        specs = [tf.TensorSpec((None, *shape), dtype) for shape in shapes] * copies

        @tf.function(input_signature=specs, autograph=False, jit_compile=self.compiled)
        def forward(*inputs: tf.Tensor) -> list[tf.Tensor]:
            outputs = []
            for first in range(0, len(inputs), len(shapes)):
                with tf.control_dependencies(outputs[-1:]):
                    own = [tf.identity(x) for x in inputs[first : first + len(shapes)]]
                outputs.append(model(own, training=False))
            return outputs

        rng = np.random.default_rng(0)
        given = [
            tf.cast(rng.standard_normal((self.batch, *shape), np.float32), dtype)
            for shape in shapes
        ] * copies

        def call() -> None:
            forward(*given)
            # A call returns before a GPU has done its work.
            tf.test.experimental.sync_devices()

        call()
        return call

    def _time(self, first: list[Call], calls: Iterable[Call], count: int, what: str) -> list[float]:
        """Returns the milliseconds of the fastest of many calls, for each.

        What else a machine does can only make a call slower.
        """
        made = list(first)
        with Progress(count, what, "latency: building") as progress:
            for step, call in enumerate(calls, 1):
                made.append(call)
                progress.update(step, epoch=0, num_examples=1)
        best = [float("inf")] * len(made)
        with Progress(_ROUNDS * count, what, "latency: timing") as progress:
            for number in range(_ROUNDS):
                for place, call in enumerate(made):
                    best[place] = min(best[place], self._fastest(call))
                progress.update((number + 1) * count, epoch=0, num_examples=count)
        return [1000 * seconds for seconds in best]

    def _fastest(self, call: Call) -> float:
        """Returns the seconds of the fastest of some calls."""
        seconds: list[float] = []
        while len(seconds) < _CALLS or sum(seconds) < _SECONDS:
            begin = self._now()
            call()
            seconds.append(self._now() - begin)
        return min(seconds)
