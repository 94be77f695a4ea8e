"""Whether the surrogate knows anything: what it says of configurations that it has not seen."""

import numpy as np
from numpy.typing import NDArray

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import LEVEL, Interval

RESAMPLES = 1000


def r_squared(
    predicted_N: Floats,
    low_N: Floats,
    high_N: Floats,
    group_N: NDArray[np.int_],
    rng: np.random.Generator,
    level: float = LEVEL,
) -> tuple[Interval, float]:
    """Share of the left-out scores' squared distances from one constant that was predicted.

    A score lies between low_N and high_N: at one value where it is known, and where it is only bounded
    (a pruned trial), a prediction is as far off as it is from the nearer bound. The constant is the one
    that is least far off. At most 1, below 0 for worse than the constant. The interval is a bootstrap
    over groups (configurations), not over rows. Also returns the sum of those squared distances.

    predicted_N must come from fits that have not seen the trial's group. Raises ValueError where one
    constant fits all scores.
    """
    constant = _constant(low_N, high_N)
    far_N = _beyond(np.full(len(low_N), constant), low_N, high_N) ** 2
    if not float(far_N.sum()):
        raise ValueError("scores without variance have no share of it to predict")
    lost_N = _beyond(predicted_N, low_N, high_N) ** 2
    groups, member_N = np.unique(group_N, return_inverse=True)
    lost_G, far_G = np.bincount(member_N, lost_N), np.bincount(member_N, far_N)
    estimate = 1 - float(lost_G.sum()) / float(far_G.sum())
    values = []
    for _ in range(RESAMPLES):
        times_G = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))
        if (far := float(times_G @ far_G)) > 0:
            values.append(1 - float(times_G @ lost_G) / far)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    interval = Interval(estimate, min(float(low), estimate), max(float(high), estimate), level)
    return interval, float(far_G.sum())


def _beyond(value_N: Floats, low_N: Floats, high_N: Floats) -> Floats:
    return np.maximum(np.maximum(low_N - value_N, value_N - high_N), 0.0)


def _constant(low_N: Floats, high_N: Floats) -> float:
    """The constant with the least squared distances: Newton's method on a piecewise parabola."""
    value = float(low_N[low_N == high_N].mean())
    for _ in range(100):
        nearest_N = np.clip(value, low_N, high_N)
        pulls_N = nearest_N[(nearest_N != value) | (low_N == high_N)]
        before, value = value, float(pulls_N.mean())
        if value == before:
            break
    return value
