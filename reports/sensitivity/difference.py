"""How far two configurations' mean scores are apart, from a few seeds each."""

import math
from collections.abc import Sequence

import numpy as np

from reports.sensitivity.interval import FEWEST_ALIKE, LEVEL, Interval
from reports.sensitivity.seed_noise import within

Scores = Sequence[float]


def difference(
    a: Scores, b: Scores, level: float = LEVEL, others: Sequence[Scores] = ()
) -> Interval | None:
    """Mean of `a` minus mean of `b`, in the score's unit, with Student's interval.

    Exact for normal noise of one size in both, and in `others`: further configurations' scores, which
    tell how large it is. With two or three seeds each, `a` and `b` alone may lie together by luck. None where there are fewer than three scores in all,
    or none in one of them, or where so few repeated runs were all the same that the noise is not known. Raises ValueError for scores that are not finite.
    Source: Student 1908; Snedecor and Cochran 1989, Statistical Methods, §6.
    """
    deviation, freedom = _noise([a, b, *others])
    if freedom < 1 or not len(a) or not len(b) or (not deviation and freedom < FEWEST_ALIKE):
        return None
    gap = float(np.mean(a) - np.mean(b))
    reach = _reach(deviation, freedom, len(a), len(b), level)
    return Interval(gap, gap - reach, gap + reach, level)


def more_runs(
    a: Scores, b: Scores, level: float, others: Sequence[Scores], most: int
) -> int | None:
    """How many more runs of both would have the interval of `difference` leave 0 out, if gap and noise stay so.

    None where `most` are not enough.
    """
    deviation, freedom = _noise([a, b, *others])
    gap = abs(float(np.mean(a) - np.mean(b)))
    for more in range(1, most + 1):
        if _reach(deviation, freedom + 2 * more, len(a) + more, len(b) + more, level) < gap:
            return more
    return None


def _noise(groups: Sequence[Scores]) -> tuple[float, int]:
    """The standard deviation within the groups, and its degrees of freedom."""
    squares, freedom = within(groups)
    return math.sqrt(squares / freedom) if freedom else 0.0, freedom


def _reach(deviation: float, freedom: int, runs_a: int, runs_b: int, level: float) -> float:
    from scipy.stats import t as student  # loads for a second, which `tuner status` does not need

    error = deviation * math.sqrt(1 / runs_a + 1 / runs_b)
    return float(student.ppf(0.5 + level / 2, freedom)) * error
