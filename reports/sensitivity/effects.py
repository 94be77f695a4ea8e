"""What the score does as one hyperparameter varies, or two: curves and maps, with their intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.sensitivity.axis import Axis, Floats
from reports.sensitivity.surrogate import Posterior

POINTS = 33
MAP_POINTS = 17


@dataclass(frozen=True)
class Effect:
    """The score (`middle`, `low`, `high`) at `values` of one hyperparameter, in the score's unit."""

    values: list[Any]
    middle: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class EffectMap:
    """The score at every pair of two hyperparameters' values, averaged over all others.

    middle[i][j] belongs to the second's value i and the first's value j; `half_width` is half of
    its interval.
    """

    names: tuple[str, str]
    values: tuple[list[Any], list[Any]]
    middle: list[list[float]]
    half_width: list[list[float]]


def averaged(posterior: Posterior, axis_number: int, level: float) -> Effect:
    """The score along one axis, averaged over all others: partial dependence.

    Exact for each drawn function: a product has mean 0 over each of its axes, so that only the
    axis's own functions remain. Source: Friedman 2001, §8.2; Hooker 2007 (functional ANOVA).
    """
    axis = posterior.terms.axes[axis_number]
    at_M = axis.candidates(POINTS)
    points_MD = np.full((len(at_M), len(posterior.terms.axes)), np.nan)
    points_MD[:, axis_number] = at_M
    return _effect(axis, at_M, posterior.values(points_MD), level)


def around(posterior: Posterior, axis_number: int, centre_D: Floats, level: float) -> Effect:
    """The score along one axis with all others held at a point."""
    axis = posterior.terms.axes[axis_number]
    at_M = axis.candidates(POINTS)
    points_MD = np.tile(centre_D, (len(at_M), 1))
    points_MD[:, axis_number] = at_M
    return _effect(axis, at_M, posterior.values(points_MD), level)


def together(posterior: Posterior, pair: tuple[int, int], level: float) -> EffectMap:
    """The score over two axes, averaged over all others."""
    axes = [posterior.terms.axes[j] for j in pair]
    first_M, second_M = (axis.candidates(MAP_POINTS) for axis in axes)
    points_MD = np.full((len(first_M) * len(second_M), len(posterior.terms.axes)), np.nan)
    points_MD[:, pair[0]] = np.tile(first_M, len(second_M))
    points_MD[:, pair[1]] = np.repeat(second_M, len(first_M))
    values_MS = posterior.thinned().values(points_MD)
    low_M, middle_M, high_M = _quantiles(values_MS, level)
    shape = (len(second_M), len(first_M))
    return EffectMap(
        (axes[0].name, axes[1].name),
        ([axes[0].value(at) for at in first_M], [axes[1].value(at) for at in second_M]),
        middle_M.reshape(shape).tolist(),
        ((high_M - low_M) / 2).reshape(shape).tolist(),
    )


def _effect(axis: Axis, at_M: Floats, values_MS: Floats, level: float) -> Effect:
    low_M, middle_M, high_M = _quantiles(values_MS, level)
    return Effect(
        [axis.value(at) for at in at_M], middle_M.tolist(), low_M.tolist(), high_M.tolist()
    )


def _quantiles(values_MS: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    low_M, middle_M, high_M = np.quantile(
        values_MS, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=1
    )
    return low_M, middle_M, high_M
