"""What makes trials fail: an outcome of its own, not a missing score."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.sensitivity.axis import Axis, Floats
from reports.sensitivity.interval import of_draws
from reports.sensitivity.result import Failures
from reports.sensitivity.shares import sobol_shares
from reports.sensitivity.surrogate import Surrogate
from reports.sensitivity.terms import Terms
from reports.sensitivity.verdict import MATTERS_ABOVE

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
        return Failures(failed, count, {}, f"All {count} search trials failed.")
    if min(failed, count - failed) < FEWEST:
        return Failures(failed, count, {}, f"{lead}: too few to say what makes them fail.")
    surrogate = Surrogate(
        Terms(axes, MOST_TERMS),
        positions_ND,
        np.where(failed_N, 0.0, -np.inf),
        np.where(failed_N, np.inf, 0.0),
        noise_variance=1.0,
    )
    posterior, _ = surrogate.sample(np.random.default_rng([seed, 51]), draws=60)
    shares = sobol_shares(posterior)
    total = {axis.name: of_draws(shares.total_DS[j], level) for j, axis in enumerate(axes)}
    strongest = max(range(len(axes)), key=lambda j: total[axes[j].name].estimate)
    name = axes[strongest].name
    split = _split(axes[strongest], positions_ND[:, strongest], failed_N)
    if total[name].low <= MATTERS_ABOVE or split is None:
        text = f"{lead}; which hyperparameter makes them fail, these trials cannot tell."
        return Failures(failed, count, total, text)
    where, inside_failed, inside, outside_failed, outside = split
    text = (
        f"{lead}, mostly because of {name}: {where}, {inside_failed} of {inside} failed, "
        f"elsewhere {outside_failed} of {outside}."
    )
    return Failures(failed, count, total, text)


def _split(
    axis: Axis, positions_N: Floats, failed_N: NDArray[np.bool_]
) -> tuple[str, int, int, int, int] | None:
    """The region of one axis in which most fail, by the Gini index of a single split."""
    known = np.isfinite(positions_N)
    at, failed = positions_N[known], failed_N[known]
    options: list[tuple[str, NDArray[np.bool_]]] = []
    places = np.unique(at)
    for before, after in itertools.pairwise(places):
        if axis.ordered:
            options.append((f"at {_shown(axis.value(after))} and above", at >= after))
            options.append((f"at {_shown(axis.value(before))} and below", at <= before))
    if not axis.ordered:
        options = [(f"with {_shown(axis.value(p))}", at == p) for p in places]

    def impurity(inside: NDArray[np.bool_]) -> float:
        parts = [failed[inside], failed[~inside]]
        return sum(
            len(part) * float(part.mean()) * (1 - float(part.mean())) for part in parts if len(part)
        )

    options = [
        o for o in options if o[1].any() and not o[1].all()
        and failed[o[1]].mean() > failed[~o[1]].mean()
    ]  # fmt: skip
    if not options:
        return None
    where, inside = min(options, key=lambda option: impurity(option[1]))
    return (
        where, int(failed[inside].sum()), int(inside.sum()),
        int(failed[~inside].sum()), int((~inside).sum()),
    )  # fmt: skip


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
