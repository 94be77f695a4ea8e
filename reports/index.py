"""One page over all runs of a folder: the newest first, each with its winner and its report."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.page_files import page_file, template
from reports.render import replace_file
from reports.sensitivity.verdict import MATTERS, NEGLIGIBLE
from reports.wording import score, shown, spread


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


def write_index(folder: str | Path) -> Path:
    """Writes `folder`/index.html over every report.json below it; returns the page's path.

    A report.json that cannot be read is named on the page. Raises OSError where the folder cannot be
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
    html = template("index.html.j2").render(
        folder=folder.resolve().name,
        runs=runs,
        unread=unread,
        style=page_file("style.css"),
    )
    replace_file(folder / "index.html", html)
    return folder / "index.html"


def _what_matters(verdicts: list[tuple[str, str]]) -> str:
    found = [name for name, verdict in verdicts if verdict == MATTERS]
    if found:
        return ", ".join(found)
    return "nothing" if {verdict for _, verdict in verdicts} == {NEGLIGIBLE} else "cannot tell"


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
    )  # fmt: skip
