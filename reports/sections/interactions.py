"""What two hyperparameters do only together: their shares, and maps of the largest."""

from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    SCALE,
    Drawing,
    FigureView,
    TableView,
    literal,
    on_axis,
    parameter_axis,
    styled,
    thinned,
)
from reports.sensitivity.result import Analysis
from reports.sensitivity.verdict import ONE_VALUE
from reports.trials import TrialTable
from reports.wording import listed, score, share, shown

NAME, TITLE = "interactions", "What two do together"
MOST_PAIRS = 10
SMALLEST = 0.05


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Every pair's share, and the maps with the trials on them."""
    columns = {column.name: vars(column) for column in table.columns}
    maps = [
        vars(found) | {
            "columns": [columns[name] for name in found.names],
            "trials": thinned(
                [
                    {"trial": t.number, "at": [t.params[name] for name in found.names]}
                    for t in table.trials
                    if t.last_score is not None and all(name in t.params for name in found.names)
                ]
            ),
        }
        for found in analysis.maps
    ]  # fmt: skip
    return {
        "metric": table.metric, "maximize": table.maximize, "trusted": analysis.fit.trusted,
        "reason": analysis.fit.reason, "maps": maps,
        "has_pairs": analysis.has_pairs, "parameters": sum(p.verdict != ONE_VALUE for p in analysis.parameters.values()),
        "pairs": [
            {"names": pair.names, "share": vars(pair.share)}
            for pair in analysis.interactions
            if pair.share.high >= SMALLEST
        ],
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """One map per pair."""
    if not data["trusted"]:
        return Drawing([f"Nothing can be said of interactions: {data['reason']}."])
    if not data["has_pairs"]:
        return Drawing(
            [
                "The hyperparameters have too many values for a model of what two of them do together."
            ]
            if data["parameters"] > 1
            else ["There is one hyperparameter, and so no pair."]
        )
    if not data["maps"]:
        sentence = "No two hyperparameters are seen to cause more than 2% of the variance together"
        if not data["pairs"]:
            return Drawing([f"{sentence}, and none is likely to hide more than 5%."])
        return Drawing([f"{sentence}; what cannot be excluded stands below."], [], [_shares(data)])
    pairs = [listed(pair["names"]) for pair in data["maps"]]
    sentence = (
        f"The colour is the {data['metric']} that is expected at two values, averaged over all values of "
        "the others; points are trials. Where there are none, the map is extrapolated: see the intervals "
        f"in the table. Drawn: {'; '.join(pairs)}."
    )
    return Drawing([sentence], [_map(data, found) for found in data["maps"]], [_shares(data)])


def _shares(data: dict[str, Any]) -> TableView:
    pairs, some = data["pairs"], data["pairs"][:MOST_PAIRS]
    left = f" (the first {len(some)} of {len(pairs)})" if len(some) < len(pairs) else ""
    return TableView(
        f"What two do only together, where it may be 5% or more{left}",
        ("pair", "share of the variance (90% interval)"),
        [(listed(pair["names"]), share(pair["share"])) for pair in some],
    )


def _map(data: dict[str, Any], found: dict[str, Any]) -> FigureView:
    first, second = found["columns"]
    x, y = ([on_axis(column, value) for value in values] for column, values in
            zip(found["columns"], found["values"], strict=True))  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            x=x, y=y, z=found["middle"], customdata=found["half_width"], colorscale=SCALE,
            reversescale=not data["maximize"], colorbar={"title": {"text": literal(data["metric"])}},
            hovertemplate=f"{literal(first['name'])} %{{x}}<br>{literal(second['name'])} %{{y}}<br>"
            "%{z:.4~g} ± %{customdata:.4~g}<extra></extra>",
        )
    )  # fmt: skip
    trials = found["trials"]
    figure.add_scatter(
        x=[on_axis(first, t["at"][0]) for t in trials], y=[on_axis(second, t["at"][1]) for t in trials],
        mode="markers", showlegend=False, text=[t["trial"] for t in trials],
        marker={"size": 7, "color": "rgba(255,255,255,0.85)", "line": {"color": "#111827", "width": 1}},
        hovertemplate="trial %{text}<extra></extra>",
    )  # fmt: skip
    styled(figure, 400)
    figure.update_xaxes(parameter_axis(first))
    figure.update_yaxes(parameter_axis(second))
    rows = [
        (shown(found["values"][0][i]), shown(found["values"][1][j]),
         f"{score(found['middle'][j][i])} ± {score(found['half_width'][j][i])}")
        for i in thinned(range(len(x)), 4) for j in thinned(range(len(y)), 4)
    ]  # fmt: skip
    names = f"{first['name']} and {second['name']}"
    headers = (first["name"], second["name"], f"expected {data['metric']}")
    return FigureView(
        figure,
        f"Map of the expected {data['metric']} over {names}, from {len(found['trials'])} trials.",
        TableView(f"The map of {names} at some of its points", headers, rows),
    )
