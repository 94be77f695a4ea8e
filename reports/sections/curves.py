"""The score of every trial along its training."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BLUE,
    GREEN,
    GREY,
    RED,
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
from reports.wording import counted, score

NAME, TITLE = "curves", "Learning curves"
MOST_CURVES = 200
DASHES = {"pruned": "dot", "failed": "dash", "confirmation": "longdash"}
COLOURS = {"finished": BLUE, "pruned": GREY, "failed": RED, "confirmation": GREEN}


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Each trial's evaluations, with its status; of very many trials, some."""
    curves = [
        {"trial": t.number, "status": t.status, "purpose": t.purpose, "curve": t.curve}
        for t in table.trials
        if t.curve
    ]
    return {
        "metric": table.metric, "maximize": table.maximize,
        "steps_are_percent": table.steps_are_percent,
        "curves": thinned(curves, MOST_CURVES), "with_curve": len(curves),
        "keeps_best": any(t.metrics.get("objective_evaluation") == "best" for t in table.trials),
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A line per trial; pruned ones grey with a cross at their end."""
    if not data["curves"]:
        return Drawing(["No trial reported a score before its end."])
    if all(len(item["curve"]) == 1 for item in data["curves"]):
        return Drawing(["Each trial was evaluated once, so there are no curves."])
    figure = go.Figure()
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in data["curves"]:
        group = "confirmation" if item["purpose"] == "confirm" else item["status"]
        groups.setdefault(group, []).append(item)
    for group, part in groups.items():
        # One trace for a group: a gap ends each trial's line.
        x, y, texts, symbols = [], [], [], []
        for item in part:
            x += [*(step for step, _ in item["curve"]), None]
            y += [*(value for _, value in item["curve"]), None]
            texts += [f"trial {item['trial']}, {item['status']}"] * (len(item["curve"]) + 1)
            end = "x" if item["status"] == "pruned" else "circle"
            symbols += ["circle"] * (len(item["curve"]) - 1) + [end, "circle"]
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=group, opacity=0.75, text=texts,
            line={"color": COLOURS.get(group, GREY), "width": 1.5, "dash": DASHES.get(group, "solid")},
            marker={"size": 7, "symbol": symbols},
            hovertemplate="%{text}<br>%{y:.4~g}<extra></extra>",
        )  # fmt: skip
    percent = data["steps_are_percent"]
    figure.update_xaxes(
        title="share of the schedule (%)" if percent else "step", rangemode="tozero"
    )
    figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]))
    pruned = sum(item["status"] == "pruned" for item in data["curves"])
    description = f"Learning curves of {counted(len(data['curves']), 'trial')}, {pruned or 'none'} of them pruned."
    sentences = drawn_of(len(data["curves"]), data["with_curve"], "curves")
    if pruned:
        sentences.append("A cross marks where a trial was pruned.")
    if percent:
        sentences.append(
            "Trials with different numbers of epochs compare at equal shares of their schedule, "
            "because the learning rate falls along the schedule."
        )
    if data["keeps_best"]:
        sentences.append(
            "A trial's score is the best of its evaluations (keep: best), so each score is a little flattered, "
            "also on fresh seeds."
        )
    unit = " %" if percent else ""
    rows = [
        (item["trial"], item["status"],
         ", ".join(f"{score(value)} at {step:g}{unit}" for step, value in thinned(item["curve"], 8)))
        for item in data["curves"]
    ]  # fmt: skip
    table = TableView("Learning curves", ("trial", "status", data["metric"]), rows)
    return Drawing(sentences, [FigureView(styled(figure), description, table)])
