"""How far two configurations' mean scores are apart, from a few seeds each."""

import math
from collections.abc import Sequence

import numpy as np

from reports.sensitivity.interval import LEVEL, Interval


def difference(
    a: Sequence[float],
    b: Sequence[float],
    level: float = LEVEL,
    others: Sequence[Sequence[float]] = (),
) -> Interval | None:
    """Mean of `a` minus mean of `b`, in the score's unit, with Student's interval.

    Exact for normal noise of one size in both, and in `others`: further configurations' scores, which
    tell how large it is. With two or three seeds each, `a` and `b` alone may lie together by luck. None where there are fewer than three scores in all,
    or none in one of them. Raises ValueError for scores that are not finite.
    Source: Student 1908; Snedecor and Cochran 1989, Statistical Methods, §6.
    """
    scores_a, scores_b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    groups = [scores_a, scores_b, *(np.asarray(scores, dtype=float) for scores in others)]
    freedom = sum(len(scores) - 1 for scores in groups if len(scores))
    if freedom < 1 or not len(scores_a) or not len(scores_b):
        return None
    if not all(np.isfinite(scores).all() for scores in groups):
        raise ValueError("scores must be finite")
    gap = float(scores_a.mean() - scores_b.mean())
    squares = sum(float(((s - s.mean()) ** 2).sum()) for s in groups if len(s))
    from scipy.stats import t as student  # loads for a second, which `tuner status` does not need

    error = math.sqrt(squares / freedom * (1 / len(scores_a) + 1 / len(scores_b)))
    reach = float(student.ppf(0.5 + level / 2, freedom)) * error
    return Interval(gap, gap - reach, gap + reach, level)
