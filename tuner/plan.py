"""What a sweep would do, said before it does anything."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from train_script.tasks import Splits
from tuner.aws import limits, request
from tuner.backends.launching import threads_of
from tuner.backends.sharing import candidates
from tuner.estimate import beforehand
from tuner.machine import gpu_names, usable_cores
from tuner.points import Points
from tuner.prices import HERE
from tuner.progress import shown_value
from tuner.run_folder import RUNS
from tuner.sweep import LoadedSweep


def show_plan(
    console: Console,
    loaded: LoadedSweep,
    splits: Splits | None,
    points: Points,
    backends: Sequence[str] = ("local",),
) -> None:
    """Prints the sweep, its space as each backend gets it, its trials, its first command."""
    parts: list[RenderableType] = [_facts(loaded, splits, points, backends), Text()]
    parts += [_space_table(loaded, points, backends), Text()]
    command = " ".join(loaded.arguments(loaded.typical_point(), loaded.sweep.search.seed))
    which = "the default configuration" if loaded.default_point() else "the middle of the space"
    where = ", the same on both backends" if len(backends) > 1 else ""
    parts.append(Group(Text(f"arguments for {which}{where}:", style="dim"), Text(command)))
    if "sagemaker" in backends:
        parts += _sagemaker(loaded, points)
    for part in parts:
        console.print(part)


def _facts(
    loaded: LoadedSweep, splits: Splits | None, points: Points, backends: Sequence[str]
) -> Table:
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
        counts = Counter(splits.train.labels)
        labels = ", ".join(f"{label} ({counts[i]})" for i, label in enumerate(splits.labels))
        f1 = (
            f"; F1 is that of {splits.labels[1]!r}"
            if len(splits.labels) == 2
            else "; F1 is the mean over labels"
        )
        facts.add_row("labels", f"{labels}{f1}")
    facts.add_row("objective", f"{loaded.direction} {sweep.objective.metric}")
    for name, value in sweep.fixed.items():
        facts.add_row("fixed", f"{name} = {value}")
    for backend in backends:
        label = "trials" if len(backends) == 1 else f"trials, {WHERE[backend]}"
        facts.add_row(label, trial_counts(loaded, points, backend))
    if "local" in backends:
        facts.add_row("at once, here", _at_once(loaded, points))
        if loaded.uses_own_script and _torch_leaves_gpus_idle():
            facts.add_row(
                "GPU", "left idle: this torch has no CUDA or too new a one for the driver, and "
                "trains on the cores; pytorch.org/get-started says which to install",
            )  # fmt: skip
    if "sagemaker" in backends:
        block = sweep.sagemaker
        machines = f"{block.instance_count} x {' or '.join(block.instance_types)}"
        facts.add_row("at once, AWS", f"{sweep.budget.at_once}, each with {machines}")
        facts.add_row("cost, AWS", _most_it_can_cost(loaded, points))
    if "local" in backends:
        before = beforehand(
            loaded, RUNS / sweep.name, points.most_trials(),
            len(splits.train) if splits is not None else None,
        )  # fmt: skip
        unknown = "not known before four trials have ended; no other run here is like this one"
        facts.add_row("time, here", str(before) if before else unknown)
        if HERE not in sweep.prices:
            facts.add_row(
                "cost, here", f"unknown: no price of this machine (prices: {{{HERE}: ...}})"
            )
    facts.add_row("hours", f"at most {sweep.budget.hours:g}" if sweep.budget.hours else "no limit")
    return facts


def _at_once(loaded: LoadedSweep, points: Points) -> str:
    """Trials at once on this machine, and what each has of it."""
    budget, cores, gpus = loaded.sweep.budget, usable_cores(), len(gpu_names())
    if budget.parallel == "auto" and loaded.uses_own_script and cores > 1:
        numbers = [str(n) for n in candidates(points.most_trials(), gpus)]
        return f"{' or '.join(numbers)}, measured at the start" + (
            f", on {gpus} GPU(s)" if gpus else ""
        )
    text = f"{budget.at_once}, each with {threads_of(budget.at_once)} of {cores} cores"
    return text + (f", round robin on {gpus} GPU(s)" if gpus else "")


def _torch_leaves_gpus_idle() -> bool:
    """Whether GPUs are here that this torch cannot use, which training would not say."""
    if not gpu_names():
        return False
    import torch  # some seconds, so only where there is something to ask

    return not torch.cuda.is_available()


def _most_it_can_cost(loaded: LoadedSweep, points: Points) -> str:
    """The bound that the limits give; what it will cost depends on how long the trials take."""
    block = loaded.sweep.sagemaker
    jobs = sum(_amt_counts(loaded, points)) + points.most_confirmations()
    hours = jobs * block.max_hours * block.instance_count
    text = f"{jobs} jobs of at most {block.max_hours:g} h"
    prices = [block.price_of(kind) for kind in block.instance_types]
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        missing = [k for k, p in zip(block.instance_types, prices, strict=True) if p is None]
        return f"unknown: {text}, and sagemaker.usd_per_hour has no price of {', '.join(missing)}"
    return f"at most ${hours * max(known):,.2f}: {text} at ${max(known):g} an hour"


def _amt_counts(loaded: LoadedSweep, points: Points) -> tuple[int, int]:
    """How many search trials are AMT's, and whether the default is one more."""
    if request.plan_of(loaded, 1).strategy == "Grid":
        return points.space.grid_size(), 0
    default = int(points.default is not None)
    return max(1, points.search_total() - default), default


def _sagemaker(loaded: LoadedSweep, points: Points) -> list[RenderableType]:
    """The exact request, with capitals for what only AWS can tell, and what is different there."""
    trials, _ = _amt_counts(loaded, points)
    place = limits.known_place(loaded)
    asked = request.tuning_request(loaded, place, "NAME", trials, request.longest_seconds(loaded))
    title = "CreateHyperParameterTuningJob (capitals: known only when it runs):"
    told = [Text(f"• {note}") for note in limits.notes(loaded)]
    return [
        Text(), Text(title, style="dim"),
        Syntax(json.dumps(asked, indent=2), "json", theme="ansi_light", background_color="default"),
        Text(f"the objective's regex reads {limits.example_line(loaded)}", style="dim"), *told,
    ]  # fmt: skip


WHERE = {"local": "here", "sagemaker": "AWS"}


def trial_counts(loaded: LoadedSweep, points: Points, backend: str = "local") -> str:
    """How many trials of each kind the sweep will run."""
    search, confirm = loaded.sweep.search, loaded.sweep.confirm
    total = points.search_total()
    parts = []
    if backend == "sagemaker":
        amt, default = _amt_counts(loaded, points)
        total = amt + default
        parts = [f"{amt} by AMT's {request.plan_of(loaded, total).strategy} search"]
        parts += ["1 default"] if default else []
    elif search.sampler == "grid":
        first = (
            ", the default first" if points.is_default(next(iter(points.listed.values()))) else ""
        )
        parts.append(f"{total} grid points{first}")
    elif search.sampler == "one_at_a_time":
        parts.append(f"1 default + {total - 1} with one change each")
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
        text += f", then at most {points.most_confirmations()} to confirm {who} on {confirm.seeds} fresh seed{'s' * (confirm.seeds > 1)} each"
    return text


def _space_table(loaded: LoadedSweep, points: Points, backends: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    titles = ["searched", "range", "scale", "default"]
    titles += ["Optuna distribution"] if "local" in backends else []
    titles += ["AMT range"] if "sagemaker" in backends else []
    for title in titles:
        table.add_column(title, overflow="fold")
    theirs = _amt_ranges(loaded) if "sagemaker" in backends else {}
    for name, parameter in points.space.parameters.items():
        if parameter.choice is not None:
            span = ", ".join(map(str, parameter.choice))
        else:
            low, high = parameter.bounds
            span = f"{shown_value(low)} … {shown_value(high)}"
            span += f" by {parameter.step:g}" if parameter.step else ""
        default: Any = (points.default or {}).get(name, "")
        scale = parameter.scale if parameter.choice is None else "choice"
        cells = [name, span, scale, shown_value(default)]
        cells += [str(parameter.distribution())] if "local" in backends else []
        cells += [theirs[name]] if "sagemaker" in backends else []
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _amt_ranges(loaded: LoadedSweep) -> dict[str, str]:
    """Each parameter's range in AMT's words; one of a single value is a static hyperparameter."""
    words = {
        name: f"static {request.texts(loaded, name, parameter)[0]}"
        for name, parameter in loaded.sweep.space.items()
        if parameter.size == 1
    }
    for kind, entries in request.parameter_ranges(loaded).items():
        for entry in entries:
            rest = entry.get("Values") or [
                entry["MinValue"], entry["MaxValue"], entry["ScalingType"]
            ]  # fmt: skip
            words[entry["Name"]] = f"{kind.removesuffix('ParameterRanges')}({', '.join(rest)})"
    return words
