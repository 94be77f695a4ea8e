"""One change at a time: what each value of each hyperparameter does to the default, on its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BLUE,
    GREY,
    Drawing,
    FigureView,
    TableView,
    change_of,
    literal,
    reaches,
    styled,
)
from reports.sensitivity.difference import difference
from reports.sensitivity.interval import LEVEL
from reports.sensitivity.result import Analysis
from reports.sensitivity.seed_noise import seed_noise
from reports.sensitivity.verdict import CANNOT_TELL
from reports.trials import ONE_AT_A_TIME, TrialRow, TrialTable
from reports.winner import confirmed_scores
from reports.wording import counted, gap, listed, score, shown, spread

NAME, TITLE = "ablation", "One change at a time"
FEWEST = 2
"""By chance a search tries one change; more of them are a comparison"""


@dataclass(frozen=True)
class _Change:
    """A configuration that differs from the default in one value: its search trials, its fresh scores."""

    parameter: str
    searched: list[TrialRow]
    fresh: list[float]

    @property
    def trial(self) -> TrialRow:
        """The first of its trials, by which it is named."""
        return self.searched[0]

    def runs(self, is_unselected: bool) -> list[float]:
        """The scores that count: where some were chosen for their search score, not that one."""
        chosen_by_score = self.fresh and not is_unselected
        return self.fresh if chosen_by_score else [*self.fresh, *_scores(self.searched)]


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """Each change with its gain over the default (more is better, also of a metric to minimise).

    Nothing where no change ran on purpose and fewer than two by chance, or none ran twice. The gains are differences of means over
    seeds with Student's interval, the seed noise taken from all of these configurations. A change is `better` or `worse` where an interval holds that is widened for
    all changes together (Bonferroni).
    """
    default = next((t for t in table.finished("search") if t.chosen_by == "default"), None)
    if default is None:
        return {}
    fresh, pruned = confirmed_scores(table), _pruned(table, default)
    changes = _changes(table, default, fresh)
    # Where all ran to their end and ran again, no score had a part in what did.
    is_unselected = not pruned and default.number in fresh and all(c.fresh for c in changes)
    runs = [change.runs(is_unselected) for change in changes]
    own = [*fresh.get(default.number, {}).values(), *_scores([default])]
    noise = seed_noise([own, *runs])
    is_meant = any(change.trial.chosen_by == ONE_AT_A_TIME for change in changes)
    if noise is None or len(changes) < (1 if is_meant else FEWEST):
        return {}
    sign = 1.0 if table.maximize else -1.0
    rows = []
    for i, change in enumerate(changes):
        scores, others = [sign * x for x in runs[i]], [*runs[:i], *runs[i + 1 :]]
        gain, surely = (
            difference(scores, [sign * x for x in own], level, others)
            for level in (LEVEL, 1 - (1 - LEVEL) / len(changes))
        )
        assert gain is not None
        assert surely is not None
        verdict = "better" if surely.low > 0 else "worse" if surely.high < 0 else CANNOT_TELL
        rows.append({
            "trial": change.trial.number, "parameter": change.parameter,
            "before": default.params[change.parameter], "after": change.trial.params[change.parameter],
            "runs": runs[i], "gain": vars(gain), "verdict": verdict,
            "same": _is_same(fresh, default, change),
            "times_as_long": _ratio(_seconds(table, change.searched), _seconds(table, [default])),
        })  # fmt: skip
    rows.sort(key=lambda row: -row["gain"]["estimate"])
    return {
        "metric": table.metric, "maximize": table.maximize, "default": default.number,
        "default_runs": own, "noise": vars(noise), "unselected": is_unselected, "changes": rows,
        "pruned": pruned,
    }  # fmt: skip


def _is_same(fresh: Mapping[int, Mapping[int, float]], default: TrialRow, change: _Change) -> bool:
    """Whether it has the default's very scores on all fresh seeds that both have; one alone may be chance."""
    of_default = fresh.get(default.number, {})
    pairs = [
        (score, of_default[seed])
        for t in change.searched
        for seed, score in fresh.get(t.number, {}).items()
        if seed in of_default
    ]
    return len(pairs) > 1 and all(a == b for a, b in pairs)


def _changed(params: Mapping[str, Any], default: Mapping[str, Any]) -> str:
    """The one parameter in which a configuration differs; empty where there is not exactly one."""
    if params.keys() != default.keys():
        return ""
    different = [name for name, value in params.items() if value != default[name]]
    return different[0] if len(different) == 1 else ""


def _changes(
    table: TrialTable, default: TrialRow, fresh: Mapping[int, Mapping[int, float]]
) -> list[_Change]:
    """Every single change that finished, each once."""
    found: dict[tuple[str, str], list[TrialRow]] = {}
    for t in table.finished("search"):
        if name := _changed(t.params, default.params):
            found.setdefault((name, repr(t.params[name])), []).append(t)
    return [
        _Change(name, trials, [score for t in trials for score in fresh.get(t.number, {}).values()])
        for (name, _), trials in found.items()
    ]  # fmt: skip


def _scores(trials: list[TrialRow]) -> list[float]:
    return [t.objective for t in trials if t.objective is not None]


def _seconds(table: TrialTable, trials: list[TrialRow]) -> list[float]:
    """What the runs of a configuration took."""
    numbers = {t.number for t in trials}
    return [
        t.wall_seconds for t in table.finished()
        if t.wall_seconds and numbers & {t.number, t.confirms}
    ]  # fmt: skip


def _ratio(seconds: list[float], of_default: list[float]) -> float | None:
    """By the fastest run of each: what else the machine did is in the others."""
    return min(seconds) / min(of_default) if seconds and of_default else None


def _pruned(table: TrialTable, default: TrialRow) -> list[str]:
    """Changes that were stopped early, and so have no row."""
    return [
        f"{name} = {shown(t.params[name])}"
        for t in table.trials
        if t.status == "pruned" and t.purpose == "search" and (name := _changed(t.params, default.params))
    ]  # fmt: skip


def draw(data: dict[str, Any]) -> Drawing:
    """A point with its interval per change, the best on top, and all of it as a table."""
    if not data:
        return Drawing(
            [
                "No two configurations that ran differ from the default in one value alone, or too few of them ran "
                "again to tell a change from another seed."
            ]
        )
    rows = data["changes"]
    labels, gains = [change_of(r, ": ") for r in rows], [r["gain"] for r in rows]
    figure = go.Figure(
        go.Scatter(
            x=[g["estimate"] for g in gains], y=labels, mode="markers", name="gain",
            marker={"size": 9, "color": [GREY if r["verdict"] == CANNOT_TELL else BLUE for r in rows]},
            error_x=reaches(gains, GREY, 1.5), hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, 120 + 26 * len(rows))
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title=f"gain in {literal(data['metric'])} (right of 0 is better)")
    figure.update_yaxes(autorange="reversed", automargin=True)
    runs = sum(len(r["runs"]) for r in rows) + len(data["default_runs"])
    description = (
        f"The gain of {counted(len(rows), 'single change')} of the default configuration with 90% intervals, "
        f"from {counted(runs, 'run')}; blue where it is surely better or worse."
    )
    return Drawing(_sentences(data), [FigureView(figure, description, _table(data))])


def in_short(data: dict[str, Any]) -> str:
    """What the changes surely do, in one sentence."""
    found, changes = _found(data), data["changes"]
    if not found["better"] and not found["worse"]:
        some = "the one change" if len(changes) == 1 else f"any of the {len(changes)} changes"
        return f"Changed one at a time: these runs cannot tell of {some} whether it is better or worse than the default."
    better, worse = (listed(found[v]) if found[v] else "none" for v in ("better", "worse"))
    text = f"Changed one at a time, surely better than the default: {better}; surely worse: {worse}"
    others = len(changes) - len(found["better"]) - len(found["worse"])
    return f"{text}; of the other {others} these runs cannot tell." if others else f"{text}."


def _found(data: dict[str, Any]) -> dict[str, list[str]]:
    return {
        verdict: [_named(r) for r in data["changes"] if r["verdict"] == verdict]
        for verdict in ("better", "worse")
    }


def _sentences(data: dict[str, Any]) -> list[str]:
    rows, noise, found = data["changes"], data["noise"], _found(data)
    sentences = [
        f"Each row changes one value of the default configuration (trial {data['default']}, "
        f"{spread(data['default_runs'])} over {counted(len(data['default_runs']), 'run')}) and nothing else. "
        f"From seed to seed one configuration varies by {score(noise['estimate'])} (standard deviation)."
    ]
    for verdict, names in found.items():
        some = listed(names) if names else "none of them"
        sentences.append(f"Surely {verdict} than the default: {some}.")
    if len(rows) > 1:
        sentences.append(
            "About one in ten intervals of 90% misses the truth by chance, so a change is called better or "
            "worse only where an interval widened for all of them together leaves 0 out: of ten such reports one at "
            "most is expected to be wrong about any of them. What gains alone "
            "need not gain together: run what is promising as one configuration."
        )
    if same := [_named(r) for r in rows if r["same"]]:
        sentences.append(
            f"With the default's very scores on the fresh seeds that both ran on: {listed(same)}; what "
            f"{'it gains' if len(same) == 1 else 'they gain'} is the difference of other seeds."
        )
    if not data["unselected"]:
        sentences.append(
            "Not all of the changes ran to their end and again on fresh seeds (confirm.top). Those that did "
            "were picked by their score in the search, so it is left out; the others have only that score, "
            "which is a little worse than they deserve, because they were not picked."
        )
    if data["pruned"]:
        sentences.append(
            f"Stopped early, and so without a row: {listed(data['pruned'])} (search.pruner: none runs all to their end)."
        )
    return sentences


def _named(row: dict[str, Any]) -> str:
    return f"{row['parameter']} = {shown(row['after'])}"


def _table(data: dict[str, Any]) -> TableView:
    rows = [
        (r["trial"], r["parameter"], shown(r["before"]), shown(r["after"]), len(r["runs"]), spread(r["runs"]),
         gap(r["gain"]), r["verdict"], f"{r['times_as_long']:.2f}" if r["times_as_long"] else "")
        for r in data["changes"]
    ]  # fmt: skip
    headers = ("trial", "changed", "default", "to", "runs", f"{data['metric']}, mean ± sd",
               "gain over the default (90% interval)", "verdict, all intervals widened", "times as long, by the fastest runs")  # fmt: skip
    return TableView("One change of the default at a time", headers, rows)
