"""All parameters and the score of each finished trial at once."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from reports.sections.drawing import (
    RAMP,
    Drawing,
    FigureView,
    TableView,
    drawn_of,
    literal,
    styled,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import score, shown

NAME, TITLE = "parallel", "Parallel coordinates"
MOST_LINES = 300
SHADES = 8
TABLE_ROWS = 10


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The parameters that every finished search trial has, and the trials' values and scores."""
    trials = table.finished("search")
    columns = [c for c in table.columns if trials and all(c.name in t.params for t in trials)]
    drawn = thinned(table.best_first(), MOST_LINES)  # the best and the worst are always among them
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "axes": [vars(c) for c in columns],
        "trials": [
            {"trial": t.number, "score": t.objective, "values": [t.params[c.name] for c in columns]}
            for t in drawn
        ],
        "finished": len(trials),
        "left_out": [c.name for c in table.columns if c not in columns],
    }


def draw(data: dict[str, Any]) -> Drawing:
    """One line per trial, in shades of its score; the best are drawn last, above the others."""
    trials = data["trials"]
    if len(trials) < 2:
        return Drawing(["Fewer than two search trials have finished."])
    if not data["axes"]:
        return Drawing(["No hyperparameter is in all of the finished search trials."])
    scores = np.array([t["score"] for t in trials])
    low, high = float(scores.min()), float(scores.max())
    places = [
        _places(axis, [t["values"][i] for t in trials]) for i, axis in enumerate(data["axes"])
    ]
    places.append(_spaced(scores, low, high))
    shade = np.minimum((_spaced(scores, low, high) * SHADES).astype(int), SHADES - 1)
    colours = sample_colorscale(RAMP, [(i + 0.5) / SHADES for i in range(SHADES)])
    figure = go.Figure()
    order = range(SHADES) if data["maximize"] else range(SHADES - 1, -1, -1)
    for k in order:
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for i in np.flatnonzero(shade == k):
            x += [*range(len(places)), None]
            y += [*(float(place[i]) for place in places), None]
            texts += [_told(data, trials[i])] * (len(places) + 1)
        rank = k if data["maximize"] else SHADES - 1 - k  # the best are the thickest
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": colours[rank], "width": 1 + 0.2 * rank}, text=texts,
            hovertemplate="%{text}<extra></extra>", showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False,
        marker={"color": [low], "cmin": low, "cmax": high, "colorscale": RAMP, "showscale": True,
                "reversescale": not data["maximize"], "colorbar": {"title": {"text": literal(data["metric"])}, "x": 1.06}},
    )  # fmt: skip
    _label(figure, data, low, high)
    sentences = [
        "Each line is a finished search trial; its colour, and how thick it is, say its score."
    ]
    sentences += drawn_of(len(trials), data["finished"], "finished search trials")
    if data["left_out"]:
        sentences.append(
            f"Not every trial has {', '.join(data['left_out'])}, so it is left out here."
        )
    description = f"Parallel coordinates of {len(trials)} trials, coloured by {data['metric']}."
    table = TableView(
        "The best finished search trials",
        ("trial", *(axis["name"] for axis in data["axes"]), data["metric"]),
        [
            (t["trial"], *(shown(value) for value in t["values"]), score(t["score"]))
            for t in trials[:TABLE_ROWS]
        ],
    )
    return Drawing(sentences, [FigureView(figure, description, table)])


def _spaced(values: Any, low: float, high: float) -> Any:
    return (np.asarray(values, dtype=float) - low) / ((high - low) or 1.0)


def _places(axis: dict[str, Any], values: list[Any]) -> Any:
    """Heights of 0 to 1 on an axis."""
    if axis["kind"] == "choice":
        names = [repr(choice) for choice in axis["choices"]]  # by repr: NaN is not equal to itself
        return _spaced([names.index(repr(value)) for value in values], 0, len(names) - 1)
    if axis["log"]:
        return _spaced(np.log(values), math.log(axis["low"]), math.log(axis["high"]))
    return _spaced(values, axis["low"], axis["high"])


def _label(figure: go.Figure, data: dict[str, Any], low: float, high: float) -> None:
    """Names below, a line and its ends' values at each axis."""
    styled(figure, 420).update_layout(margin={"l": 50, "r": 30, "t": 30, "b": 60})
    names = [literal(axis["name"]) + (" (log)" if axis["log"] else "") for axis in data["axes"]]
    names.append(literal(data["metric"]))
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=names, showgrid=True, zeroline=False,
        range=[-0.3, len(names) - 0.7],
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.08, 1.08])
    for i, axis in enumerate([*data["axes"], None]):
        if axis is not None and axis["kind"] == "choice":
            last = max(len(axis["choices"]) - 1, 1)
            marks = [(j / last, shown(choice)) for j, choice in enumerate(axis["choices"])]
        elif axis is not None:
            marks = [(0.0, shown(axis["low"])), (1.0, shown(axis["high"]))]
        else:
            marks = [(0.0, score(low)), (1.0, score(high))]
        for height, text in marks:
            figure.add_annotation(
                x=i,
                y=height,
                text=literal(text if len(text) <= 20 else f"{text[:19]}…"),
                showarrow=False,
                xanchor="left",
                xshift=4,
                font={"size": 11},
            )


def _told(data: dict[str, Any], trial: dict[str, Any]) -> str:
    lines = [f"trial {trial['trial']}: {score(trial['score'])}"]
    lines += [
        literal(f"{axis['name']} = {shown(value)}")
        for axis, value in zip(data["axes"], trial["values"], strict=True)
    ]
    return "<br>".join(lines)
