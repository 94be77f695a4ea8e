"""What makes trials fail: an outcome of its own, not a missing score."""

from itertools import pairwise

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
    splits = [(axis.name, *split) for j, axis in enumerate(axes)
              for split in _splits(axis, positions_ND[:, j], failed_N)]  # fmt: skip
    if splits:
        name, where, inside_N = min(splits, key=lambda split: _chance(split[2], failed_N))
        # Each split had its chance to look good by luck.
        if total[name].low > MATTERS_ABOVE and _chance(inside_N, failed_N) * len(splits) < 0.05:
            inside, outside = failed_N[inside_N], failed_N[~inside_N]
            text = (
                f"{lead}, more often with some values of {name}: {where}, {inside.sum()} of "
                f"{len(inside)} failed, elsewhere {outside.sum()} of {len(outside)}."
            )
            return Failures(failed, count, total, text)
    text = f"{lead}; which hyperparameter makes them fail, these trials cannot tell."
    return Failures(failed, count, total, text)


def _splits(
    axis: Axis, positions_N: Floats, failed_N: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Regions of one axis, each with the trials inside: at least three failures among them."""
    options: list[tuple[str, NDArray[np.bool_]]] = []
    places = np.unique(positions_N[np.isfinite(positions_N)])
    if axis.ordered:
        for before, after in pairwise(places):
            options.append((f"at {shown(axis.value(after))} and above", positions_N >= after))
            options.append((f"at {shown(axis.value(before))} and below", positions_N <= before))
    else:
        options = [(f"with {shown(axis.value(p))}", positions_N == p) for p in places]
    return [(where, inside) for where, inside in options
            if failed_N[inside].sum() >= FEWEST and not inside.all()]  # fmt: skip


def _chance(inside_N: NDArray[np.bool_], failed_N: NDArray[np.bool_]) -> float:
    """Probability of so many failures inside by luck: Fisher's exact test, one-sided.

    Source: Fisher 1935; it is the upper tail of a hypergeometric distribution.
    """
    hits = int(failed_N[inside_N].sum())
    return float(hypergeom.sf(hits - 1, len(failed_N), int(failed_N.sum()), int(inside_N.sum())))
