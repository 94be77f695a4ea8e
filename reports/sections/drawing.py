"""What a section's `draw` returns, and how all figures look."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito 2008: told apart with every common colour blindness.
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#6B7280"
SOURCE_COLOURS = {
    "default": RED, "space-filling": ORANGE, "random": PINK, "grid": ORANGE, "adaptive": BLUE,
    "confirmation": GREEN,
}  # fmt: skip


@dataclass(frozen=True)
class TableView:
    """A table with a caption; the cells are text or numbers, escaped when they are shown."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class FigureView:
    """A figure and what it shows in words, for those who cannot see it."""

    figure: go.Figure
    description: str


@dataclass(frozen=True)
class Drawing:
    """A section as it is shown: sentences, then figures, then tables."""

    sentences: list[str] = field(default_factory=list)
    figures: list[FigureView] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)


def styled(figure: go.Figure, height: int = 380) -> go.Figure:
    """One look for every figure."""
    figure.update_layout(
        template="plotly_white", height=height, margin={"l": 60, "r": 20, "t": 30, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13}, hovermode="closest",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )  # fmt: skip
    return figure


def axis_title(metric: str, maximize: bool) -> str:
    """The objective as an axis says it."""
    return f"{metric} ({'higher' if maximize else 'lower'} is better)"


def shown(value: Any) -> str:
    """A value in few characters; floats with four significant digits."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}"


def minutes(seconds: float | None) -> str:
    """`42 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
