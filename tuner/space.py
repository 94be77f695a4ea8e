"""SearchSpace: the parameters of a sweep, and their translations.

Three forms, one parameter each: `{float: [low, high]}`, `{int: [low, high]}`, `{choice: [...]}`;
with `scale: log`, `step:`, `when: {other: value}` (active only then) and `default:`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, model_validator

from tuner.block import Block

Scalar = bool | int | float | str
Point = dict[str, Scalar]
LARGEST = 2.0**53
"""Beyond this a float no longer tells whole numbers apart."""


class Parameter(Block):
    """One searched hyperparameter and its range."""

    float_range: list[float] | None = Field(default=None, alias="float")
    """`[low, high]`, both included"""
    int_range: list[int] | None = Field(default=None, alias="int")
    """`[low, high]`, both included"""
    choice: list[Scalar] | None = None
    """The values to choose from"""
    scale: Literal["linear", "log"] = "linear"
    """`log` where a factor matters and not a difference, as for learning rates"""
    step: float | None = None
    """Only low, low + step, …, high"""
    when: dict[str, Scalar | list[Scalar]] | None = None
    """Active only where another parameter has this value, or one of these"""
    default: Scalar | None = None
    """The value of the first trial; left out: the script's default, moved into the range"""

    @model_validator(mode="after")
    def _whole(self) -> "Parameter":
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        forms = {"float": self.float_range, "int": self.int_range, "choice": self.choice}
        forms = {name: form for name, form in forms.items() if form is not None}
        if len(forms) != 1:
            found = " and ".join(forms) or "none"
            yield f"needs exactly one of float, int, choice (found {found})"
            return
        if self.choice is not None:
            yield from self._choice_problems(self.choice)
        else:
            yield from self._range_problems(self.kind)
        if self.default is not None and not self._holds(self.default):
            yield f"default {self.default!r} is none of its values"

    def _choice_problems(self, values: list[Scalar]) -> Iterator[str]:
        if not values:
            yield "choice is empty; name at least one value"
        if len(set(values)) < len(values):  # 1, 1.0 and true are one value to Optuna
            yield "choice names a value twice"
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            yield "choice needs finite numbers"
        if self.scale == "log" or self.step is not None:
            yield "scale and step go with float and int, not with choice"

    def _range_problems(self, form: str) -> Iterator[str]:
        bounds = self.bounds
        if len(bounds) != 2:
            yield f"{form} needs [low, high], not {len(bounds)} values"
            return
        low, high = bounds
        if not all(abs(bound) <= LARGEST for bound in bounds):
            yield f"{form} needs bounds between -{LARGEST:g} and {LARGEST:g}"
        elif low >= high:
            yield f"low {low:g} must be less than high {high:g}"
        elif self.scale == "log" and low <= 0:
            yield f"scale log needs a low above 0, not {low:g}"
        if self.step is None:
            return
        if not 0 < self.step <= LARGEST:
            yield f"step {self.step:g} must be a number above 0"
        elif self.scale == "log":
            yield "step does not go with scale log"
        elif form == "int" and not self.step.is_integer():
            yield f"step {self.step:g} of an int must be a whole number"
        elif abs((high - low) / self.step - round((high - low) / self.step)) > 1e-9:
            yield f"step {self.step:g} does not lead from {low:g} to {high:g}"

    def offers(self, value: Scalar) -> bool:
        """Whether this is one of its values; 3.0 is that where 3 is, as `when:` reads it."""
        if self.choice is not None:
            return value in self.choice
        return (
            isinstance(value, (int, float)) and not isinstance(value, bool)
            and math.isfinite(value) and self.nearest(value) == value
        )  # fmt: skip

    def _holds(self, value: Scalar) -> bool:
        if self.choice is not None:
            return any(value == option and type(value) is type(option) for option in self.choice)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.kind == "int" and not isinstance(value, int):
            return False
        low, high = self.bounds
        if not low <= value <= high:
            return False
        steps = (value - low) / self.step if self.step else 0.0
        return bool(abs(steps - round(steps)) < 1e-9)

    @property
    def bounds(self) -> Sequence[Any]:
        """[low, high] of a float or an int."""
        return self.float_range if self.float_range is not None else self.int_range or ()

    @property
    def kind(self) -> str:
        """`float`, `int` or `choice`."""
        if self.choice is not None:
            return "choice"
        return "float" if self.float_range is not None else "int"

    @property
    def values(self) -> Sequence[Scalar]:
        """The ends of the range, or every choice: what a range check has to look at."""
        return self.choice if self.choice is not None else self.bounds

    def distribution(self) -> BaseDistribution:
        """The Optuna distribution."""
        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        low, high = self.bounds
        log = self.scale == "log"
        if self.kind == "float":
            return FloatDistribution(low, high, log=log, step=self.step)
        return IntDistribution(low, high, log=log, step=int(self.step or 1))

    def from_unit(self, u: float) -> Scalar:
        """The value at `u` in [0, 1), uniform on the parameter's own scale."""
        if self.choice is not None:
            return self.choice[int(u * len(self.choice))]
        low, high = self.bounds
        if self.kind == "float" and self.step is None:
            if self.scale == "log":
                value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
            else:
                value = low + u * (high - low)
            return float(min(max(value, low), high))
        if self.scale == "log":  # an int: equal steps in log between the rounding edges
            edge_low, edge_high = math.log(low - 0.5), math.log(high + 0.5)
            return int(min(max(round(math.exp(edge_low + u * (edge_high - edge_low))), low), high))
        return self._at(int(u * self.size))

    @property
    def size(self) -> int:
        """How many values a choice, an int or a stepped float has; 0 for a continuous float."""
        if self.choice is not None:
            return len(self.choice)
        low, high = self.bounds
        if self.kind == "int":
            return int((high - low) // int(self.step or 1)) + 1
        return round((high - low) / self.step) + 1 if self.step is not None else 0

    def _at(self, index: int) -> Scalar:
        """Value `index` of the grid."""
        if self.choice is not None:
            return self.choice[index]
        low, high = self.bounds
        if self.kind == "int":
            return int(low + index * int(self.step or 1))
        # Rounded so that steps of 0.1 give 0.3 and not 0.30000000000000004.
        return float(min(round(low + index * (self.step or 0.0), 12), high))

    def grid(self, most: int | None = None) -> list[Scalar]:
        """The values of a choice, an int or a stepped float, the first `most` of them at most.

        Empty for a continuous float.
        """
        return [self._at(index) for index in range(min(self.size, most or self.size))]

    def nearest(self, wanted: Scalar) -> Scalar:
        """The value nearest to `wanted`; for a choice that is not offered, the first.

        Of a choice as it is offered: 1 where 1 is and 1.0 was wanted, as Optuna will give it back.
        """
        if self.choice is not None:
            return next((option for option in self.choice if option == wanted), self.choice[0])
        low, high = self.bounds
        value = min(max(float(wanted), low), high)
        if not self.size:
            return float(value)
        step = int(self.step or 1) if self.kind == "int" else float(self.step or 1)
        return self._at(min(math.floor((value - low) / step + 0.5 - 1e-9), self.size - 1))


class SearchSpace:
    """The parameters by name, parents before the parameters that depend on them."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters: dict[str, Parameter] = {}
        waiting = dict(parameters)
        while waiting:
            ready = [name for name, p in waiting.items() if not set(p.when or ()) & set(waiting)]
            if not ready:
                raise ValueError(f"when: {', '.join(waiting)} depend on each other in a circle")
            for name in ready:
                self.parameters[name] = waiting.pop(name)

    def distributions(self) -> dict[str, BaseDistribution]:
        """The Optuna distribution of every parameter."""
        return {name: parameter.distribution() for name, parameter in self.parameters.items()}

    @property
    def is_conditional(self) -> bool:
        """Whether any parameter is active only for some values of another."""
        return any(parameter.when for parameter in self.parameters.values())

    def is_active(self, name: str, point: Mapping[str, Scalar]) -> bool:
        """Whether the parameter counts at this point (its parents already set)."""
        for parent, wanted in (self.parameters[name].when or {}).items():
            allowed = wanted if isinstance(wanted, list) else [wanted]
            if parent not in point or point[parent] not in allowed:
                return False
        return True

    def suggest(self, trial: optuna.Trial) -> Point:
        """The trial's value of every active parameter."""
        point: Point = {}
        for name, parameter in self.parameters.items():
            if not self.is_active(name, point):
                continue
            if parameter.choice is not None:
                value: Any = trial.suggest_categorical(name, list(parameter.choice))
                point[name] = value
                continue
            low, high = parameter.bounds
            log = parameter.scale == "log"
            if parameter.kind == "float":
                drawn = trial.suggest_float(name, low, high, log=log, step=parameter.step)
                # Optuna may say 0.30000000000000004, which is no other configuration than 0.3.
                point[name] = parameter.nearest(drawn) if parameter.step else drawn
            else:
                step = int(parameter.step or 1)
                point[name] = trial.suggest_int(name, low, high, log=log, step=step)
        return point

    def from_unit(self, u_D: Sequence[float]) -> Point:
        """The point at `u_D` in the unit cube, D = number of parameters; inactive ones left out."""
        point: Point = {}
        for u, (name, parameter) in zip(u_D, self.parameters.items(), strict=True):
            if self.is_active(name, point):
                point[name] = parameter.from_unit(u)
        return point

    def grid_size(self) -> int:
        """The most points that the grid can have (conditional parameters make fewer)."""
        return math.prod(parameter.size for parameter in self.parameters.values())

    def grid(self) -> list[Point]:
        """Every point of the grid, each once (conditional parameters make fewer)."""
        points: dict[str, Point] = {}
        for values in product(*(parameter.grid() for parameter in self.parameters.values())):
            point: Point = {}
            for name, value in zip(self.parameters, values, strict=True):
                if self.is_active(name, point):
                    point[name] = value
            points[repr(point)] = point
        return list(points.values())

    def one_change(self, base: Point) -> list[Point]:
        """Every point that differs from `base` in the value of one parameter; needs a space without conditions."""
        return [
            base | {name: value}
            for name, parameter in self.parameters.items()
            for value in parameter.grid()
            if value != base[name]
        ]

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether this is a point of the space, with exactly the parameters that it has there."""
        active = {name for name in self.parameters if self.is_active(name, point)}
        return set(point) == active and all(self.parameters[n]._holds(point[n]) for n in active)

    def nearest(self, values: Mapping[str, Scalar]) -> Point:
        """The point of the space nearest to `values`; choices that are not offered: the first."""
        point: Point = {}
        for name, parameter in self.parameters.items():
            if not self.is_active(name, point):
                continue
            point[name] = parameter.nearest(values[name])
        return point
