"""Which hyperparameters matter, how sure that is, and how much is only the seed."""

from typing import Any

import plotly.graph_objects as go

from reports.sections import ablation
from reports.sections.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Drawing,
    FigureView,
    TableView,
    literal,
    reaches,
    styled,
)
from reports.sensitivity.result import Analysis
from reports.sensitivity.verdict import CANNOT_TELL, MATTERS, NEGLIGIBLE
from reports.trials import TrialTable
from reports.view import ALONE
from reports.wording import between, evidence, listed, share

NAME, TITLE = "sensitivity", "What matters"
COLOURS = {MATTERS: BLUE, NEGLIGIBLE: GREY, CANNOT_TELL: ORANGE}
NOISE = "seed noise"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain data; its seed is 0, so that the same trials give the same report."""
    return analysis.to_dict() | {
        "has_changes": table.is_one_at_a_time and bool(ablation.compute(table, analysis))
    }


def draw(data: dict[str, Any]) -> Drawing:
    """What can be trusted, then each parameter in words, as a picture and in a table."""
    sentences = [_trust(data), *_noise(data), *_spread(data)]
    ordered = sorted(
        data["parameters"].values(), key=lambda p: -(p["total"]["estimate"] if p["total"] else 0)
    )
    figures = []
    if data["fit"]["reason"] == ALONE:
        sentences.append(
            "What each value does in the default's place stands under One change at a time."
            if data["has_changes"]
            else "To tell what each does in the default's place they have to run again on fresh seeds (confirm.top)."
        )
    elif any(p["total"] for p in ordered):
        sentences += [p["sentence"] for p in ordered]
        figures.append(_figure(data, ordered))
    elif ordered:
        sentences.append(_all_withheld(ordered))
    if data["failures"]:
        sentences.append(data["failures"]["sentence"])
    return Drawing(sentences, figures)


def _trust(data: dict[str, Any]) -> str:
    fit = data["fit"]
    told, notes = evidence(fit), []
    if fit["pruned"]:
        notes.append("a pruned trial is a bound on its score")
    if data["outside"]:
        notes.append(f"{data['outside']} outside the declared space are left out")
    if notes:
        told += f" ({'; '.join(notes)})"
    if not fit["trusted"]:
        return f"Shares are withheld: {fit['reason']}. This rests on {told}."
    return (
        f"A model of the score fitted to {told} predicts {share(fit['r2'])} of the variance of the "
        f"scores of configurations it was not shown{_below(fit['r2'])}; seed noise leaves {share(fit['ceiling'])} of "
        "it to predict. Shares below are of the variance that the "
        "hyperparameters cause over the whole declared space (of one that does not always exist, over "
        "the part where it does), with 90% intervals."
    )


def _below(r2: dict[str, Any]) -> str:
    return "" if r2["low"] >= 0 else " (below 0 it would be worse than their mean)"


def _noise(data: dict[str, Any]) -> list[str]:
    noise, sd = data["noise_share"], data["noise_sd"]
    if noise is None or not data["fit"]["trusted"]:
        return []
    return [
        f"Seed noise is {share(noise)} of all variance in this space: a standard deviation of "
        f"{between(sd)}, estimated from {data['noise_from']}."
    ]


def _spread(data: dict[str, Any]) -> list[str]:
    spread = data["spread"]
    if spread is None or not data["fit"]["trusted"]:
        return []
    return [
        f"The {spread['configurations']} configurations cover the space as well as "
        f"{spread['effective']:.0f} evenly spread ones would; {spread['extrapolated']:.0%} of it is "
        "farther from any of them than even spreading would leave it, and is extrapolated."
    ]


def _all_withheld(parameters: list[dict[str, Any]]) -> str:
    open_ = [p for p in parameters if p["verdict"] == CANNOT_TELL]
    if not open_:
        return "No hyperparameter has more than one value."
    names = listed([p["name"] for p in open_], "or")
    more = max(p["more_trials"] or 0 for p in open_)
    text = f"Whether {names} matters, these trials cannot tell."
    return f"{text} About {more} more trials would be the next thing to try." if more else text


def _figure(data: dict[str, Any], ordered: list[dict[str, Any]]) -> FigureView:
    """One row per parameter: its total share with the interval, and its share alone; seed noise."""
    figure = go.Figure()
    known = [p for p in ordered if p["total"]]
    for verdict, colour in COLOURS.items():
        part = [p for p in known if p["verdict"] == verdict]
        if part:
            _add_intervals(
                figure, verdict, colour, "circle", [(_name(p), p["total"]) for p in part]
            )
    figure.add_scatter(
        x=[p["main"]["estimate"] for p in known], y=[literal(_name(p)) for p in known], mode="markers",
        name="alone, without the others", hovertemplate="%{y} alone: %{x:.0%}<extra></extra>",
        marker={"size": 14, "symbol": "line-ns", "line": {"width": 3, "color": RED}},
    )  # fmt: skip
    if data["noise_share"]:
        _add_intervals(
            figure, "seed noise, of all variance", GREEN, "diamond", [(NOISE, data["noise_share"])]
        )
    styled(figure, 150 + 44 * (len(known) + 1))
    figure.update_layout(margin={"l": 130, "r": 20, "t": 30, "b": 50})
    figure.update_xaxes(
        title="share of the variance, 90% intervals", tickformat=".0%", range=[-0.02, 1.02]
    )
    order = [NOISE, *(literal(_name(p)) for p in reversed(known))]
    figure.update_yaxes(categoryorder="array", categoryarray=order, automargin=True)
    return FigureView(
        figure,
        "Each hyperparameter's total share of the variance that hyperparameters cause, with its 90% "
        f"interval, from {evidence(data['fit'])}; below, seed "
        "noise as a share of all variance.",
        _table(data, known),
    )


def _add_intervals(
    figure: go.Figure, name: str, colour: str, symbol: str, rows: list[tuple[str, dict[str, float]]]
) -> None:
    shares = [share_ for _, share_ in rows]
    figure.add_scatter(
        x=[s["estimate"] for s in shares], y=[literal(row) for row, _ in rows], mode="markers", name=name,
        marker={"size": 11, "color": colour, "symbol": symbol},
        error_x=reaches(shares, colour, width=5),
        customdata=[[s["low"], s["high"]] for s in shares],
        hovertemplate="%{y}: %{x:.0%} (%{customdata[0]:.0%} to %{customdata[1]:.0%})<extra></extra>",
    )  # fmt: skip


def _table(data: dict[str, Any], known: list[dict[str, Any]]) -> TableView:
    rows: list[tuple[Any, ...]] = [
        (_name(p), p["verdict"], share(p["total"]), share(p["main"]),
         share(p["local"]) if p["local"] else "", p["active_in"])
        for p in known
    ]  # fmt: skip
    if data["noise_share"]:
        rows.append((NOISE, "", f"{share(data['noise_share'])} of all variance", "", "", ""))
    headers = ("hyperparameter", "verdict", "total share", "alone", "around the winner", "trials")
    return TableView("Shares of the variance, with 90% intervals", headers, rows)


def _name(parameter: dict[str, Any]) -> str:
    """The name, and that it does not always exist."""
    if not parameter["conditional"]:
        return str(parameter["name"])
    return f"{parameter['name']} (where it exists)"
