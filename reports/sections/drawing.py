"""What a section's `draw` returns, and how all figures look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.wording import shown

# After Okabe and Ito 2008: told apart with every common colour blindness. Middle tones (their orange is darker here), so
# that lines and points have a contrast of 3 on white and on the dark page.
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#B97F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#7A828E"
RAMP = [[0.0, ORANGE], [0.5, GREY], [1.0, BLUE]]
"""From the worst to the best, for lines: each shade is seen on white and on the dark page"""
BAND = "rgba(0, 114, 178, 0.18)"
SCALE = "Cividis"
SOURCE_COLOURS = {
    "default": RED, "space-filling": ORANGE, "random": PINK, "grid": ORANGE, "one at a time": ORANGE, "adaptive": BLUE,
    "confirmation": GREEN,
}  # fmt: skip
# What the points of a picture are: status, purpose, words, colour, symbol.
GROUPS = (
    ("finished", "search", "searched", BLUE, "circle"),
    ("finished", "confirm", "confirmation", GREEN, "diamond"),
    ("pruned", "search", "pruned (last score)", GREY, "triangle-down-open"),
)
MOST_DRAWN = 1000
COLUMNS = 2


@dataclass(frozen=True)
class TableView:
    """A table with a caption; the cells are text or numbers, escaped when they are shown.

    One with a `name` is made to be sorted and filtered by page.js.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    name: str = ""


@dataclass(frozen=True)
class FigureView:
    """A figure, what it shows in words, and its numbers: for those who cannot see it, and to check."""

    figure: go.Figure
    description: str
    table: TableView


@dataclass(frozen=True)
class Linked:
    """A sentence that rests on the section of this name."""

    text: str
    section: str


@dataclass(frozen=True)
class Drawing:
    """A section as it is shown: sentences, what to do next, figures, tables."""

    sentences: Sequence[str | Linked] = field(default_factory=list)
    figures: list[FigureView] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    steps: Sequence[str | Linked] = field(default_factory=list)


def styled(figure: go.Figure, height: int = 380) -> go.Figure:
    """One look for every figure; colours of text and lines follow the page (see page.js)."""
    figure.update_layout(
        template={}, height=height, margin={"l": 60, "r": 20, "t": 30, "b": 50},
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )  # fmt: skip
    return figure


def small_multiples(
    count: int, metric: str, maximize: bool
) -> tuple[go.Figure, list[dict[str, int]]]:
    """A figure of `count` pictures with one axis of scores, and each one's place in it."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes="all", horizontal_spacing=0.05,
        vertical_spacing=min(0.25, 0.45 / rows),
    )  # fmt: skip
    styled(figure, 60 + 290 * rows)
    for row in range(1, rows + 1):
        figure.update_yaxes(title=axis_title(metric, maximize), row=row, col=1)
    return figure, [{"row": i // columns + 1, "col": i % columns + 1} for i in range(count)]


def once_in_legend(figure: go.Figure) -> go.Figure:
    """Shows each legend group once, whichever picture has it first."""
    seen: set[str] = set()
    for trace in figure.data:
        group = trace.legendgroup
        if group:
            trace.showlegend = group not in seen
            seen.add(group)
    return figure


def literal(text: Any) -> str:
    """A text of the user's for plotly, which would take `<b>`, `<a href=…>` or `%{x}` for its own."""
    return escape(str(text), quote=False).replace("%{", "%&#123;")


def reaches(
    intervals: Sequence[Mapping[str, float]], colour: str, thickness: float = 2, **more: Any
) -> dict[str, Any]:
    """Plotly's error bars from each `estimate` to its `low` and `high`."""
    return {
        "type": "data", "symmetric": False, "thickness": thickness, "color": colour,
        "array": [i["high"] - i["estimate"] for i in intervals],
        "arrayminus": [i["estimate"] - i["low"] for i in intervals], **more,
    }  # fmt: skip


def change_of(row: Mapping[str, Any], between: str) -> str:
    """`rate: 0.1 → 0.2` of a row with `parameter`, `before` and `after`, for a picture."""
    before, after = (literal(shown(row[part])) for part in ("before", "after"))
    return f"{literal(row['parameter'])}{between}{before} → {after}"


def axis_title(metric: str, maximize: bool) -> str:
    """The objective as an axis says it."""
    return f"{literal(metric)} ({'higher' if maximize else 'lower'} is better)"


def parameter_axis(column: dict[str, Any]) -> dict[str, Any]:
    """The axis of one hyperparameter (a Column's fields): its name and its scale."""
    axis: dict[str, Any] = {
        "title": {"text": literal(column["name"]) + (" (log)" if column["log"] else "")}
    }
    if column["kind"] == "choice":
        order = [on_axis(column, choice) for choice in column["choices"]]
        return axis | {"type": "category", "categoryorder": "array", "categoryarray": order}
    if column["log"]:
        wide = column["high"] > 100 * column["low"]
        small = column["high"] < 0.1
        ticks = {
            "dtick": 1 if wide else "D2",
            "tickformat": ".0e" if small else "~g",
            "hoverformat": ".3~g",
        }
        return axis | {"type": "log"} | ticks
    if column["kind"] == "int" and (column["high"] or 0) - (column["low"] or 0) <= 12:
        return axis | {"dtick": 1}
    return axis


def on_axis(column: dict[str, Any], value: Any) -> Any:
    """A value as plotly places it: choices by their text, which tells 1 from "1"."""
    if column["kind"] != "choice":
        return value
    texts = {str(choice) for choice in column["choices"]}
    return literal(value if len(texts) == len(column["choices"]) else repr(value))


def thinned(items: Sequence[Any], most: int = MOST_DRAWN) -> list[Any]:
    """At most `most` of them, evenly taken, the first and last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def drawn_of(drawn: int, total: int, what: str = "trials") -> list[str]:
    """Says that only some are drawn, where it is so."""
    if drawn >= total:
        return []
    return [f"{drawn:,} of the {total:,} {what} are drawn, evenly taken; the numbers rest on all."]
