"""Schedules of the learning rate over epochs."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineRestarts:
    """A learning rate that falls along a cosine from `maximum` to `minimum` in each period.

    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017. The rate is the same for all steps of an
    epoch, as in the authors' code. Unlike there, each period starts at the maximum; the authors
    take its first step at the middle.

    Attributes:
        maximum: the rate at the start of each period.
        minimum: the rate that each period falls to.
        period: epochs in the first period.
        factor: each period is this many times as long as the one before.
    """

    maximum: float
    minimum: float
    period: int
    factor: int

    def __call__(self, epoch: int) -> float:
        """Returns the rate of an epoch, counted from 0."""
        epoch, period = self._place(epoch)
        height = (1 + math.cos(math.pi * epoch / period)) / 2
        return self.minimum + (self.maximum - self.minimum) * height

    def ends_after(self, epochs: int) -> bool:
        """Returns whether a period ends with the last of so many epochs."""
        return self._place(epochs)[0] == 0

    def _place(self, epoch: int) -> tuple[int, int]:
        """Returns an epoch's number in its period, and how many that period has."""
        period = self.period
        while epoch >= period:
            epoch, period = epoch - period, period * self.factor
        return epoch, period
