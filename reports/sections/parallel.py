"""All parameters and the score of each finished trial at once."""

import math
from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import Drawing, FigureView, shown, styled
from reports.trials import TrialTable

NAME, TITLE = "parallel", "Parallel coordinates"


def compute(table: TrialTable) -> dict[str, Any]:
    """The parameters that every finished search trial has, and the trials' values and scores."""
    trials = table.finished("search")
    columns = [c for c in table.columns if trials and all(c.name in t.params for t in trials)]
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "axes": [
            {"name": c.name, "kind": c.kind, "log": c.log, "choices": list(c.choices),
             "low": c.low, "high": c.high}
            for c in columns
        ],
        "trials": [
            {"trial": t.number, "score": t.objective, "values": [t.params[c.name] for c in columns]}
            for t in trials
        ],
        "left_out": [c.name for c in table.columns if c not in columns],
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """One line per trial; drag along an axis to select."""
    if len(data["trials"]) < 2 or not data["axes"]:
        return Drawing(["Fewer than two trials have finished."])
    dimensions = [_dimension(axis, i, data) for i, axis in enumerate(data["axes"])]
    scores = [t["score"] for t in data["trials"]]
    dimensions.append({"label": data["metric"], "values": scores})
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions, labelfont={"size": 13},
            line={"color": scores, "colorscale": "Viridis", "showscale": True,
                  "reversescale": not data["maximize"]},
        )
    )  # fmt: skip
    styled(figure, 420).update_layout(margin={"l": 80, "r": 40, "t": 60, "b": 30})
    sentences = [
        "Each line is a finished search trial. Drag along an axis to select some, click to clear."
    ]
    if data["left_out"]:
        sentences.append(
            f"Not every trial has {', '.join(data['left_out'])}, so it is left out here."
        )
    description = f"Parallel coordinates of {len(scores)} trials, coloured by {data['metric']}."
    return Drawing(sentences, [FigureView(figure, description)])


def _dimension(axis: dict[str, Any], i: int, data: dict[str, Any]) -> dict[str, Any]:
    values = [t["values"][i] for t in data["trials"]]
    if axis["kind"] == "choice":
        names = [repr(choice) for choice in axis["choices"]]  # by repr: NaN is not equal to itself
        codes = [names.index(repr(value)) for value in values]
        ticks = list(range(len(axis["choices"])))
        labels = [shown(choice) for choice in axis["choices"]]
        span = [-0.25, len(ticks) - 0.75]
        return {
            "label": axis["name"],
            "values": codes,
            "tickvals": ticks,
            "ticktext": labels,
            "range": span,
        }
    if axis["log"]:
        low, high = math.log10(axis["low"]), math.log10(axis["high"])
        decades = [low + (high - low) * k / 4 for k in range(5)]
        return {
            "label": f"{axis['name']} (log)", "values": [math.log10(value) for value in values],
            "range": [low, high], "tickvals": decades,
            "ticktext": [f"{10**t:.2g}" for t in decades],
        }  # fmt: skip
    dimension = {"label": axis["name"], "values": values, "range": [axis["low"], axis["high"]]}
    if axis["kind"] == "int" and axis["high"] - axis["low"] <= 12:
        dimension["tickvals"] = list(range(int(axis["low"]), int(axis["high"]) + 1))
    return dimension
