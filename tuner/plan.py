"""What a sweep would do, said before it does anything."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from train_script.tasks import Splits
from tuner.backends.local import LocalBackend
from tuner.machine import gpu_names, usable_cores
from tuner.points import Points
from tuner.progress import shown_value
from tuner.sweep import LoadedSweep


def show_plan(console: Console, loaded: LoadedSweep, splits: Splits | None, points: Points) -> None:
    """Prints the sweep, its space, its trials and the command of its first trial."""
    for part in _parts(loaded, splits, points):
        console.print(part)


def _parts(loaded: LoadedSweep, splits: Splits | None, points: Points) -> list[RenderableType]:
    sweep = loaded.sweep
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("sweep", sweep.name)
    facts.add_row("script", str(loaded.script))
    if sweep.model or "model" in sweep.fixed:
        facts.add_row("model", str(sweep.model or sweep.fixed["model"]))
    if splits is not None and splits.validation is not None:
        facts.add_row(
            "data",
            f"{splits.source}: {len(splits.train)} training and "
            f"{len(splits.validation)} validation examples",
        )
        facts.add_row("split", splits.split)
        labels = ", ".join(splits.labels)
        f1 = f"; F1 is that of {splits.labels[1]!r}" if len(splits.labels) == 2 else ""
        facts.add_row("labels", f"{labels}{f1}")
    facts.add_row("objective", f"{loaded.direction} {sweep.objective.metric}")
    for name, value in sweep.fixed.items():
        facts.add_row("fixed", f"{name} = {value}")
    facts.add_row("trials", trial_counts(loaded, points))
    threads = LocalBackend(loaded).threads_per_trial()
    gpus = len(gpu_names())
    facts.add_row(
        "at once",
        f"{sweep.budget.parallel}, each with {threads} of {usable_cores()} cores"
        + (f", round robin on {gpus} GPU(s)" if gpus else ""),
    )
    facts.add_row("hours", f"at most {sweep.budget.hours:g}" if sweep.budget.hours else "no limit")
    first = points.default or points.space.from_unit([0.5] * len(points.space.parameters))
    command = " ".join(loaded.arguments(first, sweep.search.seed))
    which = "the default configuration" if points.default else "the middle of the space"
    return [
        facts, Text(), _space_table(loaded, points), Text(),
        Group(Text(f"arguments for {which}:", style="dim"), Text(command)),
    ]  # fmt: skip


def trial_counts(loaded: LoadedSweep, points: Points) -> str:
    """How many trials of each kind the sweep will run."""
    search, confirm = loaded.sweep.search, loaded.sweep.confirm
    total = points.search_total()
    parts = []
    if search.sampler == "grid":
        parts.append(f"{total} grid points")
    else:
        default = int(points.default is not None)
        fill = min(points.fill, total - default)
        rest = total - default - fill
        if default:
            parts.append("1 default")
        word = "random" if search.sampler == "random" else "space-filling"
        parts += [f"{fill} {word}"] if fill else []
        parts += [f"{rest} by {search.sampler}"] if rest else []
    text = f"{total} to search ({' + '.join(parts)})"
    if confirm.top:
        who = f"the best {confirm.top}" if confirm.top > 1 else "the best"
        who += " and the default" if points.default is not None else ""
        extra = (confirm.top + (points.default is not None)) * confirm.seeds
        text += f", then at most {extra} to confirm {who} on {confirm.seeds} fresh seed(s) each"
    return text


def _space_table(loaded: LoadedSweep, points: Points) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("searched", "range", "scale", "default", "Optuna distribution"):
        table.add_column(title)
    for name, parameter in points.space.parameters.items():
        if parameter.choice is not None:
            span = ", ".join(map(str, parameter.choice))
        else:
            low, high = parameter.bounds
            span = f"{shown_value(low)} … {shown_value(high)}"
            span += f" by {parameter.step:g}" if parameter.step else ""
        default: Any = (points.default or {}).get(name, "")
        scale = parameter.scale if parameter.choice is None else "choice"
        distribution = str(parameter.distribution())
        table.add_row(*(Text(t) for t in (name, span, scale, shown_value(default), distribution)))
    return table
