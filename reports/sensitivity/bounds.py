"""What a pruned trial's score would have been: between bounds, not missing."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

Curve = Sequence[tuple[float, float]]
FEWEST = 5
LEVEL = 0.95


def pruned_bounds(
    curve: Curve,
    finished: Sequence[tuple[Curve, float]],
    maximize: bool,
    pairs_at: dict[float, list[tuple[float, float]]] | None = None,
) -> tuple[float, float]:
    """Lowest and highest score that a pruned trial may have ended with, in the score's unit.

    The 95 % prediction interval of a straight line, rising or flat, from the finished trials' scores at
    the step where this one stopped to their final scores, where at least five have one there. It widens
    with the distance from them. An early score is taken as no farther from theirs than they are
    from each other: beyond that (a loss that ran away) a line says nothing. With less to compare, only
    that it would not have done better than the median finished trial (pruners stop what lags behind):
    the other bound is infinite. `finished` holds curves and final scores; raises ValueError without any.
    `pairs_at` keeps what was found at a step, for many trials: pruners stop at few steps.
    Source: Snedecor and Cochran 1989, Statistical Methods, §9.
    """
    if not finished:
        raise ValueError("a pruned trial has no bound where none finished")
    if curve:
        step, last = curve[-1]
        pairs_at = {} if pairs_at is None else pairs_at
        if step not in pairs_at:
            pairs_at[step] = [
                (at, final) for other, final in finished if (at := _at(other, step)) is not None
            ]
        predicted = _predict(pairs_at[step], last)
        if predicted is not None:
            return predicted
    middle = float(np.median([final for _, final in finished]))
    return (-np.inf, middle) if maximize else (middle, np.inf)


def _predict(pairs: list[tuple[float, float]], last: float) -> tuple[float, float] | None:
    """Bounds for the final score that belongs to an early one; None for too few or equal pairs."""
    if len(pairs) < FEWEST:
        return None
    early_N, final_N = np.array(pairs).T
    away_N = early_N - early_N.mean()
    squares = float(away_N @ away_N)
    if squares <= (1e-9 * float(np.abs(early_N).max())) ** 2:
        return None
    slope = max(0.0, float(away_N @ final_N) / squares)
    residual_N = final_N - final_N.mean() - slope * away_N
    freedom = len(pairs) - 2
    low, high = float(early_N.min()), float(early_N.max())
    last = min(max(last, low - (high - low)), high + (high - low))
    distance = last - float(early_N.mean())
    spread = math.sqrt(
        float(residual_N @ residual_N) / freedom * (1 + 1 / len(pairs) + distance**2 / squares)
    )
    reach = float(student.ppf(0.5 + LEVEL / 2, freedom)) * spread
    middle = float(final_N.mean()) + slope * distance
    return middle - reach, middle + reach


def _at(curve: Curve, step: float) -> float | None:
    """The curve's score at a step: the last one reported up to it."""
    before = [value for at, value in curve if at <= step]
    return before[-1] if before else None
