"""Where the numbers come from: sweep, data, code, versions, machine."""

import json
from collections import Counter
from typing import Any

from reports.sections.drawing import Drawing, TableView
from reports.sensitivity.result import Analysis
from reports.trials import TrialTable
from reports.wording import counted, dollars, shown

NAME, TITLE = "provenance", "Where this comes from"
MOST_SEEDS = 50


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The run's facts as the ledger holds them; few for studies that were not made here."""
    known = ("sweep", "script", "code_sha256", "data", "machine", "at_once", "imported")
    facts = {"study": table.name} | {key: table.facts[key] for key in known if key in table.facts}
    facts["pretrained_sha256"] = sorted(_said(table, "pretrained_sha256"))
    facts["computed"] = dict(_said(table, "path", "precision"))
    facts["chosen_by"] = dict(Counter(t.chosen_by for t in table.trials))
    facts["seeds"] = sorted({t.seed for t in table.trials if t.seed is not None})
    return facts | ({"aws": on_aws} if (on_aws := _on_aws(table)) else {})


def _said(table: TrialTable, *names: str) -> Counter[str]:
    """What the last lines of our own script say under these names, and how many of them say it."""
    return Counter(
        ", ".join(str(t.metrics[name]) for name in names)
        for t in table.trials
        if all(name in t.metrics for name in ("pretrained_sha256", *names))
    )


def _on_aws(table: TrialTable) -> dict[str, Any]:
    """Where the training jobs ran and what they cost; empty where there were none."""
    billed = [t for t in table.trials if t.training_job]
    if not billed:
        return {}
    place = table.facts.get("aws")
    priced = [t.cost_usd for t in billed if t.cost_usd is not None]
    jobs = table.facts.get("tuning_jobs")
    return {
        "region": place.get("region", "") if isinstance(place, dict) else "",
        "image": place.get("image", "") if isinstance(place, dict) else "",
        "tuning_jobs": [str(p.get("name", "")) for p in jobs if isinstance(p, dict)]
        if isinstance(jobs, list)
        else [],
        "instances": sorted({t.instance for t in billed if t.instance}),
        "training_jobs": len(billed),
        "billable_seconds": sum(t.billable_seconds or 0.0 for t in billed),
        "cost_usd": sum(priced) if priced else None,
        "priced": len(priced),
    }


def draw(data: dict[str, Any]) -> Drawing:
    """A table of facts."""
    rows: list[tuple[str, str]] = [("study", str(data["study"]))]
    kinds = "; ".join(f"{counted(n, 'trial')} by {kind}" for kind, n in data["chosen_by"].items())
    rows += [("points chosen", kinds)] if kinds else []
    if data["seeds"]:
        more = len(data["seeds"]) - MOST_SEEDS
        text = ", ".join(map(str, data["seeds"][:MOST_SEEDS]))
        rows.append(("training seeds", text + (f" and {more} more" if more > 0 else "")))
    if "script" in data:
        rows.append(("script", str(data["script"])))
    if "code_sha256" in data:
        rows.append(("code (SHA-256)", str(data["code_sha256"])))
    if data["pretrained_sha256"]:
        rows.append(("model's weights (SHA-256)", ", ".join(data["pretrained_sha256"])))
    if data["computed"]:
        ways = "; ".join(f"{way} ({counted(n, 'run')})" for way, n in data["computed"].items())
        rows.append(("computed", ways))
    if isinstance(facts := data.get("data"), dict):
        rows.append(("data", str(facts.get("source", ""))))
        rows.append(("data (SHA-256)", str(facts.get("sha256", ""))))
        counts = f"{facts.get('training_examples')} training, {facts.get('validation_examples')} validation"
        rows += [("examples", counts), ("validation split", str(facts.get("split", "")))]
    if isinstance(aws := data.get("aws"), dict):
        rows += _rows_of_aws(aws)
    if isinstance(machine := data.get("machine"), dict):
        packages = machine.get("packages")
        packages = packages if isinstance(packages, dict) else {}
        followed = "aws" in data
        rows.append(("followed from" if followed else "machine", f"{machine.get('system')}, {machine.get('cores')} cores, "
                     f"{machine.get('memory_gib')} GiB, {counted(machine.get('gpus') or 0, 'GPU')}"))  # fmt: skip
        versions = [f"Python {machine.get('python')}", *(f"{k} {v}" for k, v in packages.items())]
        rows.append(("versions there" if followed else "versions", ", ".join(versions)))
    rows += _rows_of_sharing(data.get("at_once"))
    if isinstance(source := data.get("imported"), dict):
        rows.append(("imported from", ", ".join(f"{k} {v}" for k, v in source.items())))
    if "sweep" in data:
        rows.append(("sweep", json.dumps(data["sweep"], indent=2, ensure_ascii=False)))
    return Drawing(tables=[TableView("The run", ("what", "value"), rows)])


def _rows_of_sharing(measured: Any) -> list[tuple[str, str]]:
    """How many trials at once each machine was found to take best."""
    rows = []
    for machine, found in measured.items() if isinstance(measured, dict) else ():
        if not isinstance(found, dict) or not isinstance(found.get("examples_per_second"), dict):
            continue  # somebody else's fact of this name
        rates = [f"{n} at once {shown(rate)}" for n, rate in found["examples_per_second"].items()]
        why = f"measured on {machine}, examples a second: {', '.join(rates)}"
        rows.append(("trials at once", f"{found.get('trials')} ({why})"))
    return rows


def _rows_of_aws(aws: dict[str, Any]) -> list[tuple[str, str]]:
    hours = aws["billable_seconds"] / 3600
    if aws["cost_usd"] is None:
        cost = f"{hours:.2f} billable hours; no price is known (sagemaker.usd_per_hour)"
    else:
        cost = f"{dollars(aws['cost_usd'])} for {hours:.2f} billable hours"
        missing = aws["training_jobs"] - aws["priced"]
        cost += f"; {missing} of {aws['training_jobs']} jobs have no price" if missing else ""
    rows = [
        ("trained on", f"SageMaker {aws['region']}, each job on {' or '.join(aws['instances'])}"),
        ("tuning jobs", ", ".join(aws["tuning_jobs"])),
        ("container", aws["image"]),
        ("cost", cost),
    ]
    return [(what, text) for what, text in rows if text]
