"""What each trial cost, against what it scored."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    GROUPS,
    ORANGE,
    Drawing,
    FigureView,
    TableView,
    axis_title,
    drawn_of,
    styled,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import counted, dollars, minutes, score

NAME, TITLE = "cost", "Cost against score"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Each trial's dollars where they are known, else its wall time; and the cheapest way to a score."""
    in_dollars = any(t.cost_usd is not None for t in table.trials)
    costs: dict[int, float] = {}
    for t in table.trials:  # one that continues another has what that one cost as well
        own = t.cost_usd if in_dollars else t.wall_seconds
        if own is not None:
            costs[t.number] = own + costs.get(-1 if t.continues is None else t.continues, 0.0)
    points: list[dict[str, Any]] = [
        {"trial": t.number, "cost": cost, "score": t.last_score, "status": t.status,
         "purpose": t.purpose}
        for t in table.trials
        if t.last_score is not None
        and (cost := costs.get(t.number)) is not None
    ]  # fmt: skip
    front: list[dict[str, Any]] = []
    finished = [p for p in points if p["status"] == "finished" and p["purpose"] == "search"]
    for p in sorted(
        finished, key=lambda p: (p["cost"], -p["score"] if table.maximize else p["score"])
    ):
        if not front or table.is_better(p["score"], front[-1]["score"]):
            front.append(p)
    status = {
        name: sum((t.cost_usd if in_dollars else t.wall_seconds) or 0.0
                  for t in table.trials if t.status == name)
        for name in dict.fromkeys(t.status for t in table.trials)
    }  # fmt: skip
    return {
        "metric": table.metric, "maximize": table.maximize, "in_dollars": in_dollars,
        "points": thinned(points), "known": len(points), "front": front, "spent_on": status,
        "unpriced": table.unpriced if in_dollars else 0,
        "trials": len(table.trials),
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A point per trial, and a line through the search trials that no cheaper one beats."""
    said = dollars if data["in_dollars"] else minutes
    spent = ", ".join(
        f"{said(cost)} on {status} trials" for status, cost in data["spent_on"].items() if cost
    )
    if not spent:
        return Drawing(["What the trials cost is not recorded."])
    if unpriced := data["unpriced"]:
        spent = (
            f"at least {spent}; of {counted(data['trials'], 'trial')} {unpriced} "
            f"{'has' if unpriced == 1 else 'have'} no price, and {'is' if unpriced == 1 else 'are'} not shown here"
        )
    if not data["points"]:
        return Drawing([f"Spent: {spent}. None of them has a score."])
    figure = go.Figure()
    front = data["front"]
    figure.add_scatter(
        x=[p["cost"] for p in front], y=[p["score"] for p in front], mode="lines",
        name="no cheaper search trial was better", line={"color": ORANGE, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )  # fmt: skip
    for status, purpose, label, colour, symbol in GROUPS:
        part = [p for p in data["points"] if p["status"] == status and p["purpose"] == purpose]
        if part:
            figure.add_scatter(
                x=[p["cost"] for p in part], y=[p["score"] for p in part], mode="markers", name=label,
                marker={"size": 9, "color": colour, "symbol": symbol, "opacity": 0.85},
                text=[f"trial {p['trial']}, {said(p['cost'])}" for p in part],
                hovertemplate="%{text}<br>%{y:.4~g}<extra></extra>",
            )  # fmt: skip
    unit = "US dollars" if data["in_dollars"] else "wall time (s)"
    figure.update_xaxes(title=f"{unit} of one trial (less is better)", rangemode="tozero")
    figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]))
    table = TableView(
        "Search trials that no cheaper search trial beats",
        ("trial", "cost" if data["in_dollars"] else "wall time", data["metric"]),
        [(p["trial"], said(p["cost"]), score(p["score"])) for p in front],
    )
    return Drawing(
        [f"Spent: {spent}.", *drawn_of(len(data["points"]), data["known"])],
        [
            FigureView(
                styled(figure), f"Cost and score of {counted(data['known'], 'trial')}.", table
            )
        ],
    )
