"""Relu and max pool next to their kinks, where rounding decides on which side they fall.

A relu's input of 5e-6, or two inputs of a max pool that differ by so little, may be a little less
than nothing on another machine. Values hardly change, but gradients jump, by as much as a
hundredth. Among half a million activations a few are so near, and machines differ: the authors'
own ops, run on another one, do not give the recorded gradients either. So where the port's own
gradients differ, those few are tried on their other side, and the original's must be the gradients
of some choice of sides, to the usual tolerance; a `KinkWarning` says that it came to that.

No wrong gradient is to pass for such a choice, so at most `MOST` activations change sides, none
farther from its kink than the last of `REACHES`, and the values computed stay the port's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

# Roundings of 6e-8 add up over some fifty layers, batch norms of few examples enlarge them, and
# each step adds its own. The farther ones are tried where the nearer ones do not do; with oneDNN's
# kernels of other instruction sets, and without oneDNN, 4.3e-5 has been the farthest.
REACHES = 1e-5, 4e-5, 1e-4

MOST = 8
"""How many may fall on their other side at once, of some fifty in reach; 6 were the most needed."""

Side = tuple[str, float]
"""What may fall on its other side: "relu" or "pool", and the float32 distance from the kink."""


class KinkWarning(UserWarning):
    """Gradients met the original's only with some kinks on their other side."""


class Kinks:
    """Eager relu and max pool that fall on the other side where they are told to.

    What is computed stays as it is; only where the gradients flow changes. A distance stands for
    all places that have it: a tensor that goes through several relus falls on one side in all.

    Attributes:
        other_side: which fall on the side that they are not on.
        near: all that have been met, if it is a set.
    """

    def __init__(self) -> None:
        self.other_side: set[Side] = set()
        self.near: set[Side] | None = None
        self._relu, self._max_pool = tf.nn.relu, tf.nn.max_pool2d

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts them in the place of TensorFlow's, in everything, run eagerly."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tf.nn, "relu", self.relu)
            patch.setattr(tf.nn, "max_pool", self.max_pool)
            patch.setattr(tf.nn, "max_pool2d", self.max_pool)
            tf.config.run_functions_eagerly(True)
            try:
                yield
            finally:
                tf.config.run_functions_eagerly(False)

    def relu(self, x: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """As `tf.nn.relu`."""
        value = x.numpy()
        flipped = self._flipped("relu", value)
        if not flipped.any():
            return self._relu(x)
        route = x * tf.cast((value > 0) ^ flipped, x.dtype)
        return route + tf.stop_gradient(self._relu(x) - route)

    def max_pool(self, x: tf.Tensor, ksize, strides, padding: str, *args, **kwargs) -> tf.Tensor:
        """As `tf.nn.max_pool2d`, of 3x3 and "SAME"."""
        assert np.all(np.ravel(ksize) == 3) and padding == "SAME"
        y = self._max_pool(x, ksize, strides, padding)
        if self.near is None and not self._sides("pool").size:
            return y
        windows = _windows(x, y.shape, int(np.ravel(strides)[-1]))
        value = np.sort(windows.numpy(), axis=-1)
        flipped = self._flipped("pool", value[..., -1] - value[..., -2])
        if not flipped.any():
            return y
        places = np.argsort(windows.numpy(), axis=-1)
        place = np.where(flipped, places[..., -2], places[..., -1])
        route = tf.gather(windows, place, axis=-1, batch_dims=4)
        return route + tf.stop_gradient(y - route)

    def _sides(self, kind: str) -> np.ndarray:
        return np.array([value for side, value in self.other_side if side == kind], np.float32)

    def _flipped(self, kind: str, value: np.ndarray) -> np.ndarray:
        """Notes which values are near, and says which are to be on the other side."""
        if self.near is not None:
            # A tie of equals is no matter of rounding.
            near = value[(np.abs(value) < REACHES[-1]) & (value != 0)]
            self.near |= {(kind, float(each)) for each in near}
        return np.isin(value, self._sides(kind))


def _windows(x: tf.Tensor, output_shape: tf.TensorShape, stride: int) -> tf.Tensor:
    """What each place of a 3x3 max pool looks at, along a new last axis of 9."""
    ends = [stride * (size - 1) + 1 for size in output_shape[1:3]]
    pads = [max(end + 2 - size, 0) for end, size in zip(ends, x.shape[1:3], strict=True)]
    edges = [[0, 0], *([pad // 2, pad - pad // 2] for pad in pads), [0, 0]]
    padded = tf.pad(x, edges, constant_values=x.dtype.min)
    return tf.stack(
        [
            padded[:, row : row + ends[0] : stride, column : column + ends[1] : stride]
            for row in range(3)
            for column in range(3)
        ],
        axis=-1,
    )


def nearest(
    compute: Callable[[], dict], targets: dict[str, np.ndarray], tolerance: float
) -> tuple[dict, set[Side]]:
    """Gradients with sides of the kinks that bring them to the targets.

    Args:
        compute: the gradients, by name, and whatever else it likes to return.
        targets: the original's gradients of some variables, by name.
        tolerance: of errors, as a part of a target's largest value.

    Returns:
        What `compute` returns with these sides, and which of them are the other ones.
    """
    kinks = Kinks()

    def run(sides: set[Side]) -> tuple[dict, np.ndarray]:
        kinks.other_side = sides
        found = compute()
        # A target may be all zeros, where an op's gradient is missing.
        largest = {n: np.max(np.abs(t)) or 1e-30 for n, t in targets.items()}
        parts = [np.ravel(found[n] - t) / largest[n] for n, t in targets.items()]
        return found, np.concatenate(parts)

    with kinks.in_place():
        kinks.near = set()
        found, start = run(set())
        near, kinks.near = kinks.near, None
        chosen, error, moves = set(), start, {}
        for reach in REACHES:
            if np.max(np.abs(error)) <= tolerance:
                break
            within = {side for side in near if abs(side[1]) < reach}
            moves |= {side: run({side})[1] - start for side in within - set(moves)}
            chosen = _best(start, moves)
            found, error = run(chosen)
    return found, chosen


def _best(error: np.ndarray, moves: dict[Side, np.ndarray]) -> set[Side]:
    """The at most `MOST` sides whose moves leave the least error, picked one after the other.

    Each side moves the gradients by an amount of its own, whatever the others do, or nearly so.
    """
    left, chosen = dict(sorted(moves.items())), set()
    while left and len(chosen) < MOST:
        side = min(left, key=lambda side: np.linalg.norm(error + left[side]))
        if np.linalg.norm(error + left[side]) > 0.9 * np.linalg.norm(error):
            break
        error = error + left.pop(side)
        chosen.add(side)
    return chosen
