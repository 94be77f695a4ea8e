"""One offline HTML file, and the same numbers as report.json."""

import json
import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from optuna.study import Study
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from reports.plain import plain
from reports.sections import SECTIONS
from reports.sections.drawing import FigureView
from reports.trials import read_table

SCHEMA = 1
CONFIG = {
    "showSendToCloud": False, "displaylogo": False, "displayModeBar": "hover", "responsive": True,
}  # fmt: skip


def write_report(study: Study, folder: str | Path) -> Path:
    """Writes report.html and report.json into `folder`; returns the path of the HTML.

    The same study gives the same bytes. Raises ReportError for a study with several objectives,
    OSError where the folder cannot be written.
    """
    table = read_table(study)
    computed = {section.NAME: section.compute(table) for section in SECTIONS}
    result = {
        "schema": SCHEMA, "study": table.name, "metric": table.metric,
        "direction": "maximize" if table.maximize else "minimize", "sections": computed,
    }  # fmt: skip
    drawings = [
        (section.NAME, section.TITLE, section.draw(computed[section.NAME])) for section in SECTIONS
    ]
    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("report.html.j2").render(
        title=table.name,
        metric=table.metric,
        sections=drawings,
        figure_html=_figure_html,
        plotly_js=Markup(get_plotlyjs()),
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(result), indent=1, ensure_ascii=False, allow_nan=False)
    _replace(folder / "report.json", text + "\n")
    _replace(folder / "report.html", html)
    return folder / "report.html"


def _figure_html(view: FigureView, name: str) -> Markup:
    """The figure's markup; its id is fixed so that equal ledgers give equal bytes."""
    return Markup(
        to_html(
            view.figure,
            full_html=False,
            include_plotlyjs=False,
            config=CONFIG,
            div_id=f"figure-{name}",
        )
    )


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(path.suffix + ".part")
    # A script may print half a character (a lone surrogate); it is shown as its escape.
    part.write_bytes(text.encode("utf-8", "backslashreplace"))
    os.replace(part, path)
