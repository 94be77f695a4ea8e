"""How much of the score's variance each hyperparameter causes, alone and with others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.sensitivity.axis import Floats
from reports.sensitivity.surrogate import Posterior


@dataclass(frozen=True)
class Shares:
    """Sobol shares of S functions, each 0 to 1; variance_S is what they are shares of.

    pair_S holds for two axes' numbers the share of what only both together explain; parts_PS are the
    shares of the products, of which uses_DP says whose they are.
    """

    main_DS: Floats
    total_DS: Floats
    pair_S: dict[tuple[int, int], Floats]
    variance_S: Floats
    parts_PS: Floats
    uses_DP: NDArray[np.bool_]

    def of_any(self, axes: Sequence[int]) -> Floats:
        """The total share of several axes together: of all products that use at least one, (S,)."""
        return np.asarray(self.parts_PS[self.uses_DP[list(axes)].any(axis=0)].sum(axis=0))


def sobol_shares(posterior: Posterior, active_P: Floats | None = None) -> Shares:
    """First-order, total and pair shares over the declared space, exact for each drawn function.

    The products of the axes' functions have variance 1 and no correlation, so a squared coefficient
    is a variance. A function that is constant has no shares: they are 0. `active_P` is the part of
    the space in which each product's parameters exist at all; without it, all of it.
    Source: Sobol 1993; Sudret 2008, doi:10.1016/j.ress.2007.04.002 (from an orthogonal expansion).
    """
    terms = posterior.terms
    squares_PS = posterior.coefficients_PS**2
    if active_P is not None:
        squares_PS = squares_PS * active_P[:, None]
    variance_S = squares_PS.sum(axis=0)
    parts_PS = squares_PS / np.maximum(variance_S, np.finfo(float).tiny)
    alone = terms.order_P == 1
    pairs = {}
    twos = np.flatnonzero(terms.order_P == 2)
    members = [tuple(np.flatnonzero(terms.uses_DP[:, p])) for p in twos]
    for pair in dict.fromkeys(members):
        rows = twos[[member == pair for member in members]]
        pairs[int(pair[0]), int(pair[1])] = parts_PS[rows].sum(axis=0)
    return Shares(
        main_DS=terms.uses_DP[:, alone].astype(float) @ parts_PS[alone],
        total_DS=terms.uses_DP.astype(float) @ parts_PS,
        pair_S=pairs,
        variance_S=variance_S,
        parts_PS=parts_PS,
        uses_DP=terms.uses_DP,
    )
