"""TrialTable: the trials of a study as plain data, read once, used by every section."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from reports.errors import ReportError
from reports.wording import counted

STATUSES = ("finished", "pruned", "failed", "interrupted", "running", "waiting")
ONE_AT_A_TIME = "one at a time"
"""How the sampler of that name says that it chose a trial"""


@dataclass(frozen=True)
class Column:
    """One searched parameter: its declared range and scale; `step` apart, where only some values are."""

    name: str
    kind: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    step: float | None = None

    @property
    def size(self) -> float:
        """How many values it may have; infinite for a range without steps."""
        if self.kind == "choice":
            return len(self.choices)
        if self.low is not None and self.low == self.high:
            return 1
        if not self.step or self.low is None or self.high is None:
            return math.inf
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1


@dataclass(frozen=True)
class TrialRow:
    """One trial. `objective` is None unless it finished; `curve` is (step, value) pairs."""

    number: int
    status: str
    purpose: str
    chosen_by: str
    params: dict[str, Any]
    objective: float | None
    curve: list[tuple[float, float]]
    seed: int | None = None
    confirms: int | None = None
    continues: int | None = None
    wall_seconds: float | None = None
    billable_seconds: float | None = None
    cost_usd: float | None = None
    instance: str = ""
    training_job: str = ""
    failure: str = ""
    stderr_tail: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def last_score(self) -> float | None:
        """The objective; of a pruned trial, the last score that it reported."""
        if self.status == "pruned" and self.curve:
            return self.curve[-1][1]
        return self.objective


@dataclass(frozen=True)
class TrialTable:
    """All trials of a study, its parameters and the facts about the run.

    Of a study with several `objectives`, the scores are those of the one of number `objective`.
    """

    name: str
    metric: str
    maximize: bool
    steps_are_percent: bool
    columns: list[Column]
    trials: list[TrialRow]
    facts: dict[str, Any]
    objective: int = 1
    objectives: int = 1

    def by_number(self, number: int) -> TrialRow:
        """The trial of this number."""
        return next(t for t in self.trials if t.number == number)

    def finished(self, purpose: str | None = None) -> list[TrialRow]:
        """The trials with an objective, by number."""
        return [
            t for t in self.trials
            if t.status == "finished" and (purpose is None or t.purpose == purpose)
        ]  # fmt: skip

    def best_first(self, purpose: str = "search") -> list[TrialRow]:
        """Finished trials, best first; equal ones by number."""
        sign = -1.0 if self.maximize else 1.0
        return sorted(self.finished(purpose), key=lambda t: (sign * (t.objective or 0.0), t.number))

    def is_better(self, a: float, b: float) -> bool:
        """Whether score `a` is strictly better than score `b`."""
        return a > b if self.maximize else a < b

    @property
    def unpriced(self) -> int:
        """How many trials have taken time at a price that is not known."""
        return sum(
            t.cost_usd is None and bool(t.wall_seconds)
            for t in self.trials
            if t.status != "running"
        )

    @property
    def is_choice(self) -> bool:
        """Whether the best search trial was picked among several, so that its score is partly luck."""
        return len(self.finished("search")) > 1

    @property
    def is_one_at_a_time(self) -> bool:
        """Whether the search was an ablation: the default, and each of its values changed alone, by its sampler."""
        chosen = {t.chosen_by for t in self.trials if t.purpose == "search"}
        return ONE_AT_A_TIME in chosen and chosen <= {"default", ONE_AT_A_TIME}

    def cut_short(self, purpose: str) -> list[TrialRow]:
        """Trials of a purpose that were interrupted and that no later one continues."""
        continued = {t.continues for t in self.trials}
        return [
            t for t in self.trials
            if t.purpose == purpose and t.status == "interrupted" and t.number not in continued
        ]  # fmt: skip

    def count(self, status: str) -> int:
        """How many trials have this status."""
        return sum(t.status == status for t in self.trials)


def read_table(study: Study, objective: int = 1) -> TrialTable:
    """The table of any Optuna study; of several objectives, the one of this number, from 1.

    Raises ReportError where the study has no such objective.
    """
    count = len(study.directions)
    if not 1 <= objective <= count:
        has = counted(count, "objective")
        raise ReportError(f"study {study.study_name} has {has}; there is no number {objective}")
    names = study.metric_names
    attributes = dict(study.user_attrs)
    if names and "metric" not in attributes:
        attributes["metric"] = names[objective - 1]
    return table_of(
        study.get_trials(deepcopy=False),
        maximize=study.directions[objective - 1] == StudyDirection.MAXIMIZE,
        name=study.study_name,
        attributes=attributes,
        objective=objective,
        objectives=count,
    )


def table_of(
    frozen: Sequence[FrozenTrial],
    maximize: bool,
    name: str = "trials",
    attributes: Mapping[str, Any] | None = None,
    objective: int = 1,
    objectives: int = 1,
) -> TrialTable:
    """The table of Optuna's trials, whatever study they are from."""
    attributes = attributes or {}
    metric = "objective" if objectives == 1 else f"objective {objective}"
    return TrialTable(
        name=name,
        metric=str(attributes.get("metric", metric)),
        maximize=maximize,
        steps_are_percent="schema" in attributes
        and not any(t.user_attrs.get("steps") == "evaluations" for t in frozen),
        columns=_columns(frozen),
        trials=_with_beginnings(_numbered([_row(t, objective) for t in frozen])),
        facts=dict(attributes),
        objective=objective,
        objectives=objectives,
    )


def _numbered(rows: list[TrialRow]) -> list[TrialRow]:
    """Rows with numbers of their own: trials that were never in a study all have the same."""
    if len({row.number for row in rows}) == len(rows):
        return rows
    return [replace(row, number=i) for i, row in enumerate(rows)]


def _with_beginnings(rows: list[TrialRow]) -> list[TrialRow]:
    """Trials that continue an interrupted one, with the part of the curve that it had."""
    by_number: dict[int, TrialRow] = {}
    for row in rows:
        before = by_number.get(row.continues) if row.continues is not None else None
        if before is not None:
            first = row.curve[0][0] if row.curve else math.inf
            curve = [point for point in before.curve if point[0] < first] + row.curve
            row = replace(row, curve=curve)
        by_number[row.number] = row
    return list(by_number.values())


def _columns(trials: Sequence[FrozenTrial]) -> list[Column]:
    """Every parameter in the order of its first use, with the widest range it was given."""
    found: dict[str, Column] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            column = _column(name, distribution)
            before = found.get(name)
            if before is not None and before.kind == column.kind and column.low is not None:
                assert before.low is not None
                assert before.high is not None
                assert column.high is not None
                column = Column(
                    name, column.kind, before.log and column.log,
                    min(before.low, column.low), max(before.high, column.high),
                    step=column.step if before.step == column.step else None,
                )  # fmt: skip
            found[name] = column
    return list(found.values())


def _column(name: str, distribution: BaseDistribution) -> Column:
    if isinstance(distribution, CategoricalDistribution):
        return Column(name, "choice", choices=tuple(distribution.choices))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    kind = "float" if isinstance(distribution, FloatDistribution) else "int"
    low, high, step = distribution.low, distribution.high, distribution.step
    return Column(
        name, kind, distribution.log, float(low), float(high), step=float(step) if step else None
    )


def _row(trial: FrozenTrial, number: int) -> TrialRow:
    attributes: Mapping[str, Any] = trial.user_attrs
    status = {
        TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
        TrialState.RUNNING: "running", TrialState.WAITING: "waiting",
    }[trial.state]  # fmt: skip
    if status in ("failed", "waiting") and attributes.get("outcome") == "interrupted":
        status = "interrupted"
    scores = trial.values if trial.state == TrialState.COMPLETE else None
    objective, failure = scores[number - 1] if scores else None, str(attributes.get("failure", ""))
    if objective is not None and not math.isfinite(objective):
        failure = failure or f"its objective is {objective:g}"
        status, objective = "failed", None
    seconds = as_number(attributes.get("wall_seconds"))
    # The end of a trial whose process was killed is only known to be before the next run.
    if seconds is None and trial.duration is not None and status != "interrupted":
        seconds = trial.duration.total_seconds()
    metrics = attributes.get("metrics")
    metrics = dict(metrics) if isinstance(metrics, dict) else {}
    if scores and len(scores) > 1:
        metrics |= {f"objective {i}": score for i, score in enumerate(scores, start=1)}
    return TrialRow(
        number=trial.number,
        status=status,
        purpose="confirm" if attributes.get("purpose") == "confirm" else "search",
        chosen_by=str(attributes.get("chosen_by", "unknown")),
        params=_declared(trial),
        objective=objective,
        curve=[
            (float(step), float(value))
            for step, value in sorted(trial.intermediate_values.items())
            if math.isfinite(value)
        ],
        seed=_as_int(attributes.get("seed")),
        confirms=_as_int(attributes.get("confirms")),
        continues=_as_int(attributes.get("continues")),
        wall_seconds=seconds,
        billable_seconds=as_number(attributes.get("billable_seconds")),
        cost_usd=as_number(attributes.get("cost_usd")),
        instance=str(attributes.get("instance", "")),
        training_job=str(attributes.get("training_job", "")),
        failure=failure,
        stderr_tail=_as_lines(attributes.get("stderr_tail")),
        arguments=_as_lines(attributes.get("arguments")),
        metrics=metrics,
    )


def _declared(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters, a choice as it was declared: 1 and True are equal, but not the same text."""
    params = dict(trial.params)
    for name, distribution in trial.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            params[name] = distribution.choices[int(distribution.to_internal_repr(params[name]))]
    return params


def as_number(value: Any) -> float | None:
    """A finite number as a float; None for anything else. Other people's attributes hold anything."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _as_int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_lines(value: Any) -> list[str]:
    return [str(line) for line in value] if isinstance(value, list) else []
