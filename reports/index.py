"""One page over all runs of a folder: the newest first, each with its winner and its report."""

import json
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.render import replace_file
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
    environment = Environment(
        loader=PackageLoader("reports", "page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("index.html.j2").render(
        folder=folder.resolve().name,
        runs=runs,
        unread=unread,
        style=Markup((files("reports") / "page" / "style.css").read_text(encoding="utf-8")),
    )
    replace_file(folder / "index.html", html)
    return folder / "index.html"


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
        matters=", ".join(p["name"] for p in parameters if p["verdict"] == "matters"),
        trials=len(sections["trials"]["trials"]),
    )  # fmt: skip
