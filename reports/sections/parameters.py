"""Each parameter against the objective."""

from typing import Any

from plotly.subplots import make_subplots

from reports.sections.drawing import BLUE, GREEN, GREY, Drawing, FigureView, axis_title, styled
from reports.trials import TrialTable

NAME, TITLE = "parameters", "Each parameter against the score"
COLUMNS = 2


def compute(table: TrialTable) -> dict[str, Any]:
    """For every parameter its scale and each trial's value and score; pruned ones their last score."""
    parameters = []
    for column in table.columns:
        points = []
        for t in table.trials:
            score = t.objective
            if score is None and t.status == "pruned" and t.curve:
                score = t.curve[-1][1]
            if score is not None and column.name in t.params:
                points.append(
                    {"trial": t.number, "value": t.params[column.name], "score": score,
                     "status": t.status, "purpose": t.purpose}
                )  # fmt: skip
        parameters.append(
            {"name": column.name, "kind": column.kind, "log": column.log, "low": column.low,
             "high": column.high, "choices": list(column.choices), "points": points}
        )  # fmt: skip
    return {"metric": table.metric, "maximize": table.maximize, "parameters": parameters}


def draw(data: dict[str, Any]) -> Drawing:
    """A small picture per parameter, all with the same axis of scores."""
    parameters = [p for p in data["parameters"] if p["points"]]
    if not parameters:
        return Drawing(["No trial has a score."])
    columns = min(COLUMNS, len(parameters))
    rows = -(-len(parameters) // columns)
    figure = make_subplots(
        rows, columns, shared_yaxes=True, horizontal_spacing=0.05,
        vertical_spacing=min(0.25, 0.45 / rows),
    )  # fmt: skip
    groups = (
        ("finished", "search", "searched", BLUE, "circle"),
        ("finished", "confirm", "confirmation", GREEN, "diamond"),
        ("pruned", "search", "pruned (last score)", GREY, "triangle-down-open"),
    )
    for i, parameter in enumerate(parameters):
        row, column = i // columns + 1, i % columns + 1
        for status, purpose, label, colour, symbol in groups:
            part = [
                p for p in parameter["points"]
                if p["status"] == status and p["purpose"] == purpose
            ]  # fmt: skip
            values = [
                str(p["value"]) if parameter["kind"] == "choice" else p["value"] for p in part
            ]
            figure.add_scatter(
                x=values, y=[p["score"] for p in part], mode="markers", name=label,
                legendgroup=label, showlegend=i == 0, row=row, col=column,
                marker={"size": 8, "color": colour, "symbol": symbol, "opacity": 0.8},
                text=[p["trial"] for p in part],
                hovertemplate=f"{parameter['name']} %{{x}}<br>%{{y:.4f}}<br>trial %{{text}}<extra></extra>",
            )  # fmt: skip
        axis: dict[str, Any] = {"title": parameter["name"] + (" (log)" if parameter["log"] else "")}
        if parameter["kind"] == "choice":
            order = [str(choice) for choice in parameter["choices"]]
            axis |= {"type": "category", "categoryorder": "array", "categoryarray": order}
        elif parameter["log"]:
            axis |= {"type": "log", "exponentformat": "power", "dtick": 1}
        elif parameter["kind"] == "int":
            span = (parameter["high"] or 0) - (parameter["low"] or 0)
            axis |= {"dtick": 1} if span <= 12 else {}
        figure.update_xaxes(axis, row=row, col=column)
    for row in range(1, rows + 1):
        figure.update_yaxes(title=axis_title(data["metric"], data["maximize"]), row=row, col=1)
    description = "One scatter plot per parameter: its value against the score of each trial."
    return Drawing(
        ["Each point is a trial. A pattern here is no proof of a cause: the other parameters and "
         "the seed vary as well."],
        [FigureView(styled(figure, 60 + 290 * rows), description)],
    )  # fmt: skip
