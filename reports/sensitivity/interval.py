"""An estimate with its interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.9
"""Of every interval that does not say another one"""
ROUNDING = 1e-12
"""As a part of a score: numbers that differ by less are the same one"""
FEWEST_ALIKE = 4
"""Degrees of freedom from which on runs that are all the same say that there is no noise; fewer may be luck"""


@dataclass(frozen=True)
class Interval:
    """`estimate` with the bounds that hold the truth in `level` of all cases."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL


def of_draws(draws_S: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Median and central interval of a quantity's posterior draws."""
    low, middle, high = np.quantile(draws_S, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Interval(float(middle), float(low), float(high), level)
