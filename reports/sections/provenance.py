"""Where the numbers come from: sweep, data, code, versions, machine."""

import json
from typing import Any

from reports.sections.drawing import Drawing, TableView
from reports.trials import TrialTable

NAME, TITLE = "provenance", "Where this comes from"


def compute(table: TrialTable) -> dict[str, Any]:
    """The run's facts as the ledger holds them; few for studies that were not made here."""
    known = ("sweep", "script", "code_sha256", "data", "machine")
    return {"study": table.name} | {key: table.facts[key] for key in known if key in table.facts}


def draw(data: dict[str, Any]) -> Drawing:
    """A table of facts."""
    rows: list[tuple[str, str]] = [("study", str(data["study"]))]
    if "script" in data:
        rows.append(("script", str(data["script"])))
    if "code_sha256" in data:
        rows.append(("code (SHA-256)", str(data["code_sha256"])))
    if isinstance(facts := data.get("data"), dict):
        rows.append(("data", str(facts.get("source", ""))))
        rows.append(("data (SHA-256)", str(facts.get("sha256", ""))))
        counts = f"{facts.get('training_examples')} training, {facts.get('validation_examples')} validation"
        rows += [("examples", counts), ("validation split", str(facts.get("split", "")))]
    if isinstance(machine := data.get("machine"), dict):
        packages = machine.get("packages") or {}
        rows.append(("machine", f"{machine.get('system')}, {machine.get('cores')} cores, "
                     f"{machine.get('memory_gib')} GiB, {machine.get('gpus')} GPUs"))  # fmt: skip
        versions = [f"Python {machine.get('python')}", *(f"{k} {v}" for k, v in packages.items())]
        rows.append(("versions", ", ".join(versions)))
    if "sweep" in data:
        rows.append(("sweep", json.dumps(data["sweep"], indent=2, ensure_ascii=False)))
    return Drawing(tables=[TableView("The run", ("what", "value"), rows)])
