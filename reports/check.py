"""Does a report.json say what the trials say? Every number is computed again and compared."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study

from reports.errors import ReportError
from reports.plain import plain
from reports.render import SCHEMA, as_json, compute_report, unpacked
from reports.trials import read_table

MOST_SHOWN = 10


@dataclass(frozen=True)
class Difference:
    """One value of report.json, by its place, and what the trials give."""

    place: str
    reported: Any
    computed: Any

    def __str__(self) -> str:
        reported, computed = (_short(value) for value in (self.reported, self.computed))
        return f"{self.place}: {reported} in the report, {computed} from the trials"


def check_report(path: str | Path, study: Study) -> tuple[int, list[Difference]]:
    """How many values report.json holds, and those that the study's trials do not give.

    Raises ReportError where the file cannot be read, or is no report.json of this version.
    """
    path = Path(path)
    try:
        reported = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ReportError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(reported, dict) or reported.get("schema") != SCHEMA:
        raise ReportError(
            f"{path} is no report.json of schema {SCHEMA}; `tuner report` writes the present one"
        )
    table = read_table(study, int(reported.get("objective") or 1))
    # Through the text and back, as the file went.
    computed = json.loads(as_json(plain(compute_report(table))))
    return sum(1 for _ in _leaves(reported)), list(_differences(reported, computed))


def same_page(path: str | Path) -> bool | None:
    """Whether the report.html beside a report.json holds the same numbers; None without one."""
    path = Path(path)
    page = path.with_name("report.html")
    if not page.is_file():
        return None
    inside = re.search(r'id="packed-report">([^<]*)<', page.read_text(encoding="utf-8"))
    return inside is not None and unpacked(inside.group(1)) == path.read_bytes()


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
            yield from _differences(a.get(key), b.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{place}[{i}]")
    elif a != b or type(a) is not type(b):
        yield Difference(place, a, b)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
