"""Which hyperparameters matter, how sure that is, and how far each may move."""

from typing import Any

import plotly.graph_objects as go

from reports.analysis import analyze_table
from reports.sections.drawing import (
    BLUE,
    GREY,
    ORANGE,
    Drawing,
    FigureView,
    TableView,
    shown,
    styled,
)
from reports.sensitivity.verdict import CANNOT_TELL, MATTERS, NEGLIGIBLE
from reports.trials import TrialTable
from reports.winner import score

NAME, TITLE = "sensitivity", "What matters"
COLOURS = {MATTERS: BLUE, NEGLIGIBLE: GREY, CANNOT_TELL: ORANGE}
SMALLEST_INTERACTION = 0.02
MOST_INTERACTIONS = 5


def compute(table: TrialTable) -> dict[str, Any]:
    """The analysis as plain data; its seed is 0, so that the same trials give the same report."""
    return analyze_table(table, seed=0).to_dict()


def draw(data: dict[str, Any]) -> Drawing:
    """What can be trusted, then each parameter in words, as a picture and in a table."""
    sentences = [_trust(data), *_noise(data), *_spread(data)]
    ordered = sorted(
        data["parameters"].values(), key=lambda p: -(p["total"]["estimate"] if p["total"] else 0)
    )
    figures = []
    if any(p["total"] for p in ordered):
        sentences += [p["sentence"] for p in ordered]
        figures.append(_figure(ordered))
    elif ordered:
        sentences.append(_all_withheld(ordered))
    if data["failures"]:
        sentences.append(data["failures"]["sentence"])
    sentences += [*_odds(data), _best_of_n(data)]
    return Drawing(sentences, figures, _tables(data, ordered))


def _trust(data: dict[str, Any]) -> str:
    fit = data["fit"]
    told, notes = f"{fit['finished']} finished trials", []
    if fit["pruned"]:
        told += f" and {fit['pruned']} pruned ones"
        notes.append("a pruned trial is a bound on its score")
    if data["outside"]:
        notes.append(f"{data['outside']} outside the declared space are left out")
    if notes:
        told += f" ({'; '.join(notes)})"
    if not fit["trusted"]:
        return f"Shares are withheld: {fit['reason']}. This rests on {told}."
    return (
        f"A model of the score fitted to {told} predicts {_share(fit['r2'])} of the variance of the "
        f"scores of configurations it was not shown; {fit['ceiling']['estimate']:.0%} or so is what "
        "seed noise leaves to predict. Shares below are of the variance that the "
        "hyperparameters cause over the whole declared space, with 90% intervals."
    )


def _noise(data: dict[str, Any]) -> list[str]:
    noise, sd = data["noise_share"], data["noise_sd"]
    if noise is None or not data["fit"]["trusted"]:
        return []
    return [
        f"Seed noise is {_share(noise)} of all variance in this space: a standard deviation of "
        f"{score(sd['estimate'])} ({score(sd['low'])} to {score(sd['high'])}), estimated from "
        f"{data['noise_from']}."
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
    names = ", ".join(p["name"] for p in parameters)
    more = max((p["more_trials"] or 0 for p in parameters), default=0)
    text = f"Whether any of {names} matters, these trials cannot tell."
    return f"{text} About {more} more trials would be the next thing to try." if more else text


def _odds(data: dict[str, Any]) -> list[str]:
    odds, sentences = data["odds"], []
    if odds and data["fit"]["trusted"] and odds["contenders"]:
        top, optimism = odds["contenders"][0], odds["optimism"]
        sentences.append(
            f"Taking all trials together, trial {top['trial']} is the likeliest to be really the best "
            f"of the configurations that ran ({top['probability_best']:.0%})."
        )
        if optimism["estimate"] > 0:
            sentences.append(
                f"The best score that the search saw is about {score(optimism['estimate'])} "
                f"({score(optimism['low'])} to {score(optimism['high'])}) better than its "
                "configuration really is: luck has a part in being first."
            )
        if odds["beats_default"] is not None:
            gap = odds["over_default"]
            sentences.append(
                f"The winner is better than the default with a probability of "
                f"{_chance(odds['beats_default'])}; winner minus default is {_gap(gap)}."
            )
    return sentences


def _best_of_n(data: dict[str, Any]) -> str:
    best = data["best_of_n"]
    if not best:
        return f"What the best of n trials would score is not told: {data['best_of_n_refused']}."
    n, half = best["trials"][-1], max(1, best["trials"][-1] // 2)
    expected = score(best["expected"][-1])
    text = f"The best of {n} independent random trials is expected to score {expected}"
    if best["low"]:
        text += f" ({score(best['low'][-1])} to {score(best['high'][-1])})"
    return f"{text}, the best of {half} {score(best['expected'][half - 1])}."


def _figure(ordered: list[dict[str, Any]]) -> FigureView:
    """One row per parameter: its total share with the interval, and its share alone."""
    figure = go.Figure()
    known = [p for p in ordered if p["total"]]
    for verdict, colour in COLOURS.items():
        part = [p for p in known if p["verdict"] == verdict]
        if not part:
            continue
        figure.add_scatter(
            x=[p["total"]["estimate"] for p in part], y=[p["name"] for p in part], mode="markers",
            name=verdict, marker={"size": 11, "color": colour},
            error_x={
                "type": "data", "symmetric": False, "thickness": 2, "width": 5, "color": colour,
                "array": [p["total"]["high"] - p["total"]["estimate"] for p in part],
                "arrayminus": [p["total"]["estimate"] - p["total"]["low"] for p in part],
            },
            customdata=[[p["total"]["low"], p["total"]["high"]] for p in part],
            hovertemplate="%{y}: %{x:.0%} (%{customdata[0]:.0%} to %{customdata[1]:.0%})<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[p["main"]["estimate"] for p in known], y=[p["name"] for p in known], mode="markers",
        name="alone, without the others", hovertemplate="%{y} alone: %{x:.0%}<extra></extra>",
        marker={"size": 12, "symbol": "line-ns", "line": {"width": 2, "color": "#111827"}},
    )  # fmt: skip
    styled(figure, 130 + 44 * len(known))
    figure.update_layout(margin={"l": 130, "r": 20, "t": 30, "b": 50})
    figure.update_xaxes(title="total share of the variance", tickformat=".0%", range=[-0.02, 1.02])
    figure.update_yaxes(
        categoryorder="array", categoryarray=[p["name"] for p in reversed(known)], automargin=True
    )
    return FigureView(
        figure, "Each hyperparameter's total share of the variance with its 90% interval."
    )


def _tables(data: dict[str, Any], ordered: list[dict[str, Any]]) -> list[TableView]:
    known = [p for p in ordered if p["total"]]
    tables: list[TableView] = []
    rows: list[tuple[Any, ...]]
    headers: tuple[str, ...]
    if known:
        rows = [
            (_name(p), p["verdict"], _share(p["total"]), _share(p["main"]),
             _share(p["local"]) if p["local"] else "",
             _safe(p["safe_range"]) if p["verdict"] != CANNOT_TELL else "not known")
            for p in known
        ]  # fmt: skip
        headers = ("hyperparameter", "verdict", "total share", "alone", "around the winner",
                   "may move without loss beyond seed noise")  # fmt: skip
        tables.append(TableView("Shares of the variance, with 90% intervals", headers, rows))
    pairs = [
        pair for pair in data["interactions"] if pair["share"]["estimate"] >= SMALLEST_INTERACTION
    ][:MOST_INTERACTIONS]
    if pairs:
        rows = [(" and ".join(pair["names"]), _share(pair["share"])) for pair in pairs]
        tables.append(TableView("What two do only together", ("pair", "share"), rows))
    if data["path"]:
        rows = [
            (step["parameter"], shown(step["before"]), shown(step["after"]),
             _gap(step["gain"]))
            for step in data["path"]
        ]  # fmt: skip
        headers = ("change", "from", "to", f"what it does to {data['metric']}")
        tables.append(TableView("From the default to the winner, one at a time", headers, rows))
    odds = data["odds"]
    if odds and data["fit"]["trusted"] and len(odds["contenders"]) > 1:
        rows = [
            (c["trial"], f"{c['probability_best']:.0%}",
             f"{score(c['score']['estimate'])} ({score(c['score']['low'])} to "
             f"{score(c['score']['high'])})")
            for c in odds["contenders"]
        ]  # fmt: skip
        headers = ("trial", "really the best", "its true score, probably")
        tables.append(TableView("Which configuration is the best", headers, rows))
    return tables


def _name(parameter: dict[str, Any]) -> str:
    """The name, and in how many trials it exists where that is not all."""
    if not parameter["conditional"]:
        return str(parameter["name"])
    return f"{parameter['name']} (where it exists: {parameter['active_in']} trials)"


def _share(interval: dict[str, float]) -> str:
    """`42% (30% to 55%)`."""
    return f"{interval['estimate']:.0%} ({interval['low']:.0%} to {interval['high']:.0%})"


def _gap(gap: dict[str, float]) -> str:
    """`+0.0123 (-0.0040 to +0.0281)`."""
    low, middle, high = (
        ("+" if gap[part] >= 0 else "-") + score(abs(gap[part]))
        for part in ("low", "estimate", "high")
    )
    return f"{middle} ({low} to {high})"


def _chance(probability: float) -> str:
    if probability > 0.99:
        return "more than 99%"
    return "less than 1%" if probability < 0.01 else f"{probability:.0%}"


def _safe(safe: dict[str, Any] | None) -> str:
    if safe is None:
        return ""
    if safe["low"] is None or safe["choices"]:
        return ", ".join(shown(choice) for choice in safe["choices"])
    low, high = (shown(safe[end]) for end in ("low", "high"))
    if all(safe["reaches_end"]):
        return f"{low} to {high} (all of it)"
    return f"{low} to {high}"
