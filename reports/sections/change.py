"""What has changed since the run that this one was compared with (`tuner schedule`, `tuner compare`)."""

from collections.abc import Mapping
from typing import Any

from reports.sections.drawing import Drawing, TableView
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import chance, gap, shown

NAME, TITLE = "change", "Since the run before"
NEEDED = {"verdict", "sentence", "winners", "gain", "probability", "disagreements", "differences"}


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The comparison as the ledger holds it; empty where there was none, and then nothing is shown."""
    found = table.facts.get("compared")
    return dict(found) if isinstance(found, Mapping) and set(found) >= NEEDED else {}


def draw(data: dict[str, Any]) -> Drawing:
    """The verdict in a sentence, the two winners, and what else is not the same."""
    if not data:
        return Drawing(["This run was not compared with another one."])
    sentences = [f"Compared with {data.get('before', 'the run before')}: {data['sentence']}"]
    winners = [winner for winner in data["winners"] if winner]
    better = "" if data.get("maximize", True) else " (above 0 is better)"
    if len(winners) == 2 and winners[0]["params"] == winners[1]["params"]:
        sentences.append("Both runs have the same winner.")
    elif data["gain"] and data["probability"] is not None:
        sentences.append(
            f"On this run's data its winner against the one before: {gap(data['gain'])}{better}; it is better "
            f"with a probability of {chance(data['probability'])}."
        )
    tables = []
    if len(winners) == 2:
        names = list(dict.fromkeys([*winners[0]["params"], *winners[1]["params"]]))
        rows = [
            (name, *(shown(w["params"][name]) if name in w["params"] else "–" for w in winners))
            for name in names
        ]
        head = ("hyperparameter", "before", "now")
        tables.append(TableView("The winner's configuration in the two runs", head, rows))
    other = [(c["parameter"], c["what"], c["before"], c["after"]) for c in data["disagreements"]]
    if other:
        tables.append(
            TableView(
                "What has nothing in common, in the two runs' own intervals",
                ("hyperparameter", "what", "before", "now"), other,
            )
        )  # fmt: skip
    if data["differences"]:
        rows = [(text,) for text in data["differences"]]
        tables.append(TableView("What else is not the same", ("difference",), rows))
    return Drawing(sentences, tables=tables)
