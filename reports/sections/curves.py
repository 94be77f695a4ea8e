"""The score of every trial along its training."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import BLUE, GREEN, GREY, RED, Drawing, FigureView, axis_title, styled
from reports.trials import TrialTable

NAME, TITLE = "curves", "Learning curves"


def compute(table: TrialTable) -> dict[str, Any]:
    """Each trial's evaluations, with its status."""
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "steps_are_percent": table.steps_are_percent,
        "curves": [
            {"trial": t.number, "status": t.status, "purpose": t.purpose, "curve": t.curve}
            for t in table.trials
            if t.curve
        ],
    }


def draw(data: dict[str, Any]) -> Drawing:
    """A line per trial; pruned ones grey with a cross at their end."""
    if not data["curves"]:
        return Drawing(["No trial reported a score before its end."])
    figure = go.Figure()
    shown_groups: set[str] = set()
    for item in data["curves"]:
        group, colour = _group(item)
        x = [step for step, _ in item["curve"]]
        y = [value for _, value in item["curve"]]
        symbols = ["circle"] * (len(x) - 1) + ["x" if item["status"] == "pruned" else "circle"]
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=group, legendgroup=group,
            showlegend=group not in shown_groups, opacity=0.75,
            line={"color": colour, "width": 1.5}, marker={"size": 7, "symbol": symbols},
            hovertemplate=f"trial {item['trial']}, {item['status']}<br>%{{y:.4f}}<extra></extra>",
        )  # fmt: skip
        shown_groups.add(group)
    percent = data["steps_are_percent"]
    figure.update_xaxes(
        title="share of the schedule (%)" if percent else "step", rangemode="tozero"
    )
    figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]))
    pruned = sum(item["status"] == "pruned" for item in data["curves"])
    description = f"Learning curves of {len(data['curves'])} trials, of which {pruned} were pruned."
    sentences = []
    if percent:
        sentences.append(
            "Trials with different numbers of epochs compare at equal shares of their schedule, "
            "because the learning rate falls along the schedule."
        )
    return Drawing(sentences, [FigureView(styled(figure), description)])


def _group(item: dict[str, Any]) -> tuple[str, str]:
    if item["purpose"] == "confirm":
        return "confirmation", GREEN
    colours = {"finished": BLUE, "pruned": GREY, "failed": RED}
    return item["status"], colours.get(item["status"], GREY)
