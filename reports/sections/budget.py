"""What n trials are worth: the expected best of n random ones, or why that cannot be told."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BAND,
    BLUE,
    Drawing,
    FigureView,
    TableView,
    axis_title,
    styled,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import counted, score

NAME, TITLE = "budget", "What n trials are worth"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The curve with its simultaneous bands; or the reason why there is none."""
    best = analysis.best_of_n
    return {
        "metric": table.metric, "maximize": table.maximize, "why_not": analysis.best_of_n_refused,
        "best_of_n": vars(best) if best else None, "failed": sum(
            t.status == "failed" and t.purpose == "search" and t.chosen_by != "default"
            for t in table.trials
        ),
    }  # fmt: skip


def _band(best: dict[str, Any], index: int) -> str:
    if not best["low"]:
        return ""
    return f" ({score(best['low'][index])} to {score(best['high'][index])})"


def draw(data: dict[str, Any]) -> Drawing:
    """Expected best score against the number of trials."""
    best = data["best_of_n"]
    if best is None:
        return Drawing([f"What the best of n trials would score is not told: {data['why_not']}."])
    x, expected = best["trials"], best["expected"]
    figure = go.Figure()
    if best["low"]:
        figure.add_scatter(
            x=[*x, *reversed(x)], y=[*best["high"], *reversed(best["low"])], fill="toself",
            fillcolor=BAND, line={"width": 0}, hoverinfo="skip", mode="lines",
            name=f"{best['level']:.0%} band, for all n at once",
        )  # fmt: skip
    figure.add_scatter(
        x=x, y=expected, mode="lines", name="expected", line={"color": BLUE, "width": 2},
        hovertemplate="best of %{x}: %{y:.4~g}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="number of independent random trials")
    figure.update_yaxes(title=axis_title(f"expected best {data['metric']}", data["maximize"]))
    half = max(1, len(x) // 2)
    sentence = (
        f"The best of {x[-1]} independent random trials{' that finish' * bool(data['failed'])} is expected to score "
        f"{score(expected[-1])}{_band(best, -1)}, the best of {half} {score(expected[half - 1])}{_band(best, half - 1)}: "
        "in the search, so with the luck of being first."
    )
    if data["failed"]:
        sentence += f" Here {counted(data['failed'], 'trial')} failed beside them."
    rows = [
        (x[i], score(expected[i]),
         f"{score(best['low'][i])} to {score(best['high'][i])}" if best["low"] else "not known")
        for i in thinned(range(len(x)), 10)
    ]  # fmt: skip
    table = TableView("Expected best of n", ("trials", "expected best", "90% band"), rows)
    description = f"Expected best {data['metric']} of up to {x[-1]} random trials."
    return Drawing([sentence], [FigureView(styled(figure), description, table)])
