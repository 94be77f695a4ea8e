"""An estimate with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """`estimate` with the bounds that hold the truth in `level` of all cases."""

    estimate: float
    low: float
    high: float
    level: float = 0.9
