"""From the default to the winner, one change at a time, and what each one bought."""

from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BLUE,
    ORANGE,
    Drawing,
    FigureView,
    TableView,
    change_of,
    literal,
    reaches,
    styled,
)
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import evidence, gap, listed, shown

NAME, TITLE = "path", "From the default to the winner"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The steps; without any, why there are none."""
    winner = analysis.winner
    why, one_sided = "", []
    if winner is not None and winner.default_number is not None:
        default = table.by_number(winner.default_number).params
        one_sided = [name for name in {**default, **winner.params}
                     if (name in default) != (name in winner.params)]  # fmt: skip
    if winner is None:
        why = "no search trial has finished"
    elif winner.default_number is None:
        why = "no trial is known to be the default configuration"
    elif winner.is_default:
        why = "the default is the winner"
    elif not analysis.fit.trusted:
        why = analysis.fit.reason
    elif not analysis.path and one_sided:
        why = f"the two differ only in {listed(one_sided)}, which one of them does not have"
    elif not analysis.path:
        why = "the default or the winner lies outside the declared space"
    return {
        "metric": table.metric, "maximize": table.maximize, "level": analysis.level,
        "default": winner.default_number if winner else None,
        "winner": winner.number if winner else None, "why_not": why, "one_sided": one_sided, "fit": asdict(analysis.fit),
        "steps": [
            {"parameter": s.parameter, "before": s.before, "after": s.after, "gain": vars(s.gain)}
            for s in analysis.path
        ],
    }  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A bar per change with its interval."""
    steps = data["steps"]
    if not steps:
        return Drawing([f"There is no such path: {data['why_not'] or 'nothing changes'}."])
    labels = [change_of(s, "<br>") for s in steps]
    gains = [s["gain"] for s in steps]
    figure = go.Figure(
        go.Bar(
            x=[g["estimate"] for g in gains], y=labels, orientation="h", marker={"color": BLUE},
            error_x=reaches(gains, ORANGE), hovertemplate="%{y}: %{x:+.4~g}<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, 110 + 56 * len(steps))
    figure.update_yaxes(autorange="reversed", automargin=True)
    better = "more" if data["maximize"] else "less"
    figure.update_xaxes(
        title=f"expected change of {literal(data['metric'])} ({better} is better), 90% intervals"
    )
    sentence = (
        f"From trial {data['default']} (the default) to trial {data['winner']}, changing one "
        "hyperparameter at a time, each time the one that is expected to gain most then: what a change gains depends on those "
        "before it."
    )
    sentences = [sentence]
    if data["one_sided"]:
        sentences.append(
            f"Only one of the two has {listed(data['one_sided'])}: that is averaged over, and what it brings "
            "is in none of these bars."
        )
    table = TableView(
        "From the default to the winner, one at a time",
        ("change", "from", "to", f"what it does to {data['metric']} (90% interval)"),
        [(s["parameter"], shown(s["before"]), shown(s["after"]), gap(s["gain"])) for s in steps],
    )
    description = (
        f"What {'the change' if len(steps) == 1 else f'each of {len(steps)} changes'} does to the expected "
        f"{data['metric']}, from {evidence(data['fit'])}."
    )
    return Drawing(sentences, [FigureView(figure, description, table)])
