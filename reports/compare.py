"""Two runs of one space, such as two slots of a schedule: has anything changed?

One surrogate of both runs' trials, in which the run is one more choice. What the run does alone is how
much better or worse all scores have become; what it does together with the hyperparameters is whether
the best place is another one. So both runs lend each other strength, and a change has to be shown by the
trials: without any, products with the run are held near zero by the prior (surrogate.py).
How often that errs is in docs/calibration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.study import Study
from threadpoolctl import threadpool_limits

from reports.analysis import analyze_table
from reports.errors import ReportError
from reports.runs import RUNS, in_run, view_of_runs
from reports.sensitivity.axis import Axis, Floats, all_over
from reports.sensitivity.interval import LEVEL, Interval, of_draws
from reports.sensitivity.local import SafeRange
from reports.sensitivity.result import Analysis
from reports.sensitivity.surrogate import Posterior
from reports.trials import TrialTable, read_table
from reports.view import axis_of, positions_of, scored_inside
from reports.winner import Winner, find_winner
from reports.wording import gap, listed, shown

SAME, BETTER, WORSE, MOVED, CANNOT_TELL = "same", "better", "worse", "moved", "cannot tell"
LEVEL_OF_ALL, LEVEL_OF_PLACE = 0.95, 0.8
"""Of the intervals that decide the verdict. Chosen on simulated pairs with other seeds than those of
docs/calibration.md, so that both together cry wolf in less than one pair of twenty"""
PLACES = 1024


@dataclass(frozen=True)
class Changed:
    """A figure of one hyperparameter whose intervals in the two runs have nothing in common."""

    parameter: str
    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What differs between run A (before) and run B (after), in the score's unit.

    `level_change` is what all scores have gained (B minus A), averaged over the space; None where the
    runs cannot be put on one surrogate (`reason`). `place_change` is what the best places of the two
    runs are worth against each other: above zero where each is better in its own run. `gain` is
    what B's winner gains over A's in run B, `probability` that it is above zero.
    """

    verdict: str
    sentence: str
    metric: str
    maximize: bool
    winners: tuple[Winner | None, Winner | None]
    level_change: Interval | None
    place_change: Interval | None
    gain: Interval | None
    probability: float | None
    reason: str
    disagreements: list[Changed]
    differences: list[str]


def compare(before: Study, after: Study, seed: int = 0) -> Comparison:
    """What has changed from one run to another of the same metric.

    Raises ReportError where the runs have another metric or direction.
    """
    tables = read_table(before), read_table(after)
    if (tables[0].metric, tables[0].maximize) != (tables[1].metric, tables[1].maximize):
        raise ReportError(
            f"the runs do not compare: one has {_goal(tables[0])}, the other {_goal(tables[1])}"
        )
    with threadpool_limits(limits=1, user_api="blas"):
        return _compare(tables, (before.user_attrs, after.user_attrs), seed)


def _goal(table: TrialTable) -> str:
    return f"{'maximize' if table.maximize else 'minimize'} {table.metric}"


@dataclass(frozen=True)
class Changes:
    """What one surrogate of both runs says; see `Comparison`."""

    level: Interval
    place: Interval
    gain: Interval
    probability: float

    @property
    def verdict(self) -> str:
        """`moved`, `better`, `worse` or `same`."""
        if self.place.low > 0:
            return MOVED
        if self.level.low > 0:
            return BETTER
        return WORSE if self.level.high < 0 else SAME


def changes_between(before: TrialTable, after: TrialTable, seed: int = 0) -> Changes | str:
    """What has changed; or the reason why it cannot be told."""
    winners = find_winner(before), find_winner(after)
    if winners[0] is None or winners[1] is None:
        return "one of the runs has no winner"
    pooled = _pooled(before, after, seed)
    if isinstance(pooled, str):
        return pooled
    posterior, axes = pooled
    sign = 1.0 if before.maximize else -1.0
    ends_ED = positions_of(
        axes, [before.by_number(winners[0].number), after.by_number(winners[1].number)]
    )
    level_S = sign * (_in_run(posterior, 1) - _in_run(posterior, 0))
    of_ends_ES = sign * _at(posterior, ends_ED, 1)
    gain_S = of_ends_ES[1] - of_ends_ES[0]
    return Changes(
        level=of_draws(level_S, LEVEL_OF_ALL),
        place=of_draws(_place_change(posterior, axes, ends_ED, sign, seed), LEVEL_OF_PLACE),
        gain=of_draws(gain_S, LEVEL),
        probability=float((gain_S > 0).mean()),
    )


def _compare(
    tables: tuple[TrialTable, TrialTable],
    facts: tuple[Mapping[str, Any], Mapping[str, Any]],
    seed: int,
) -> Comparison:
    found = changes_between(*tables, seed)
    analyses = analyze_table(tables[0], seed), analyze_table(tables[1], seed)
    told = None if isinstance(found, str) else found
    comparison = Comparison(
        verdict=told.verdict if told else CANNOT_TELL,
        sentence="",
        metric=tables[0].metric,
        maximize=tables[0].maximize,
        winners=(analyses[0].winner, analyses[1].winner),
        level_change=told.level if told else None,
        place_change=told.place if told else None,
        gain=told.gain if told else None,
        probability=told.probability if told else None,
        reason=found if isinstance(found, str) else "",
        disagreements=list(_changed(*analyses)),
        differences=list(differences_of(*facts)),
    )
    return replace(comparison, sentence=_sentence(comparison))


def _pooled(before: TrialTable, after: TrialTable, seed: int) -> tuple[Posterior, list[Axis]] | str:
    """One surrogate of both runs, whose last axis is the run; or why there is none."""
    columns = [{column.name: column for column in table.columns} for table in (before, after)]
    for name in sorted(set(columns[0]) | set(columns[1])):
        if columns[0].get(name) != columns[1].get(name):
            return f"{name} was not searched in the same range in both"
    axes = [axis for axis in map(axis_of, before.columns) if axis.size]
    first, second = scored_inside(axes, before), scored_inside(axes, after)
    for run, trials in zip(RUNS, (first, second), strict=True):
        if not any(t.status == "finished" for t in trials):
            return f"no trial of the run {run} finished"
    view = view_of_runs(before, axes, first, second, seed)
    if view.posterior is None or not view.fit.trusted:
        return view.fit.reason
    return view.posterior, axes


def _at(posterior: Posterior, positions_MD: Floats, run: int) -> Floats:
    """The score of every drawn function at points of one run, (M, S)."""
    return posterior.values(in_run(positions_MD, run))


def _in_run(posterior: Posterior, run: int) -> Floats:
    """The score of every drawn function, averaged over the space, in one run."""
    return np.asarray(_at(posterior, np.full((1, len(posterior.terms.axes) - 1), np.nan), run)[0])


def _place_change(
    posterior: Posterior, axes: list[Axis], ends_ED: Floats, sign: float, seed: int
) -> Floats:
    """How much better each run's best place is in its own run than in the other, (S,).

    The best places are those of the functions' mean. What moves all scores alike cancels out.
    """
    spread = all_over(axes, PLACES, np.random.default_rng([seed, 71]))
    places = np.vstack([spread, ends_ED])
    before_MS, after_MS = (sign * _at(posterior, places, run) for run in (0, 1))
    a, b = int(before_MS.mean(axis=1).argmax()), int(after_MS.mean(axis=1).argmax())
    return np.asarray(before_MS[a] - before_MS[b] + after_MS[b] - after_MS[a])


def _sentence(c: Comparison) -> str:
    if c.level_change is None or c.gain is None:
        return f"It cannot be told whether anything has changed: {c.reason}."
    level, gain = c.level_change, c.gain
    if c.verdict == MOVED:
        moved = (
            "The best place has moved: the two runs disagree about the hyperparameters by more than "
            "seed noise."
        )
        before, after = c.winners
        if before and after and before.params == after.params:
            return f"{moved} Both have the same winner all the same."
        return f"{moved} On the later run's data its winner is {_signed(gain, c)} against the earlier one."
    if c.verdict in (BETTER, WORSE):
        return (
            f"All scores are {c.verdict}: {_signed(level, c)} on average; the best place has not visibly "
            "moved."
        )
    return (
        f"Nothing has visibly changed: all scores differ by {_signed(level, c)} on average, and the two "
        "runs do not disagree about the best place."
    )


def _signed(gain: Interval, c: Comparison) -> str:
    better = "" if c.maximize else "; above 0 is better"
    return f"{gap(vars(gain))[:-1]}, {gain.level:.0%}{better})"


def _changed(before: Analysis, after: Analysis) -> list[Changed]:
    """Shares and safe ranges that have nothing in common."""
    found = []
    for name, one in before.parameters.items():
        other = after.parameters.get(name)
        if other is None:
            continue
        if one.total and other.total and not _overlap(one.total, other.total):
            found.append(Changed(name, "share", _share(one.total), _share(other.total)))
        a, b = one.safe_range, other.safe_range
        if a is not None and b is not None and _are_apart(a, b):
            found.append(Changed(name, "safe range", _range(a), _range(b)))
    return found


def _are_apart(a: SafeRange, b: SafeRange) -> bool:
    """Whether no value is in both; False too where one has an order and the other has none."""
    if a.low is not None and b.low is not None:
        return bool(a.high < b.low or b.high < a.low)
    has_order = a.low is not None or b.low is not None
    return not (has_order or {*map(repr, a.choices)} & {*map(repr, b.choices)})


def _range(safe: SafeRange) -> str:
    if safe.choices:
        return listed([shown(v) for v in safe.choices])
    return f"{shown(safe.low)} to {shown(safe.high)}"


def _overlap(a: Interval, b: Interval) -> bool:
    return a.low <= b.high and b.low <= a.high


def _share(interval: Interval) -> str:
    return f"{interval.estimate:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def differences_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the ledgers say is not the same: data, code, versions, the sweep's own settings."""
    found = []
    one, other = (facts.get("data") or {} for facts in (before, after))
    if one.get("sha256") != other.get("sha256"):
        sizes = [
            f"{d.get('training_examples', '?')} + {d.get('validation_examples', '?')}"
            for d in (one, other)
        ]
        found.append(f"the data is another: {sizes[0]} examples before, {sizes[1]} now")
    if before.get("code_sha256") != after.get("code_sha256"):
        found.append("the training script is another")
    machines = [dict(facts.get("machine") or {}) for facts in (before, after)]
    versions = [dict(machine.pop("packages", None) or {}) for machine in machines]
    for what, (a, b) in (("machine", machines), ("version", versions)):
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                found.append(f"{what}: {key} was {a.get(key)}, is {b.get(key)}")
    ignored = {"name", "storage", "prices", "sagemaker", "backend"}
    first, second = (_flat(facts.get("sweep") or {}, ignored) for facts in (before, after))
    return found + [
        f"{key} was {first.get(key)}, is {second.get(key)}"
        for key in sorted(set(first) | set(second))
        if first.get(key) != second.get(key)
    ]


def _flat(block: Mapping[str, Any], ignored: set[str], place: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in block.items():
        if not place and key in ignored:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, ignored, f"{place}{key}.")
        else:
            found[f"{place}{key}"] = value
    return found
