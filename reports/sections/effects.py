"""How the score follows each hyperparameter: the surrogate's curve with its band, and the trials."""

import math
from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BAND,
    GROUPS,
    RED,
    Drawing,
    FigureView,
    TableView,
    drawn_of,
    literal,
    on_axis,
    once_in_legend,
    parameter_axis,
    reaches,
    small_multiples,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import evidence, score, shown

NAME, TITLE = "effects", "The score along each hyperparameter"
MOST_POINTS_TOLD = 100
MARGIN = 0.04
"""As a part of an axis, at each end"""
MOST_POINTS = 300  # in each of several pictures


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Each parameter's scale, its curve and the trials' values and scores."""
    parameters = []
    for column in table.columns:
        points = [
            {"trial": t.number, "value": t.params[column.name], "score": at,
             "status": t.status, "purpose": t.purpose}
            for t in table.trials
            if column.name in t.params and (at := t.last_score) is not None
        ]  # fmt: skip
        effect = analysis.parameters[column.name].effect
        parameters.append(
            {"column": vars(column), "points": thinned(points, MOST_POINTS), "scored": len(points),
             "effect": vars(effect) if effect else None}
        )  # fmt: skip
    return {
        "metric": table.metric, "maximize": table.maximize, "level": analysis.level,
        "fit": asdict(analysis.fit), "parameters": parameters,
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A small picture per parameter, all with the same axis of scores."""
    parameters = [p for p in data["parameters"] if p["points"]]
    if not parameters:
        return Drawing(["No trial has a score."])
    figure, places = small_multiples(len(parameters), data["metric"], data["maximize"])
    for parameter, place in zip(parameters, places, strict=True):
        if parameter["effect"]:
            add_effect(figure, parameter["column"], parameter["effect"], place)
        for group in GROUPS:
            _add_points(figure, parameter, group, place)
        shown_range = _whole_range(parameter["column"], parameter["points"])
        figure.update_xaxes(parameter_axis(parameter["column"]) | shown_range, **place)
    most = max(p["scored"] for p in parameters)
    if data["fit"]["trusted"]:
        sentence = (
            f"Each line is what the {data['metric']} is expected to be at a value, averaged over all "
            f"values of the others, with its {data['level']:.0%} interval. Each point is one trial: "
            "it may be off the line because its other hyperparameters, or its seed, are not average."
        )
    else:
        sentence = (
            "Each point is a trial. A pattern here is no proof of a cause: the other "
            "hyperparameters and the seed vary as well."
        )
    told = evidence(data["fit"])
    description = f"One picture per hyperparameter: its value against the score, from {told}."
    return Drawing(
        [sentence, *drawn_of(max(len(p["points"]) for p in parameters), most)],
        [FigureView(once_in_legend(figure), description, _table(data, parameters))],
    )


def _whole_range(column: dict[str, Any], points: list[dict[str, Any]]) -> dict[str, Any]:
    """The declared range as an axis, so that few points are seen where they lie in it; none where some lie outside."""
    low, high = column["low"], column["high"]
    if column["kind"] == "choice" or low is None or low == high:
        return {}
    if not all(low <= point["value"] <= high for point in points):
        return {}
    if column["log"]:
        low, high = math.log10(low), math.log10(high)
    return {"range": [low - MARGIN * (high - low), high + MARGIN * (high - low)]}


def add_effect(
    figure: go.Figure, column: dict[str, Any], effect: dict[str, Any], place: dict[str, int]
) -> None:  # fmt: skip
    """A line with its band; for a choice, points with their intervals."""
    x = [on_axis(column, value) for value in effect["values"]]
    hover = f"{literal(column['name'])} %{{x}}: %{{y:.4~g}}<extra>expected</extra>"
    if column["kind"] == "choice":
        ends = zip(effect["middle"], effect["low"], effect["high"], strict=True)
        intervals = [{"estimate": m, "low": low, "high": high} for m, low, high in ends]
        figure.add_scatter(
            x=x, y=effect["middle"], mode="markers", name="expected", legendgroup="expected",
            marker={"symbol": "line-ew", "size": 22, "line": {"width": 3, "color": RED}},
            error_y=reaches(intervals, RED), hovertemplate=hover, **place,
        )  # fmt: skip
        return
    figure.add_scatter(
        x=[*x, *reversed(x)], y=[*effect["high"], *reversed(effect["low"])], fill="toself",
        fillcolor=BAND, line={"width": 0}, hoverinfo="skip", showlegend=False, mode="lines", **place,
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=effect["middle"], mode="lines", name="expected", legendgroup="expected",
        line={"color": RED, "width": 2}, hovertemplate=hover, **place,
    )  # fmt: skip


def _add_points(
    figure: go.Figure, parameter: dict[str, Any], group: tuple[str, str, str, str, str],
    place: dict[str, int],
) -> None:  # fmt: skip
    status, purpose, label, colour, symbol = group
    column = parameter["column"]
    part = [p for p in parameter["points"] if p["status"] == status and p["purpose"] == purpose]
    if not part:
        return
    figure.add_scatter(
        x=[on_axis(column, p["value"]) for p in part], y=[p["score"] for p in part], mode="markers",
        name=label, legendgroup=label,
        marker={"size": 8, "color": colour, "symbol": symbol, "opacity": 0.8},
        text=[p["trial"] for p in part],
        hovertemplate=f"{literal(column['name'])} %{{x}}<br>%{{y:.4~g}}<br>trial %{{text}}<extra></extra>",
        **place,
    )  # fmt: skip


def _table(data: dict[str, Any], parameters: list[dict[str, Any]]) -> TableView:
    """The curves at a few values each; without any, the trials' points."""
    if not any(p["effect"] for p in parameters):
        points = [
            (p["column"]["name"], shown(point["value"]), score(point["score"]), point["trial"])
            for p in parameters for point in thinned(p["points"], MOST_POINTS_TOLD)
        ]  # fmt: skip
        told = ("hyperparameter", "value", data["metric"], "trial")
        return TableView("The trials along each hyperparameter", told, points)
    rows = []
    for p in parameters:
        effect = p["effect"]
        for i in thinned(range(len(effect["values"])), 5) if effect else ():
            rows.append(
                (p["column"]["name"], shown(effect["values"][i]), score(effect["middle"][i]),
                 f"{score(effect['low'][i])} to {score(effect['high'][i])}")
            )  # fmt: skip
    headers = ("hyperparameter", "value", f"expected {data['metric']}", "90% interval")
    return TableView("The score along each hyperparameter", headers, rows)
