"""Does a report.json say what the trials say? Every number is computed again and compared."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study

from reports.errors import ReportError
from reports.render import SCHEMA, as_html, as_json, compute_report
from reports.trials import read_table

MOST_SHOWN = 10
ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One value of report.json, by its place, and what the trials give."""

    place: str
    reported: Any
    computed: Any

    def __str__(self) -> str:
        reported, computed = (_short(value) for value in (self.reported, self.computed))
        return f"{self.place}: {reported} in the report, {computed} from the trials"


@dataclass(frozen=True)
class Checked:
    """How many values report.json holds, those that the trials do not give, and whether the page beside
    it is the one that they give (None where there is no page).
    """

    values: int
    differences: list[Difference]
    same_page: bool | None


def check_report(path: str | Path, study: Study) -> Checked:
    """Computes report.json and report.html again from a study's trials and compares.

    Raises ReportError where the file cannot be read, or is no report.json of this version.
    """
    path = Path(path)
    try:
        reported = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ReportError(f"{path} cannot be read: {exc}") from exc
    objective = reported.get("objective") if isinstance(reported, dict) else None
    if not isinstance(objective, int) or reported.get("schema") != SCHEMA:
        raise ReportError(
            f"{path} is no report.json of schema {SCHEMA}; `tuner report` writes the present one"
        )
    table = read_table(study, objective)
    result = compute_report(table)
    text = as_json(result)
    page = path.with_name("report.html")
    try:
        same = page.read_bytes() == as_html(table, result, text).encode("utf-8", "backslashreplace")
    except OSError:
        same = None
    count = sum(1 for _ in _leaves(reported))
    return Checked(count, list(_differences(reported, json.loads(text))), same)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _differences(a: Any, b: Any, place: str = "") -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), inner)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{place}[{i}]")
    elif a != b or type(a) is not type(b):
        yield Difference(place, a, b)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
