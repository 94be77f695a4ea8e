"""One page over all runs of a folder: the newest first, each with its winner and its report."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.page_files import page_file, template
from reports.render import replace_file
from reports.sensitivity.verdict import MATTERS, NEGLIGIBLE, ONE_VALUE
from reports.trend import Slot, trend_of
from reports.wording import score, shown, spread

SLOT = re.compile(r"\.([0-9]{8}T[0-9]{4}Z)$")
"""How `tuner schedule` ends the names of its studies"""


@dataclass(frozen=True)
class IndexedRun:
    """A run as the index shows it."""

    name: str
    link: str
    written: str
    metric: str
    winner: str
    score: str
    matters: str
    trials: int
    slot: str
    verdict: str
    scores: list[float]
    default: list[float]

    @property
    def when(self) -> str:
        """`2026-01-05 06:00` of a slot's name; empty for a run that is none."""
        if not self.slot:
            return ""
        return datetime.strptime(self.slot, "%Y%m%dT%H%MZ").strftime("%Y-%m-%d %H:%M")


def write_index(folder: str | Path) -> Path:
    """Writes `folder`/index.html over every report.json below it; returns the page's path.

    Where they are the slots of a schedule, the newest slot stands first and a picture shows the trend. A
    report.json that cannot be read is named on the page. Raises OSError where the folder cannot be
    written.
    """
    folder = Path(folder)
    found = sorted(
        folder.glob("*/report.json"), key=lambda path: (path.stat().st_mtime, path), reverse=True
    )
    runs, unread = [], []
    for path in found:
        try:
            runs.append(_read(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unread.append(path.parent.name)
    slots = sorted((run for run in runs if run.slot), key=lambda run: run.slot)
    if len(slots) == len(runs):
        runs = slots[::-1]
    trend = trend_of(
        [Slot(run.when, run.scores, run.default, run.verdict) for run in slots],
        slots[0].metric if slots else "",
    )
    html = template("index.html.j2").render(
        folder=folder.resolve().name,
        runs=runs,
        trend=trend,
        is_schedule=bool(slots),
        unread=unread,
        style=page_file("style.css"),
    )
    replace_file(folder / "index.html", html)
    return folder / "index.html"


def _scores(winner: dict[str, Any] | None, fresh: str, searched: str) -> list[float]:
    """The runs on fresh seeds; without any, the search's own."""
    if winner is None:
        return []
    return list(winner[fresh]) or ([winner[searched]] if winner[searched] is not None else [])


def _what_matters(verdicts: list[tuple[str, str]]) -> str:
    found = [name for name, verdict in verdicts if verdict == MATTERS]
    if found:
        return ", ".join(found)
    known = {verdict for _, verdict in verdicts} - {ONE_VALUE}
    if known != {NEGLIGIBLE}:
        return "cannot tell"
    several = sum(verdict == NEGLIGIBLE for _, verdict in verdicts) > 1
    return "none of them alone" if several else "nothing"


def _read(path: Path) -> IndexedRun:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sections = result["sections"]
    winner = sections["winner"]["winner"]
    parameters = sections["sensitivity"]["parameters"].values()
    written = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return IndexedRun(
        name=str(result["study"]),
        link=f"{quote(path.parent.name)}/report.html",
        written=written.strftime("%Y-%m-%d %H:%M"),
        metric=str(result["metric"]),
        winner=" ".join(f"{k}={shown(v)}" for k, v in winner["params"].items()) if winner else "",
        score=(spread(winner["confirmed"]) if winner["confirmed"] else f"{score(winner['score'])}, not confirmed")
        if winner else "no trial finished",
        matters=_what_matters([(p["name"], p["verdict"]) for p in parameters]),
        trials=len(sections["trials"]["trials"]),
        slot=found.group(1) if (found := SLOT.search(str(result["study"]))) else "",
        verdict=str((sections.get("change") or {}).get("verdict", "")),
        scores=_scores(winner, "confirmed", "score"),
        default=_scores(winner, "default_confirmed", "default_score"),
    )  # fmt: skip
