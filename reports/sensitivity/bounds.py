"""What a pruned trial's score would have been: between bounds, not missing."""

from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]
FEWEST = 5


def pruned_bounds(
    curve: Curve, finished: Sequence[tuple[Curve, float]], maximize: bool
) -> tuple[float, float]:
    """Lowest and highest score that a pruned trial may have ended with, in the score's unit.

    Its last score plus the least and the most that any finished trial still gained from the same
    step on, where at least five finished trials have a score there. With less to compare, only that
    it would not have done better than the median finished trial (pruners stop what lags behind):
    the other bound is infinite. `finished` holds curves and final scores; raises ValueError without.
    """
    if not finished:
        raise ValueError("a pruned trial has no bound where none finished")
    finals = np.array([final for _, final in finished])
    if curve:
        step, last = curve[-1]
        gains = [
            final - before for other, final in finished if (before := _at(other, step)) is not None
        ]
        if len(gains) >= FEWEST:
            return last + min(gains), last + max(gains)
    middle = float(np.median(finals))
    return (-np.inf, middle) if maximize else (middle, np.inf)


def _at(curve: Curve, step: float) -> float | None:
    """The curve's score at a step: the last one reported up to it."""
    before = [value for at, value in curve if at <= step]
    return before[-1] if before else None
