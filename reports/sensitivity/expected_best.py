"""What the best of n trials would score: for independent random search only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kstwo

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import LEVEL


@dataclass(frozen=True)
class BestOfN:
    """Expected best score of 1, 2, ... trials; the bands hold for all numbers at once.

    `low` and `high` are None where the score has no known range: a mean then has no exact bound.
    """

    trials: list[int]
    expected: list[float]
    low: list[float] | None
    high: list[float] | None
    level: float


def expected_best(
    scores: Sequence[float],
    maximize: bool = True,
    score_range: tuple[float, float] | None = None,
    level: float = LEVEL,
) -> BestOfN:
    """Expected best of 1 to N independent trials, from N of them: the mean over all subsets of each size.

    Without bias, which drawing with replacement has. The bands come from the exact Kolmogorov-Smirnov band of the scores' distribution, so they hold
    for finite N and for all n together. Raises ValueError for no score or ones outside the range.
    Source: Dodge et al. 2019, arXiv:1909.03004; Tang et al. 2020, arXiv:2004.13705 (subsets); Lourie, Cho
    and He 2024, arXiv:2311.09480.
    """
    values_N = np.sort(np.asarray(scores, dtype=float) * (1 if maximize else -1))
    if not len(values_N) or not np.isfinite(values_N).all():
        raise ValueError("expected_best needs finite scores, at least one")
    count = len(values_N)
    steps_N = np.arange(1, count + 1) / count
    numbers = list(range(1, count + 1))
    sign = 1.0 if maximize else -1.0

    def curve(points: Floats, distribution: Floats) -> list[float]:
        before = np.concatenate([[0.0], distribution[:-1]])
        return [sign * float(points @ (distribution**n - before**n)) for n in numbers]

    def of_subsets(size: int) -> float:
        # The i-th smallest, i counted from 0, is the best of comb(i, size - 1) subsets: from the largest
        # down, each has (i - size + 1) / i of the chance of the one above.
        i_M = np.arange(count - 1, 0, -1)
        falls_M = np.maximum(i_M - size + 1, 0) / i_M
        chance_N = size / count * np.concatenate([[1.0], np.cumprod(falls_M)])
        return sign * float(values_N[::-1] @ chance_N)

    expected = [of_subsets(size) for size in numbers]
    if score_range is None:
        return BestOfN(numbers, expected, None, None, level)
    worst, best = sorted(sign * edge for edge in score_range)
    if values_N[0] < worst or values_N[-1] > best:
        raise ValueError(f"scores lie outside {score_range}")
    reach = float(kstwo.ppf(level, count))
    pessimist = curve(
        np.concatenate([[worst], values_N]),
        np.minimum(np.concatenate([[0.0], steps_N]) + reach, 1.0),
    )
    optimist = curve(
        np.concatenate([values_N, [best]]),
        np.concatenate([np.maximum(steps_N - reach, 0.0), [1.0]]),
    )
    low, high = (pessimist, optimist) if maximize else (optimist, pessimist)
    low = [min(edge, middle) for edge, middle in zip(low, expected, strict=True)]
    high = [max(edge, middle) for edge, middle in zip(high, expected, strict=True)]
    return BestOfN(numbers, expected, low, high, level)
