"""One hyperparameter's declared range as an axis with a basis of functions on it.

Each axis carries K functions that have mean 0, variance 1 and no correlation over the declared range
(uniform: in the logarithm where the space says log, over the levels where there are levels). A
function of all hyperparameters is a sum of products of these, and the variance that each product
causes is its squared coefficient: shares need no integration.

For numbers the functions are the principal components of a centred Matérn 5/2 process on the range;
for unordered choices they are contrasts, so that no two choices are nearer than others.
Source: Durrande et al. 2013, doi:10.1016/j.jmva.2012.08.016 (centred kernels); Rasmussen and
Williams 2006, §4.3 (eigenfunctions).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.stats import qmc

Floats = NDArray[np.float64]

MOST_FUNCTIONS = 10  # a step keeps 95 % of its variance, two full waves 99.98 %
MOST_LEVELS = 64  # more levels than this are treated as a continuous range
NODES = 100
BASIS_LENGTH = 0.5  # the length scale whose components are used; the weights follow any other
LENGTHS = np.exp(np.linspace(math.log(0.1), math.log(5.0), 25))


class Axis:
    """A hyperparameter's range, mapped to positions: 0 to 1, or the index of an unordered choice."""

    def __init__(
        self,
        name: str,
        low: float | None = None,
        high: float | None = None,
        *,
        log: bool = False,
        step: float | None = None,
        choices: Sequence[Any] = (),
    ) -> None:
        self.name, self.choices = name, tuple(choices)
        self.ordered = not choices or all(
            _is_number(choice) and math.isfinite(choice) for choice in choices
        )
        self._log, self._low, self._high, self._step = log, low, high, step
        self._levels: list[Any] = []
        if choices:
            self._levels = sorted(choices) if self.ordered else list(choices)
        elif step and low is not None and high is not None:
            count = math.floor((high - low) / step + 1e-9) + 1
            if count <= MOST_LEVELS:
                whole = float(low).is_integer() and float(step).is_integer()
                self._levels = [low + i * step for i in range(count)]
                if whole:
                    self._levels = [int(level) for level in self._levels]
                self._high = self._levels[-1]
        self._positions_G, self._weights_G = self._grid()
        self.size = 0
        self._basis_GK = np.zeros((len(self._positions_G), 0))
        self._spline: CubicSpline | None = None
        if len(self._positions_G) > 1:
            self._build()

    @property
    def is_smooth(self) -> bool:
        """Whether near values have near effects, so that a length scale says how near."""
        return self._spline is not None

    @property
    def has_levels(self) -> bool:
        """Whether only certain values are declared."""
        return bool(self._levels)

    def position(self, value: Any) -> float:
        """Where a value lies; beyond the range, its end; NaN for one that was not declared."""
        if self._levels and not self.ordered:
            same = [i for i, choice in enumerate(self._levels) if _equal(choice, value)]
            exact = [i for i in same if type(self._levels[i]) is type(value)]  # 1 is not True
            return float((exact or same)[0]) if same else math.nan
        if not _is_number(value) or not math.isfinite(value):
            return math.nan
        if self.choices:
            rank = float(np.interp(value, self._levels, np.arange(len(self._levels))))
            return rank / max(len(self._levels) - 1, 1)
        return self._scaled(float(value))

    def holds(self, value: Any) -> bool:
        """Whether a value was declared: Optuna only warns of an enqueued one that was not."""
        if self.choices:
            return any(_equal(choice, value) for choice in self._levels)
        if not _is_number(value) or self._low is None or self._high is None:
            return False
        slack = 1e-9 * max(abs(self._low), abs(self._high))
        return bool(self._low - slack <= value <= self._high + slack)

    def value(self, position: float) -> Any:
        """The value at a position, in the parameter's own unit."""
        if self._levels:
            index = int(np.abs(self._positions_G - position).argmin())
            return self._levels[index]
        assert self._low is not None
        assert self._high is not None
        if self._log:
            found = self._low * (self._high / self._low) ** position
        else:
            found = self._low + (self._high - self._low) * position
        if not self._step:
            return float(found)
        stepped = self._low + round((found - self._low) / self._step) * self._step
        whole = float(self._low).is_integer() and float(self._step).is_integer()
        return int(stepped) if whole else float(stepped)

    def candidates(self, count: int = 41) -> Floats:
        """Positions to try along the axis: every level, or `count` evenly spaced ones."""
        return self._positions_G if self._levels else np.linspace(0.0, 1.0, count)

    def near(self, position: float, reach: float) -> Floats:
        """Positions in the neighbourhood: within `reach` of the range, at least one level away.

        All of them for unordered choices. Shape (M,).
        """
        if not math.isfinite(position):
            return np.array([position])
        if not self.ordered:
            return self._positions_G
        if not self._levels:
            return np.linspace(max(0.0, position - reach), min(1.0, position + reach), 33)
        index = int(np.abs(self._positions_G - position).argmin())
        within = np.abs(self._positions_G - position) <= reach + 1e-9
        within[max(0, index - 1) : index + 2] = True
        chosen: Floats = self._positions_G[within]
        return chosen

    def draw(self, uniform_N: Floats) -> Floats:
        """Positions spread over the declared range from uniform numbers in [0, 1)."""
        if not self._levels:
            return uniform_N
        index = np.searchsorted(np.cumsum(self._weights_G), uniform_N, side="right")
        at_N: Floats = self._positions_G[np.minimum(index, len(self._positions_G) - 1)]
        return at_N

    def features(self, positions_N: Floats) -> Floats:
        """The basis functions at positions, shape (N, K); 0, their mean, where a position is NaN."""
        known = np.isfinite(positions_N)
        at_N = np.where(known, positions_N, 0.0)
        if self._levels:
            nearest = np.abs(at_N[:, None] - self._positions_G).argmin(axis=1)
            values = self._basis_GK[nearest]
        else:
            values = self._between(at_N) if self.size else np.zeros((len(at_N), 0))
        return np.asarray(values * known[:, None], dtype=float)

    def log_weights(self, log_length: float) -> tuple[Floats, Floats]:
        """Logarithm of each function's share of the prior variance, and its derivative; (K,) both.

        The length scale is in units of the range. Without one the shares are equal.
        """
        if self._spline is None:
            return np.full(self.size, -math.log(max(self.size, 1))), np.zeros(self.size)
        inside = min(max(log_length, math.log(LENGTHS[0])), math.log(LENGTHS[-1]))
        return self._spline(inside), self._spline(inside, 1) * (inside == log_length)

    def _grid(self) -> tuple[Floats, Floats]:
        if not self._levels:
            if self._low is None or self._high is None or self._low >= self._high:
                return np.zeros(1), np.ones(1)
            nodes, weights = leggauss(NODES)
            return (nodes + 1) / 2, weights / 2
        count = len(self._levels)
        if not self.ordered:
            return np.arange(count, dtype=float), np.full(count, 1 / count)
        if self.choices:  # 8, 16, 32: evenly spaced, since each is declared as likely as the next
            return np.arange(count) / max(count - 1, 1), np.full(count, 1 / count)
        positions = np.array([self._scaled(v) for v in self._levels])
        if not self._log:
            return positions, np.full(count, 1 / count)
        # As Optuna draws them: uniform in the logarithm of what rounds to each.
        levels, half = np.array(self._levels, dtype=float), (self._step or 1.0) / 2
        weights = np.log((levels + half) / np.maximum(levels - half, half / 2))
        return positions, weights / weights.sum()

    def _scaled(self, value: float) -> float:
        if self._low is None or self._high is None or self._low >= self._high:
            return 0.0
        if self._log:
            if value <= 0:
                return 0.0
            at = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            at = (value - self._low) / (self._high - self._low)
        return min(max(at, 0.0), 1.0)

    def _build(self) -> None:
        count = len(self._positions_G)
        if not self.ordered:
            full, _ = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, : count - 1]]))
            self.size, self._basis_GK = count - 1, full[:, 1:] * math.sqrt(count)
            return
        self.size = min(MOST_FUNCTIONS, count - 1)
        root_G = np.sqrt(self._weights_G)
        centre_GG = np.eye(count) - np.outer(root_G, root_G)
        apart_GG = self._positions_G[:, None] - self._positions_G
        covariance_GG = centre_GG @ (np.outer(root_G, root_G) * _matern(apart_GG, BASIS_LENGTH))
        _, vectors = np.linalg.eigh(covariance_GG @ centre_GG)
        self._basis_GK = vectors[:, ::-1][:, : self.size] / root_G[:, None]
        # An eigenvector's sign is the library's choice; ours is that it rises at the end.
        self._basis_GK *= np.where(self._basis_GK[-1] < 0, -1.0, 1.0)
        if not self._levels:
            self._between = CubicSpline(self._positions_G, self._basis_GK)
        if self.size > 1:
            weighted_GK = self._basis_GK * self._weights_G[:, None]
            table = []
            for length in LENGTHS:
                share_K = np.einsum(
                    "gk,gh,hk->k", weighted_GK, _matern(apart_GG, length), weighted_GK
                )
                table.append(np.log(share_K / share_K.sum()))
            self._spline = CubicSpline(np.log(LENGTHS), np.array(table))


def all_over(axes: Sequence[Axis], count: int, rng: np.random.Generator) -> Floats:
    """Places spread evenly over the declared space (scrambled Sobol), (count, D)."""
    uniform = qmc.Sobol(len(axes), rng=rng).random(1 << max(0, count - 1).bit_length())[:count]
    return np.column_stack([axis.draw(u) for axis, u in zip(axes, uniform.T, strict=True)])


def _matern(distance: Floats, length: float) -> Floats:
    scaled = math.sqrt(5) * np.abs(distance) / length
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)  # NaN is not equal to itself


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
