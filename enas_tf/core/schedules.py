"""Learning rates over the epochs."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineRestarts:
    """Falls along a cosine from `maximum` to `minimum`, again and again, in longer periods.

    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017. The rate is the same for all steps of an
    epoch, as in the authors' code; unlike there, a period starts at the maximum (they take one
    step at the middle).

    Attributes:
        maximum: the rate at the start of each period.
        minimum: what it falls to.
        period: epochs of the first period.
        factor: each period is this many times the one before.
    """

    maximum: float
    minimum: float
    period: int
    factor: int

    def __call__(self, epoch: int) -> float:
        """The rate of an epoch, counted from 0."""
        period = self.period
        while epoch >= period:
            epoch, period = epoch - period, period * self.factor
        height = (1 + math.cos(math.pi * epoch / period)) / 2
        return self.minimum + (self.maximum - self.minimum) * height
