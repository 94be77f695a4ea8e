"""What makes trials fail: an outcome of its own, not a missing score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from reports.sensitivity.axis import Axis, Floats
from reports.sensitivity.interval import of_draws
from reports.sensitivity.result import Failures
from reports.sensitivity.shares import sobol_shares
from reports.sensitivity.surrogate import Surrogate
from reports.sensitivity.terms import Terms
from reports.sensitivity.verdict import MATTERS_ABOVE
from reports.wording import shown

FEWEST = 3
MOST_TERMS = 200


def failures_of(
    axes: list[Axis], positions_ND: Floats, failed_N: NDArray[np.bool_], seed: int, level: float
) -> Failures | None:
    """Shares of a latent tendency to fail: below 0 a trial runs through, above 0 it fails.

    The tendency is a function of the hyperparameters as the score's surrogate is one, plus normal
    noise of variance 1. None where no trial failed; without shares below three of either outcome.
    Source: Albert and Chib 1993, doi:10.1080/01621459.1993.10476321 (probit by latent scores).
    """
    failed, count = int(failed_N.sum()), len(failed_N)
    if not failed:
        return None
    lead = f"{failed} of {count} search trials failed"
    if failed == count:
        return Failures(
            failed,
            count,
            {},
            "The only search trial failed." if count == 1 else f"All {count} search trials failed.",
        )
    if min(failed, count - failed) < FEWEST or not axes:
        return Failures(failed, count, {}, f"{lead}: too few to say what makes them fail.")
    surrogate = Surrogate(
        Terms(axes, MOST_TERMS),
        positions_ND,
        np.where(failed_N, 0.0, -np.inf),
        np.where(failed_N, np.inf, 0.0),
        noise_variance=1.0,
    )
    posterior, _ = surrogate.sample(np.random.default_rng([seed, 51]), draws=30)
    shares = sobol_shares(posterior)
    total = {axis.name: of_draws(shares.total_DS[j], level) for j, axis in enumerate(axes)}
    splits = [
        (axis, split)
        for j, axis in enumerate(axes)
        for split in _splits(axis, positions_ND[:, j], failed_N)
    ]
    if splits:
        sizes, hits = (
            np.array([getattr(s, what) for _, s in splits]) for what in ("size", "failed")
        )
        chances = _chance(hits, sizes, failed, count)
        axis, split = splits[int(chances.argmin())]
        # Each split had its chance to look good by luck.
        if total[axis.name].low > MATTERS_ABOVE and chances.min() * len(splits) < 0.05:
            text = (
                f"{lead}, more often with some values of {axis.name}: {split.where(axis)}, {split.failed} of "
                f"{split.size} failed, elsewhere {failed - split.failed} of {count - split.size}."
            )
            return Failures(failed, count, total, text)
    text = f"{lead}; which hyperparameter makes them fail, these trials cannot tell."
    return Failures(failed, count, total, text)


@dataclass(frozen=True)
class _Split:
    """A region of one axis: the trials in it, and how many of them failed."""

    words: str
    position: float
    size: int
    failed: int

    def where(self, axis: Axis) -> str:
        """The region, in words."""
        return self.words.format(shown(axis.value(self.position)))


def _splits(axis: Axis, positions_N: Floats, failed_N: NDArray[np.bool_]) -> list[_Split]:
    """Regions of one axis with at least three failures that do not hold all trials."""
    known_N = np.isfinite(positions_N)
    places_P, place_N = np.unique(positions_N[known_N], return_inverse=True)
    size_P = np.bincount(place_N, minlength=len(places_P))
    failed_P = np.bincount(place_N[failed_N[known_N]], minlength=len(places_P))
    found = []
    if axis.ordered:
        below_P, failed_below_P = size_P.cumsum(), failed_P.cumsum()
        for i in range(1, len(places_P)):
            size, failed = int(below_P[i - 1]), int(failed_below_P[i - 1])
            rest, rest_failed = int(below_P[-1]) - size, int(failed_below_P[-1]) - failed
            found.append(_Split("at {} and above", float(places_P[i]), rest, rest_failed))
            found.append(_Split("at {} and below", float(places_P[i - 1]), size, failed))
    else:
        found = [
            _Split("with {}", float(place), int(size), int(failed))
            for place, size, failed in zip(places_P, size_P, failed_P, strict=True)
        ]
    return [s for s in found if s.failed >= FEWEST and s.size < len(positions_N)]


def _chance(hits_S: Floats, sizes_S: Floats, failed: int, count: int) -> Floats:
    """Probability of so many failures in each region by luck: Fisher's exact test, one-sided.

    Source: Fisher 1935; it is the upper tail of a hypergeometric distribution.
    """
    return np.asarray(hypergeom.sf(hits_S - 1, count, failed, sizes_S))
