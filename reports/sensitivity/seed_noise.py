"""How far two runs of one configuration differ, from configurations that ran on several seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import FEWEST_ALIKE, LEVEL, Interval


def telling(groups: Sequence[Sequence[float]]) -> list[Floats]:
    """The groups that tell how far runs of one configuration vary: of two runs and more.

    A configuration whose runs are all the same (one that has collapsed to the majority's label) says
    nothing of how far those vary that have not: it counts only where all are such.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    if not all(np.isfinite(group).all() for group in arrays):
        raise ValueError("scores must be finite")
    repeated = [group for group in arrays if len(group) > 1]
    return [group for group in repeated if np.ptp(group) > 0] or repeated


def within(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The sum of squares within the groups that tell, and its degrees of freedom."""
    counted = telling(groups)
    varied = [group for group in counted if np.ptp(group) > 0]  # a mean of equal floats may round
    squares = float(sum(((group - group.mean()) ** 2).sum() for group in varied))
    return squares, sum(len(group) - 1 for group in counted)


def seed_noise(groups: Sequence[Sequence[float]], level: float = LEVEL) -> Interval | None:
    """Standard deviation of the score between seeds, in the score's unit, pooled over the groups.

    Each group holds the scores of one configuration, which must not have been chosen by these very
    scores. The interval is exact for normal noise of one size: (n-k)·s²/σ² is χ² with n-k degrees
    of freedom (n scores, k groups). None where no group has two scores, or where so few were all the
    same that the noise is not known. Raises ValueError for
    scores that are not finite. Source: Snedecor and Cochran 1989, Statistical Methods, §5.
    """
    squares, freedom = within(groups)
    if not freedom or (not squares and freedom < FEWEST_ALIKE):
        return None
    tail = (1 - level) / 2
    return Interval(
        math.sqrt(squares / freedom),
        math.sqrt(squares / float(chi2.ppf(1 - tail, freedom))),
        math.sqrt(squares / float(chi2.ppf(tail, freedom))),
        level,
    )
