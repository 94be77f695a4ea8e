"""What a script's lines and its end mean. Plain data: no processes and no ledger here."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from tuner.processes import describe_exit, metric_pattern

LONGEST_VALUE = 2_000
DEEPEST = 20
"""What the ledger keeps of a script's record: values of so many characters and brackets"""


@dataclass(frozen=True)
class Ending:
    """How a trial ended: its outcome, Optuna's state for it, and why where it went wrong."""

    outcome: str
    state: TrialState
    failure: str = ""


@dataclass
class TrialOutput:
    """What a trial has said so far of the objective."""

    metric: str
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    value: float | None = None
    final: dict[str, Any] | None = None
    fraction: float | None = None
    curve: dict[int, float] = field(default_factory=dict)
    """The objective at each step where it was a number; a step is per cent of the schedule."""

    def take(self, line: str) -> bool:
        """Reads a line of stdout; whether it was an evaluation (and not the last line, or noise)."""
        record = _json_object(line)
        value = self._objective_in(line, record)
        if value is None:
            return False
        record = {key: each for key, each in record.items() if _can_be_kept(each)}
        self.value = value
        if record.get("final"):
            self.final = record
            return False
        self.fraction = _share_done(record)
        if self.fraction is not None:  # said again after an interruption, or begun anew
            earlier = [e for e in self.evaluations if (_share_done(e) or 0) < self.fraction]
            self.evaluations = earlier
        self.evaluations.append(record or {self.metric: value})
        if self.has_finite_value:
            self.curve.setdefault(self.step, value)
        return True

    @property
    def step(self) -> int:
        """Per cent of the schedule; the evaluation's number where the script gives no fraction."""
        return len(self.evaluations) if self.fraction is None else round(100 * self.fraction)

    @property
    def has_more_to_come(self) -> bool:
        """Whether stopping the script now would save anything."""
        return self.fraction is None or self.fraction < 1

    @property
    def last_record(self) -> dict[str, Any]:
        """The script's last line, whole; empty where it said nothing."""
        return self.final or (self.evaluations[-1] if self.evaluations else {})

    def ending(
        self,
        status: int,
        stderr_tail: Sequence[str],
        *,
        stop_asked: bool,
        pruned: bool,
        cut_short: str,
    ) -> Ending:
        """How a trial with this exit status ended.

        A script may well end with status 0 on SIGTERM, so one that was asked to stop is finished
        only if it said that it came to its end.
        """
        if status == 0 and self.has_finite_value and (self.is_at_end or not stop_asked):
            return Ending("finished", TrialState.COMPLETE)
        if cut_short:
            return Ending("interrupted", TrialState.FAIL, cut_short)
        if pruned:
            return Ending("pruned", TrialState.PRUNED)
        if status != 0:
            return Ending("failed", TrialState.FAIL, describe_exit(status, stderr_tail))
        if self.value is None:
            why = f'ended without printing "{self.metric}"'
        else:
            why = f"{self.metric} is {self.value}, not a finite number"
        return Ending("failed", TrialState.FAIL, why)

    @property
    def is_at_end(self) -> bool:
        """Whether the script has said that it came to its end."""
        return self.final is not None or self.fraction == 1

    @property
    def has_finite_value(self) -> bool:
        """Whether the last value is a number that can be compared."""
        return self.value is not None and math.isfinite(self.value)

    def _objective_in(self, line: str, record: Mapping[str, Any]) -> float | None:
        """The objective that a line reports: of its JSON object, else where the regex finds it."""
        value = record.get(self.metric)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _as_float(value)
        found = None if record else metric_pattern(self.metric).search(line)
        return float(found.group(1)) if found else None


def _share_done(record: Mapping[str, Any]) -> float | None:
    """The share of its schedule that a script says it has done, in 0..1; None where it does not."""
    fraction = record.get("fraction")
    if isinstance(fraction, (int, float)) and 0 <= fraction <= 1:
        return float(fraction)
    return None


def _as_float(value: float) -> float:
    """The number; one with more digits than a float can hold is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _json_object(line: str) -> dict[str, Any]:
    """The line's JSON object; empty for a line that holds the metric in another form."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _can_be_kept(value: Any) -> bool:
    """Whether a value is small and flat enough for a database's row and a report's table."""
    if isinstance(value, int):
        return abs(value) < 2**63
    try:
        # Brackets within a text count too; what is lost by that is a long text.
        text = json.dumps(value)
    except (RecursionError, ValueError):
        return False
    return len(text) <= LONGEST_VALUE and text.count("[") + text.count("{") <= DEEPEST
