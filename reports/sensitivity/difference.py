"""How far two configurations' mean scores are apart, from a few seeds each."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from reports.sensitivity.interval import Interval


def difference(a: Sequence[float], b: Sequence[float], level: float = 0.9) -> Interval | None:
    """Mean of `a` minus mean of `b`, in the score's unit, with Student's interval.

    Exact for normal noise of one size in both. None where there are fewer than three scores in all,
    or none in one of them. Raises ValueError for scores that are not finite.
    Source: Student 1908; Snedecor and Cochran 1989, Statistical Methods, §6.
    """
    scores_a, scores_b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    freedom = len(scores_a) + len(scores_b) - 2
    if freedom < 1 or not len(scores_a) or not len(scores_b):
        return None
    if not (np.isfinite(scores_a).all() and np.isfinite(scores_b).all()):
        raise ValueError("scores must be finite")
    gap = float(scores_a.mean() - scores_b.mean())
    squares = ((scores_a - scores_a.mean()) ** 2).sum() + ((scores_b - scores_b.mean()) ** 2).sum()
    error = math.sqrt(float(squares) / freedom * (1 / len(scores_a) + 1 / len(scores_b)))
    reach = float(student.ppf(0.5 + level / 2, freedom)) * error
    return Interval(gap, gap - reach, gap + reach, level)
