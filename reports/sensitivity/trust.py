"""Whether the surrogate knows anything: what it says of configurations that it has not seen."""

import numpy as np
from numpy.typing import NDArray

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import Interval

RESAMPLES = 1000


def r_squared(
    predicted_N: Floats,
    actual_N: Floats,
    group_N: NDArray[np.int_],
    rng: np.random.Generator,
    level: float = 0.9,
) -> Interval:
    """Share of the left-out scores' variance that was predicted; at most 1, below 0 for worse than
    their mean. The interval is a bootstrap over groups (configurations), not over rows.

    predicted_N must come from fits that have not seen the trial's group. Raises ValueError for
    scores without variance.
    """
    centre = float(actual_N.mean())
    if not float(((actual_N - centre) ** 2).sum()):
        raise ValueError("scores without variance have no share of it to predict")
    groups, member_N = np.unique(group_N, return_inverse=True)
    # Per group: what a bootstrap sample needs of it.
    lost_G = np.bincount(member_N, (actual_N - predicted_N) ** 2)
    count_G = np.bincount(member_N).astype(float)
    sum_G = np.bincount(member_N, actual_N - centre)
    squares_G = np.bincount(member_N, (actual_N - centre) ** 2)
    estimate = 1 - float(lost_G.sum()) / float(squares_G.sum())
    values = []
    for _ in range(RESAMPLES):
        times_G = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))
        count = float(times_G @ count_G)
        variance = float(times_G @ squares_G) - float(times_G @ sum_G) ** 2 / count
        if variance > 0:
            values.append(1 - float(times_G @ lost_G) / variance)
    low, high = (
        np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) if values else (estimate,) * 2
    )
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), level)
