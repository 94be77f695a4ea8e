"""The scores in the order of the trials, and the best so far."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BLUE,
    GREY,
    SOURCE_COLOURS,
    Drawing,
    FigureView,
    TableView,
    axis_title,
    drawn_of,
    literal,
    styled,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import counted, score, shown

NAME, TITLE = "history", "History"
PRUNED = "pruned (last score)"
FEW = 12
"""Trials that each have a number on the axis"""
SYMBOLS = {
    "confirmation": "diamond", PRUNED: "triangle-down-open", "default": "star", "random": "square",
    "space-filling": "square-open", "grid": "square-open", "one at a time": "square-open",
}  # fmt: skip


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Trials in order, with how their point was chosen; where the finished search got better."""
    points = [
        {"trial": t.number, "score": t.last_score, "status": t.status, "chosen_by": t.chosen_by,
         "params": t.params}
        for t in table.trials
        if t.last_score is not None
    ]  # fmt: skip
    best, best_so_far = None, []
    for t in table.trials:
        if t.objective is None or t.purpose != "search":
            continue
        if best is None or table.is_better(t.objective, best):
            best = t.objective
            best_so_far.append([t.number, best])
    last = max((t.number for t in table.trials if t.purpose == "search"), default=0)
    return {
        "metric": table.metric, "maximize": table.maximize,
        "points": thinned(points), "scored": len(points), "best_so_far": best_so_far, "last": last,
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A point per trial, coloured by how it was chosen, under the line of the best so far."""
    if not data["points"]:
        return Drawing(["No trial has a score."])
    figure = go.Figure()
    steps = data["best_so_far"]
    if steps:
        figure.add_scatter(
            x=[*(n for n, _ in steps), data["last"]], y=[*(at for _, at in steps), steps[-1][1]],
            name="best so far", mode="lines", line={"shape": "hv", "color": GREY, "width": 2},
        )  # fmt: skip
    groups: dict[str, list[dict[str, Any]]] = {}
    for p in data["points"]:
        groups.setdefault(PRUNED if p["status"] == "pruned" else p["chosen_by"], []).append(p)
    for source, part in groups.items():
        colour = GREY if source == PRUNED else SOURCE_COLOURS.get(source, BLUE)
        figure.add_scatter(
            x=[p["trial"] for p in part], y=[p["score"] for p in part], name=literal(source), mode="markers",
            marker={"size": 9, "color": colour, "symbol": SYMBOLS.get(source, "circle")},
            text=["<br>".join(literal(f"{k} = {shown(v)}") for k, v in p["params"].items()) for p in part],
            hovertemplate="trial %{x}: %{y:.4~g}<br>%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="trial", dtick=1 if len(data["points"]) <= FEW else None)
    figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]))
    description = f"Scores of {counted(data['scored'], 'trial')} in their order, with the best of the search so far."
    table = TableView(
        "Where the search got better",
        ("trial", f"best {data['metric']} so far"),
        [(n, score(at)) for n, at in steps],
    )
    return Drawing(
        drawn_of(len(data["points"]), data["scored"]),
        [FigureView(styled(figure), description, table)],
    )
