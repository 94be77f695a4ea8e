"""Every trial with its status, its parameters and, where it failed, its last words."""

from typing import Any

from reports.sections.drawing import Drawing, TableView, minutes, shown
from reports.trials import TrialTable
from reports.winner import score as number

NAME, TITLE = "trials", "The trials"


def compute(table: TrialTable) -> dict[str, Any]:
    """All that the table holds of every trial."""
    return {
        "metric": table.metric,
        "steps_are_percent": table.steps_are_percent,
        "parameters": [c.name for c in table.columns],
        "trials": [vars(t) for t in table.trials],
    }


def draw(data: dict[str, Any]) -> Drawing:
    """One row per trial, and the failures' texts below."""
    names = data["parameters"]
    headers = ["trial", "status", "chosen by", *names, "seed", data["metric"], "time"]
    rows = []
    for t in data["trials"]:
        score = "" if t["objective"] is None else number(t["objective"])
        if t["status"] == "pruned" and t["curve"]:
            step, value = t["curve"][-1]
            where = f"at {step:g} %" if data["steps_are_percent"] else f"at step {step:g}"
            score = f"({number(value)} {where})"
        source = t["chosen_by"]
        if t["confirms"] is not None:
            source = f"confirms trial {t['confirms']}"
        if t["continues"] is not None:
            source += f", continues trial {t['continues']}"
        rows.append(
            [t["number"], t["status"], source, *(shown(t["params"][n]) if n in t["params"] else "" for n in names),
             t["seed"] if t["seed"] is not None else "", score, minutes(t["wall_seconds"])]
        )  # fmt: skip
    tables = [TableView("Every trial", headers, rows)]
    failures = [
        (t["number"], t["failure"], "\n".join(t["stderr_tail"]))
        for t in data["trials"]
        if t["failure"] and t["status"] == "failed"
    ]
    if failures:
        tables.append(TableView("What failed", ("trial", "reason", "last lines"), failures))
    return Drawing(tables=tables)
