"""How well the trials cover the declared space: an adaptive sampler leaves parts of it alone."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from reports.sensitivity.axis import Axis, Floats, all_over

PROBES = 1024
MOST_AXES = 6
"""Beyond, all distances are nearly alike, whatever the trials leave out"""


@dataclass(frozen=True)
class Spread:
    """`configurations` as they lie cover the space as `effective` well-spread ones would;
    `extrapolated` is the share of it that is farther from all of them than those would leave it.
    """

    configurations: int
    effective: float
    extrapolated: float


def spread_of(axes: list[Axis], positions_CD: Floats, seed: int) -> Spread | None:
    """Compares distances to the nearest configuration with those of Sobol points of equal number; None
    of more than `MOST_AXES` axes.

    Distances are over the axes' positions, an unordered choice counting 1 where it differs. A
    distance falls with the number of points n as n^(-1/D), which gives the effective number.
    """
    count, axes_used = len(positions_CD), [axis for axis in axes if axis.size]
    if not count or not axes_used:
        return Spread(count, float(count), 0.0)
    if len(axes_used) > MOST_AXES:
        return None
    columns = [j for j, axis in enumerate(axes) if axis.size]

    def flat(points_MD: Floats) -> Floats:
        parts = []
        for axis, column_M in zip(axes_used, points_MD.T, strict=True):
            if axis.ordered:
                parts.append(np.nan_to_num(column_M, nan=0.5)[:, None])
            else:
                parts.append((column_M[:, None] == axis.candidates()) / np.sqrt(2))
        return np.concatenate(parts, axis=1)

    def spread_out(number: int, stream: int) -> Floats:
        return flat(all_over(axes_used, number, np.random.default_rng([seed, stream])))

    probes = spread_out(PROBES, 31)
    near, _ = KDTree(flat(positions_CD[:, columns])).query(probes)
    ideal, _ = KDTree(spread_out(count, 32)).query(probes)
    ratio = 1.0
    if float(near.mean()) > float(ideal.mean()) + 1e-9:
        ratio = float(ideal.mean()) / float(near.mean())
    effective = min(float(count), max(1.0, count * ratio ** len(axes_used)))
    usual = float(np.quantile(ideal, 0.95))
    return Spread(count, effective, float((near > usual + 1e-12).mean()))
