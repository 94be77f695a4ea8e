"""Around one configuration: what matters there, how far each may move, and the way to it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import Interval, of_draws
from reports.sensitivity.surrogate import Posterior

REACH = 0.1  # a tenth of the declared range to each side
POINTS = 256


@dataclass(frozen=True)
class SafeRange:
    """How far one parameter may move alone: `low` to `high`, or these `choices`.

    Within it the expected loss stays within the seed noise. `reaches_end` says for low and high
    whether that is the end of the declared range, so that the search saw no limit on that side.
    """

    low: Any
    high: Any
    choices: list[Any]
    reaches_end: tuple[bool, bool]


@dataclass(frozen=True)
class Step:
    """One change on the way from the default to the winner, and what it changes in the score."""

    parameter: str
    before: Any
    after: Any
    gain: Interval


def local_shares(posterior: Posterior, centre_D: Floats, seed: int, level: float) -> list[Interval]:
    """Total Sobol share of each axis in the neighbourhood of a point, in the axes' order.

    The neighbourhood is a tenth of the range to each side, at least one level, all of a choice's.
    Source of the estimator: Jansen 1999; Saltelli et al. 2010, doi:10.1016/j.cpc.2009.09.018.
    """
    axes = posterior.terms.axes
    sobol = qmc.Sobol(2 * len(axes), rng=np.random.default_rng([seed, 41]))
    uniform = sobol.random(POINTS)
    spots = [axis.near(at, REACH) for axis, at in zip(axes, centre_D, strict=True)]

    def place(part: Floats) -> Floats:
        columns = [
            spot[np.minimum((u * len(spot)).astype(int), len(spot) - 1)]
            for spot, u in zip(spots, part.T, strict=True)
        ]
        return np.column_stack(columns)

    first, second = place(uniform[:, : len(axes)]), place(uniform[:, len(axes) :])
    few = posterior.thinned()
    base_MS = few.values(first)
    variance_S = np.maximum(base_MS.var(axis=0), 1e-300)
    intervals = []
    for j in range(len(axes)):
        other = first.copy()
        other[:, j] = second[:, j]
        moved_MS = few.values(other)
        total_S = 0.5 * ((base_MS - moved_MS) ** 2).mean(axis=0) / variance_S
        intervals.append(of_draws(np.minimum(total_S, 1.0), level))
    return intervals


def safe_range(
    posterior: Posterior, axis_number: int, centre_D: Floats, maximize: bool, noise_sd: float
) -> SafeRange:
    """How far one axis may move from the centre, the others staying.

    So far as the expected loss stays within one standard deviation of the seed noise. A drawn function
    that gains does not make up for one that loses: what is not known is not safe.
    """
    axis = posterior.terms.axes[axis_number]
    tried = axis.candidates()
    if not axis.has_levels:
        tried = np.union1d(tried, centre_D[axis_number : axis_number + 1])
    points = np.tile(centre_D, (len(tried), 1))
    points[:, axis_number] = tried
    values_MS = posterior.values(points) * (1 if maximize else -1)
    start = int(np.abs(tried - centre_D[axis_number]).argmin())
    fine = np.maximum(values_MS[start] - values_MS, 0.0).mean(axis=1) <= noise_sd
    if not axis.ordered:
        return SafeRange(None, None, [axis.value(t) for t in tried[fine]], (False, False))
    low = high = start
    while low > 0 and fine[low - 1]:
        low -= 1
    while high < len(tried) - 1 and fine[high + 1]:
        high += 1
    inside = [axis.value(t) for t in tried[low : high + 1]] if axis.has_levels else []
    ends = (low == 0, high == len(tried) - 1)
    return SafeRange(axis.value(tried[low]), axis.value(tried[high]), inside, ends)


def path(
    posterior: Posterior, start_D: Floats, end_D: Floats, maximize: bool, level: float
) -> list[Step]:
    """From one point to another, one parameter at a time, each time the one that gains most."""
    axes = posterior.terms.axes
    here, steps = start_D.copy(), []
    left = [
        j for j in range(len(axes))
        if np.isfinite(start_D[j]) and np.isfinite(end_D[j]) and start_D[j] != end_D[j]
    ]  # fmt: skip
    sign = 1 if maximize else -1
    while left:
        points = np.tile(here, (len(left) + 1, 1))
        for i, j in enumerate(left):
            points[i + 1, j] = end_D[j]
        values_MS = posterior.values(points)
        gains_MS = values_MS[1:] - values_MS[0]
        best = int((sign * gains_MS.mean(axis=1)).argmax())
        j = left.pop(best)
        gain = of_draws(gains_MS[best], level)
        steps.append(Step(axes[j].name, axes[j].value(here[j]), axes[j].value(end_D[j]), gain))
        here[j] = end_D[j]
    return steps
