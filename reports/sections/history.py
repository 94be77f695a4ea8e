"""The scores in the order of the trials, and the best so far."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    GREY,
    SOURCE_COLOURS,
    Drawing,
    FigureView,
    axis_title,
    shown,
    styled,
)
from reports.trials import TrialTable

NAME, TITLE = "history", "History"
PRUNED = "pruned (last score)"
SYMBOLS = {"confirmation": "diamond", PRUNED: "triangle-down-open"}


def compute(table: TrialTable) -> dict[str, Any]:
    """Trials in order, with how their point was chosen; best so far over the finished search."""
    points, best, best_so_far = [], None, []
    for t in table.trials:
        score = t.objective
        if score is None and t.status == "pruned" and t.curve:
            score = t.curve[-1][1]
        if score is not None:
            points.append(
                {"trial": t.number, "score": score, "status": t.status,
                 "chosen_by": t.chosen_by, "params": t.params}
            )  # fmt: skip
        if t.objective is not None and t.purpose == "search":
            best = t.objective if best is None or table.is_better(t.objective, best) else best
        if best is not None and t.purpose == "search":
            best_so_far.append([t.number, best])
    return {
        "metric": table.metric, "maximize": table.maximize,
        "points": points, "best_so_far": best_so_far,
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A point per trial, coloured by how it was chosen, under the line of the best so far."""
    if not data["points"]:
        return Drawing(["No trial has finished."])
    figure = go.Figure()
    steps = data["best_so_far"]
    figure.add_scatter(
        x=[n for n, _ in steps], y=[score for _, score in steps], name="best so far",
        mode="lines", line={"shape": "hv", "color": "#9CA3AF", "width": 2},
    )  # fmt: skip
    finished = [p for p in data["points"] if p["status"] == "finished"]
    pruned = [p for p in data["points"] if p["status"] == "pruned"]
    groups = {
        source: [p for p in finished if p["chosen_by"] == source]
        for source in dict.fromkeys(p["chosen_by"] for p in finished)
    } | ({PRUNED: pruned} if pruned else {})
    for source, part in groups.items():
        figure.add_scatter(
            x=[p["trial"] for p in part], y=[p["score"] for p in part], name=source, mode="markers",
            marker={"size": 9, "color": GREY if source == PRUNED else SOURCE_COLOURS.get(source, "#56B4E9"),
                    "symbol": SYMBOLS.get(source, "circle")},
            text=["<br>".join(f"{k} = {shown(v)}" for k, v in p["params"].items()) for p in part],
            hovertemplate="trial %{x}: %{y:.4f}<br>%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]))
    description = (
        f"Scores of {len(finished)} finished and {len(pruned)} pruned trials in order, "
        "with the best so far."
    )
    return Drawing(figures=[FigureView(styled(figure), description)])
