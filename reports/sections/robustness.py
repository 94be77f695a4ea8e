"""How far each hyperparameter may move from the winner before the loss exceeds the seed noise."""

from dataclasses import asdict
from typing import Any

from reports.sections.drawing import (
    GREEN,
    GREY,
    Drawing,
    FigureView,
    TableView,
    on_axis,
    once_in_legend,
    parameter_axis,
    small_multiples,
)
from reports.sections.effects import add_effect
from reports.sensitivity.result import Analysis
from reports.sensitivity.verdict import CANNOT_TELL
from reports.trials import TrialTable
from reports.wording import evidence, safe_text, score, share, shown

NAME, TITLE = "robustness", "Around the winner"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Each parameter's curve through the winner and its safe range."""
    winner = analysis.winner
    parameters = []
    for column in table.columns:
        p = analysis.parameters[column.name]
        if winner is None or p.around is None or p.safe_range is None:
            continue
        parameters.append(
            {"column": vars(column), "curve": vars(p.around), "safe_range": vars(p.safe_range),
             "local": vars(p.local) if p.local else None, "verdict": p.verdict,
             "at": winner.params[column.name]}
        )  # fmt: skip
    return {
        "metric": table.metric, "maximize": table.maximize, "level": analysis.level,
        "fit": asdict(analysis.fit),
        "winner": winner.number if winner else None,
        "noise_sd": vars(analysis.noise_sd) if analysis.noise_sd else None,
        "parameters": parameters,
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A small picture per parameter: the score through the winner, its safe range shaded."""
    parameters = data["parameters"]
    if data["winner"] is None:
        return Drawing(["Without a winner there is nothing to look around."])
    if not parameters:
        why = data["fit"]["reason"] or "the winner lies outside the declared space"
        return Drawing([f"How far the winner may be moved is not known: {why}."])
    figure, places = small_multiples(len(parameters), data["metric"], data["maximize"])
    for parameter, place in zip(parameters, places, strict=True):
        column, at = parameter["column"], parameter["at"]
        add_effect(figure, column, parameter["curve"], place)
        safe = parameter["safe_range"]
        if column["kind"] == "choice":
            figure.add_scatter(
                x=[on_axis(column, at)], y=[_nearest(parameter)], mode="markers", name="winner",
                marker={"symbol": "star", "size": 13, "color": GREEN}, legendgroup="winner", **place,
            )  # fmt: skip
        else:
            figure.add_vrect(
                x0=safe["low"],
                x1=safe["high"],
                fillcolor=GREEN,
                opacity=0.14,
                line_width=0,
                **place,
            )
            figure.add_vline(x=at, line={"color": GREY, "dash": "dot"}, **place)
        figure.update_xaxes(parameter_axis(column), **place)
    sentence = (
        f"The expected {data['metric']} as one hyperparameter moves and all others stay as trial "
        f"{data['winner']} has them, with its {data['level']:.0%} interval{_marks(parameters)}. It is safe to move as long as the expected loss "
        f"does not exceed one standard deviation of the seed noise ({score(data['noise_sd']['estimate'])}): "
        "on average, over what the trials leave open; a value in a safe range may still lose more."
    )
    description = (
        f"One picture per hyperparameter: the expected {data['metric']} around trial {data['winner']}, "
        f"from {evidence(data['fit'])}."
    )
    return Drawing(
        [sentence], [FigureView(once_in_legend(figure), description, _table(parameters))]
    )


def _marks(parameters: list[dict[str, Any]]) -> str:
    """What stands for what in the pictures that there are."""
    are_choices = {p["column"]["kind"] == "choice" for p in parameters}
    words = {
        False: "blue: the interval; green: where it is safe to move; dotted: the winner",
        True: "red: a choice with its interval; star: the winner; which choices are safe stands in the table",
    }
    return f" ({'; '.join(text for kind, text in words.items() if kind in are_choices)})"


def _nearest(parameter: dict[str, Any]) -> float:
    """The curve's score at the winner's choice."""
    values = [repr(value) for value in parameter["curve"]["values"]]
    return float(parameter["curve"]["middle"][values.index(repr(parameter["at"]))])


def _table(parameters: list[dict[str, Any]]) -> TableView:
    rows = [
        (p["column"]["name"], shown(p["at"]),
         safe_text(p["safe_range"]) if p["verdict"] != CANNOT_TELL else f"{safe_text(p['safe_range'])}, as far as is known",
         share(p["local"]) if p["local"] else "")
        for p in parameters
    ]  # fmt: skip
    headers = ("hyperparameter", "winner", "safe range: expected loss within the seed noise",
               "share of the variance around the winner")  # fmt: skip
    return TableView("How far each may move, one at a time", headers, rows)
