"""Every trial with its status, its parameters and, where it failed, its last words."""

from typing import Any

from reports.sections.drawing import Drawing, TableView
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import dollars, minutes, score, shown

NAME, TITLE = "trials", "The trials"


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """All that the table holds of every trial, and what a command needs that trains one again."""
    folder, has_data = table.facts.get("run_folder"), bool(table.facts.get("data"))
    return {
        "metric": table.metric,
        "steps_are_percent": table.steps_are_percent,
        "script": str(table.facts.get("script", "")),
        "data": f"{folder}/data" if folder and has_data else "",
        "parameters": [c.name for c in table.columns],
        "trials": [vars(t) for t in table.trials],
    }


def draw(data: dict[str, Any]) -> Drawing:
    """One row per trial; page.js makes it sortable, and opens what else is known of a trial."""
    names, trials = data["parameters"], data["trials"]
    priced = any(t["cost_usd"] is not None for t in trials)
    headers = ["trial", "status", data["metric"], *names, "seed", "time",
               *(["cost"] if priced else []), "chosen by"]  # fmt: skip
    rows = []
    for t in trials:
        params = t["params"]
        rows.append(
            [t["number"], t["status"], _score(t, data["steps_are_percent"]),
             *(shown(params[n]) if n in params else "" for n in names),
             t["seed"] if t["seed"] is not None else "", minutes(t["wall_seconds"]),
             *([dollars(t["cost_usd"]) if t["cost_usd"] is not None else ""] if priced else []),
             _source(t)]
        )  # fmt: skip
    tables = [TableView("Every trial", headers, rows, "all-trials")]
    failures = [
        (t["number"], t["failure"] or "no reason is recorded", "\n".join(t["stderr_tail"]))
        for t in trials
        if t["status"] == "failed"
    ]
    if failures:
        tables.append(TableView("What failed", ("trial", "reason", "last lines"), failures))
    sentences = [] if trials else ["There is no trial yet."]
    return Drawing(sentences, tables=tables if trials else [])


def _score(trial: dict[str, Any], steps_are_percent: bool) -> str:
    if trial["status"] == "pruned" and trial["curve"]:
        step, value = trial["curve"][-1]
        where = f"at {step:g} %" if steps_are_percent else f"at step {step:g}"
        return f"({score(value)} {where})"
    return "" if trial["objective"] is None else score(trial["objective"])


def _source(trial: dict[str, Any]) -> str:
    source = str(trial["chosen_by"])
    if trial["confirms"] is not None:
        source = f"confirms trial {trial['confirms']}"
    if trial["continues"] is not None:
        source += f", continues trial {trial['continues']}"
    return source
