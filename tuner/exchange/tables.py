"""Trials as CSV: ours, which comes back as it went, and anybody's table of results."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.errors import TunerError
from tuner.exchange.studies import renumbered
from tuner.ledger import Ledger
from tuner.space import Scalar

OURS = ("number", "state", "objective", "metric", "direction", "started", "ended")
JSON_COLUMNS = ("distributions", "curve", "attributes")
PARAM = "param."
LONGEST_FIELD = 2**31 - 1  # a trial of thousands of evaluations is one long cell


def write_csv(ledger: Ledger, path: Path) -> int:
    """One row for each trial: readable columns first, then three of JSON; how many rows."""
    trials = [t for t in ledger.read_trials() if t.state.is_finished()]
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    metric = str(ledger.study.user_attrs.get("metric", "objective"))
    direction = "maximize" if ledger.maximize else "minimize"
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*OURS, *(f"{PARAM}{name}" for name in names), *JSON_COLUMNS])
            for t in trials:
                distributions = {
                    name: json.loads(distribution_to_json(d)) for name, d in t.distributions.items()
                }
                writer.writerow(
                    [
                        t.number, t.state.name, "" if t.value is None else repr(t.value),
                        metric, direction,
                        t.datetime_start.isoformat() if t.datetime_start else "",
                        t.datetime_complete.isoformat() if t.datetime_complete else "",
                        *(_cell(t.params, name) for name in names),
                        json.dumps(distributions), json.dumps(t.intermediate_values),
                        json.dumps(t.user_attrs),
                    ]
                )  # fmt: skip
    except OSError as exc:
        raise TunerError(f"{path} cannot be written: {exc.strerror}") from exc
    return len(trials)


def _cell(params: Mapping[str, Any], name: str) -> str:
    return json.dumps(params[name]) if name in params else ""


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each row with its line. TunerError names file and line of what is wrong."""
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = []
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise TunerError(
                        f"{path}:{reader.line_num} has {len(cells)} fields, the header {len(header)}"
                    )
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except OSError as exc:
        raise TunerError(f"{path} cannot be read: {exc.strerror}") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise TunerError(f"{path} is no CSV file: {exc}") from exc
    if len(set(header)) < len(header):
        raise TunerError(f"{path}:1 names a column twice")
    if not rows:
        raise TunerError(f"{path} has no rows")
    return header, rows


@dataclass(frozen=True)
class ImportedTable:
    """The trials of a CSV file, and what their score is."""

    trials: list[FrozenTrial]
    metric: str
    direction: str
    is_ours: bool
    """Whether `tuner export` wrote it"""


def read_table(
    path: Path,
    objective: str | None,
    direction: str | None,
    parameters: Sequence[str],
    log: Sequence[str],
) -> ImportedTable:
    """What `tuner export` wrote, or anybody's table; the options are for the latter.

    Raises TunerError naming what is missing or wrong.
    """
    header, rows = read_rows(path)
    if is_ours(header):
        metric, direction = rows[0][1]["metric"], rows[0][1]["direction"]
        trials = trials_of_ours(path, rows)
    elif objective is None:
        raise TunerError(
            f"{path} is not from `tuner export`: name the column of the score with --objective "
            f"(it has {', '.join(header)})"
        )
    else:
        metric, trials = objective, trials_of_theirs(path, header, rows, objective, parameters, log)
    if direction not in ("maximize", "minimize"):
        raise TunerError("--direction must be maximize or minimize")
    return ImportedTable(trials, metric, direction, is_ours(header))


def is_ours(header: Sequence[str]) -> bool:
    """Whether `write_csv` wrote the table."""
    return set(OURS) | set(JSON_COLUMNS) <= set(header)


def trials_of_ours(path: Path, rows: Iterable[tuple[int, Mapping[str, str]]]) -> list[FrozenTrial]:
    """The trials of a table that `write_csv` wrote, as they were; in what order their rows stand is all one."""
    trials = []
    rows = sorted(rows, key=lambda row: _number(path, *row))
    numbers = {_number(path, *row): index for index, row in enumerate(rows)}
    if len(numbers) < len(rows):
        raise TunerError(f"{path} has a number twice; each trial has one row")
    for line, row in rows:
        try:
            distributions = {
                name: json_to_distribution(json.dumps(d))
                for name, d in json.loads(row["distributions"]).items()
            }
            trial = create_trial(
                state=TrialState[row["state"]],
                value=float(row["objective"]) if row["objective"] else None,
                params={name: json.loads(row[f"{PARAM}{name}"]) for name in distributions},
                distributions=distributions,
                user_attrs=_linked(path, line, json.loads(row["attributes"]), numbers),
                intermediate_values={
                    int(step): float(value) for step, value in json.loads(row["curve"]).items()
                },
            )
            trial.datetime_start = _moment(row["started"])
            trial.datetime_complete = _moment(row["ended"])
            trials.append(trial)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise TunerError(f"{path}:{line} is not as `tuner export` wrote it: {exc}") from exc
    return trials


def _number(path: Path, line: int, row: Mapping[str, str]) -> int:
    try:
        return int(row["number"])
    except ValueError as exc:
        raise TunerError(f"{path}:{line} number {row['number']!r} is no whole number") from exc


def _linked(
    path: Path, line: int, attributes: Mapping[str, Any], numbers: Mapping[int, int]
) -> dict[str, Any]:
    """The attributes with the numbers that trials get here, where other rows are gone."""
    try:
        return renumbered(attributes, numbers)
    except KeyError as exc:
        raise TunerError(
            f"{path}:{line} is a run of trial {exc.args[0]} again, and that one has no row"
        ) from exc


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def trials_of_theirs(
    path: Path,
    header: Sequence[str],
    rows: Sequence[tuple[int, Mapping[str, str]]],
    objective: str,
    parameters: Sequence[str],
    log: Sequence[str],
) -> list[FrozenTrial]:
    """Trials of anybody's table: one row each; a row without an objective is a failed trial.

    A parameter whose cells are all numbers is a range from the least to the greatest, else a choice.
    """
    for name in (objective, *parameters, *log):
        if name not in header:
            raise TunerError(f"{path} has no column {name!r}; it has {', '.join(header)}")
    names = [name for name in parameters or header if name not in (objective, *JSON_COLUMNS)]
    for name in log:
        if name not in names:
            raise TunerError(f"--log {name} is not among the parameters {', '.join(names)}")
    spaces: dict[str, BaseDistribution] = {}
    cells: dict[str, list[Scalar | None]] = {}
    for name in names:
        cells[name] = _column([row[name] for _, row in rows])
        spaces[name] = _distribution(path, name, cells[name], name in log)
    trials = []
    for i, (line, row) in enumerate(rows):
        value = _objective(path, line, objective, row[objective])
        params = {name: cells[name][i] for name in names if cells[name][i] is not None}
        trials.append(
            create_trial(
                state=TrialState.FAIL if value is None else TrialState.COMPLETE,
                value=value,
                params=params,
                distributions={name: spaces[name] for name in params},
                user_attrs={"purpose": "search", "chosen_by": "unknown", "line": line},
            )
        )
    return trials


def _column(texts: Sequence[str]) -> list[Scalar | None]:
    """The cells in the one type that fits all of them: int, float, else text; None where empty."""
    kinds: tuple[type[int] | type[float], ...] = (int, float)
    for kind in kinds:
        try:
            values = [kind(text) if text.strip() else None for text in texts]
        except ValueError:
            continue
        if all(value is None or math.isfinite(value) for value in values):
            return list(values)
    return [text if text.strip() else None for text in texts]


def _distribution(
    path: Path, name: str, values: Sequence[Scalar | None], log: bool
) -> BaseDistribution:
    known = [value for value in values if value is not None]
    if not known:
        raise TunerError(f"{path}: column {name!r} is empty")
    if any(isinstance(value, str) for value in known):
        if log:
            raise TunerError(f"--log {name}: its cells are no numbers")
        return CategoricalDistribution(sorted(set(map(str, known))))
    low, high = min(map(float, known)), max(map(float, known))
    if log and low <= 0:
        raise TunerError(f"--log {name}: its least value is {low:g}; a log scale needs more than 0")
    if all(isinstance(value, int) for value in known):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _objective(path: Path, line: int, column: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError as exc:
        raise TunerError(f"{path}:{line} {column} {text!r} is not a number") from exc
    return value if math.isfinite(value) else None
