"""One offline HTML file, and the same numbers as report.json."""

import base64
import gzip
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup
from optuna.study import Study
from plotly.offline import get_plotlyjs

from reports.analysis import analyze_table
from reports.page_files import page_file, template
from reports.plain import plain
from reports.sections import SECTIONS
from reports.sections.drawing import Drawing, FigureView
from reports.trials import TrialTable, read_table

SCHEMA = 4
MOST_ROWS = 100  # page.js shows the rest of the trials


@dataclass(frozen=True)
class ShownFigure:
    """A figure with its place in the page."""

    id: str
    view: FigureView
    height: int


@dataclass(frozen=True)
class ShownSection:
    """A section with its figures' places in the page."""

    name: str
    title: str
    drawing: Drawing
    figures: list[ShownFigure]


def write_report(
    study: Study, folder: str | Path, objective: int = 1, refresh_seconds: int | None = None
) -> Path:
    """Writes report.html and report.json into `folder`; returns the path of the HTML.

    The same study gives the same bytes. Of a study with several objectives, the report is about the one
    of number `objective`. With `refresh_seconds` the page loads itself again: for a sweep that is still
    running. Raises ReportError where there is no such objective, OSError where the folder cannot be
    written.
    """
    table = read_table(study, objective)
    result = compute_report(table)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = as_json(result)
    replace_file(folder / "report.json", text)
    replace_file(folder / "report.html", as_html(table, result, text, refresh_seconds))
    return folder / "report.html"


def compute_report(table: TrialTable) -> dict[str, Any]:
    """Every number of the report, by section: what report.json holds."""
    analysis = analyze_table(table)
    return {
        "schema": SCHEMA, "study": table.name, "metric": table.metric, "objective": table.objective,
        "direction": "maximize" if table.maximize else "minimize",
        "sections": {section.NAME: section.compute(table, analysis) for section in SECTIONS},
    }  # fmt: skip


def as_json(result: dict[str, Any]) -> str:
    """The text of report.json."""
    return json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(
    table: TrialTable, result: dict[str, Any], text: str, refresh_seconds: int | None = None
) -> str:
    """The text of report.html; `text` is that of report.json, which it carries."""
    sections = []
    for section in (s for s in SECTIONS if result["sections"][s.NAME]):
        drawing: Drawing = section.draw(result["sections"][section.NAME])
        figures = [
            ShownFigure(f"{section.NAME}-figure-{i}", view, int(view.figure.layout.height))
            for i, view in enumerate(drawing.figures, start=1)
        ]
        sections.append(ShownSection(section.NAME, section.TITLE, drawing, figures))
    drawn = {
        "figures": {
            figure.id: json.loads(figure.view.figure.to_json())
            for section in sections for figure in section.figures
        },
        "cells": [
            [str(cell) for cell in row]
            for section in sections for view in section.drawing.tables if view.name
            for row in view.rows
        ],
    }  # fmt: skip
    script = page_file("page.js")
    plotly, plotly_hash = _plotly()
    return template("report.html.j2").render(
        title=table.name,
        metric=table.metric,
        maximize=table.maximize,
        refresh_seconds=refresh_seconds,
        sections=sections,
        titles={section.name: section.title for section in sections},
        most_rows=MOST_ROWS,
        policy=_policy([_hash(script), plotly_hash]),
        style=page_file("style.css"),
        script=script,
        packed={
            "plotly": Markup(plotly),
            "drawn": Markup(packed(json.dumps(drawn, separators=(",", ":")))),
            "report": Markup(packed(text)),
        },
    )


def _policy(hashes: list[str]) -> str:
    """The page runs these two scripts and nothing else, and asks nobody for anything.

    Styles stand in the page, and plotly sets some of its own.
    """
    allowed = " ".join(f"'{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js packed, and its hash: 4.8 MB become 1.8, which the browser unpacks."""
    source = get_plotlyjs()
    return packed(source), _hash(source)


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def packed(text: str) -> str:
    """Compressed text in characters that HTML leaves alone; page.js reads it."""
    # A script may print half a character (a lone surrogate); it is shown as its escape.
    data = gzip.compress(text.encode("utf-8", "backslashreplace"), 9, mtime=0)
    return base64.b85encode(data).decode().replace("<", ",")


def replace_file(path: Path, text: str) -> None:
    """Writes a file so that nobody ever reads half of it."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # others may write it as well
    try:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
