"""Sweep: the YAML file as models, checked whole, every fault at once with its line."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train_script.config import (
    METRICS,
    OPTIONS,
    TUNABLE,
    TYPES,
    check_values,
    default_of,
    value_problem,
)
from train_script.errors import BadInput, did_you_mean
from train_script.pretrained import locate_model, positions
from train_script.tasks import TASKS, Splits, TaskOptions, load_task
from tuner.errors import SweepError
from tuner.space import Parameter, Point, Scalar, SearchSpace
from tuner.yaml_lines import Location, line_of, parse_value, parse_yaml, read_file

LARGEST_GRID = 100_000
DEFAULT_SCRIPT = "train_script/train.py"
OWN_SCRIPT = Path(__file__).resolve().parent.parent / "train_script" / "train.py"


class Block(BaseModel):
    """A part of a sweep file: unknown keys are faults, and so is `"24"` for a number."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class TaskBlock(Block):
    """What the model learns. Left out for a script of your own that reads its own data."""

    name: str = "file"
    """`mrpc`, `cola`, `demo`, or `file` for your own data"""
    data: str | None = None
    """A folder or file, beside the sweep file; left out: the hub, or generated for `demo`"""
    validation: str | None = None
    """Task `file`: a validation file of its own; left out: a share of the training data"""
    text: list[str] | str = []
    """Task `file`: the text column, or two for pairs"""
    label: str = ""
    """Task `file`: the label column"""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share set apart where there is no validation file; never from test data"""
    limit: Annotated[int, Field(ge=0)] = 0
    """Use only so many training examples, stratified; 0: all"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the split, the limit and the demo; the same for all trials"""


class Objective(Block):
    """The number by which trials are compared."""

    metric: Annotated[str, Field(min_length=1)]
    """A metric of the script; for your own script the name in the JSON lines it prints"""
    direction: Literal["maximize", "minimize"] | None = None
    """Known for the script's own metrics; needed for others"""


class Search(Block):
    """How points are chosen and hopeless trials stopped."""

    sampler: Literal["tpe", "random", "qmc", "grid", "gp", "cmaes"] = "tpe"
    """How points are chosen; `qmc` is a scrambled Sobol sequence"""
    pruner: Literal["median", "halving", "hyperband", "none"] = "median"
    """What stops hopeless trials, at equal shares of their schedules"""
    space_filling: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The share of the trials spread evenly before an adaptive sampler takes over"""
    start_with_default: bool = True
    """The first trial is the default configuration, to which the winner is compared"""
    seed: Annotated[int, Field(ge=0, le=4_000_000_000)] = 0
    """Decides every point; trial n trains with seed + n"""


class Confirm(Block):
    """The best configurations and the default are run again on fresh seeds."""

    top: Annotated[int, Field(ge=0)] = 1
    """How many of the best; 0: no confirmation, and so an optimistic winner"""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Fresh seeds for each, the same ones for all"""


class Budget(Block):
    """What the sweep may use."""

    trials: Annotated[int, Field(ge=1)] = 20
    """Trials of search; confirmation comes on top, and `tuner plan` says how many in all"""
    parallel: Annotated[int, Field(ge=1)] = 1
    """Trials at once; the cores are divided between them"""
    hours: Annotated[float, Field(gt=0)] | None = None
    """A hard cap on the time on the clock; trials in flight are stopped and can go on later"""


class Sweep(Block):
    """A whole sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    """Names the study and the folder under runs/; left out: the file's own name"""
    script: str = DEFAULT_SCRIPT
    """The script here, or any other that keeps the training contract, beside the sweep file"""
    task: TaskBlock | None = None
    """What the model learns"""
    model: str | None = None
    """A hub name, a folder, or minilm-l6; left out: the script's default"""
    objective: Objective
    """The number by which trials are compared"""
    space: Annotated[dict[str, Parameter], Field(min_length=1)]
    """The searched hyperparameters, by name"""
    fixed: dict[str, Scalar] = {}
    """Options of the script that all trials share"""
    search: Search = Search()
    """How points are chosen"""
    confirm: Confirm = Confirm()
    """Re-runs on fresh seeds"""
    budget: Budget = Budget()
    """What the sweep may use"""
    backend: Literal["local"] = "local"
    """Where trials run"""


@dataclass(frozen=True)
class LoadedSweep:
    """A sweep that has passed every check, with its paths made absolute."""

    sweep: Sweep
    script: Path
    task_options: TaskOptions | None

    @property
    def uses_own_script(self) -> bool:
        """Whether the script is this project's, so that its options are known."""
        return self.script == OWN_SCRIPT

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """`maximize` or `minimize`."""
        if self.sweep.objective.direction is not None:
            return self.sweep.objective.direction
        known = METRICS[self.sweep.objective.metric]
        return "minimize" if known == "minimize" else "maximize"

    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace(self.sweep.space)

    def default_point(self) -> Point | None:
        """The point that the script's defaults give, or None where they are not known."""
        values: dict[str, Any] = {}
        for name, parameter in self.sweep.space.items():
            if parameter.default is not None:
                values[name] = parameter.default
            elif self.uses_own_script:
                values[name] = default_of(name)
            else:
                return None
        return self.space().nearest(values)

    def load_splits(self) -> Splits | None:
        """The task's data; None for a script that reads its own. BadInput names any fault."""
        if self.task_options is None or self.sweep.task is None:
            return None
        return load_task(self.sweep.task.name, self.task_options)

    def arguments(self, point: Mapping[str, Scalar], seed: int) -> list[str]:
        """The `--name value` list that the script gets for this point, on either backend."""
        pairs: dict[str, Scalar] = {}
        if self.uses_own_script:
            if self.sweep.task is not None:
                pairs["task"] = self.sweep.task.name
            if self.sweep.model is not None:
                pairs["model"] = self.sweep.model
            pairs["metric"] = self.sweep.objective.metric
        elif self.sweep.model is not None:
            pairs["model"] = self.sweep.model
        pairs |= self.sweep.fixed
        pairs |= point
        pairs["seed"] = seed
        return [word for name, value in pairs.items() for word in (f"--{name}", as_text(value))]

    def identity(self) -> dict[str, Any]:
        """All that must not change between two runs of one run folder."""
        kept = self.sweep.model_dump(
            exclude={"budget", "confirm"}, exclude_defaults=True, by_alias=True
        )
        plain: dict[str, Any] = json.loads(json.dumps(kept | {"script": str(self.script)}))
        return plain


def as_text(value: Scalar) -> str:
    """A value as a flag's word; Python's `repr` of a float reads back to the same number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        # argparse takes -5e-05 for a flag, -0.00005 for a number.
        return (
            np.format_float_positional(value, trim="0") if text[0] == "-" and "e" in text else text
        )
    return str(value)


def load_sweep(path: Path, settings: Sequence[str] = ()) -> LoadedSweep:
    """The sweep of a file with `--set key=value` on top; SweepError names every fault at once."""
    data, lines = parse_yaml(read_file(path), str(path))
    if not isinstance(data, dict):
        raise SweepError([f"{path} is not a sweep file: it needs keys such as objective and space"])
    given = dict.fromkeys(_apply(data, settings), "--set")

    def located(place: Location, message: str) -> str:
        if any(key[: len(place)] == place or place[: len(key)] == key for key in given):
            return f"--set {_dotted(place)} {message}"
        line = line_of(lines, place)
        return (
            f"{path}:{line} {_dotted(place)} {message}"
            if line
            else f"{path}: {_dotted(place)} {message}"
        )

    data = {key: value for key, value in data.items() if value is not None}  # `budget:` left blank
    data.setdefault("name", path.stem)
    script = _find_script(str(data.get("script") or DEFAULT_SCRIPT), path.parent)
    faults = list(_raw_faults(data, script))
    sweep = None
    try:
        sweep = Sweep.model_validate(data)
    except ValidationError as exc:
        faults += [_translate(dict(error)) for error in exc.errors()]
    if sweep is not None:
        faults += _cross_faults(sweep, script)
    if faults:
        faults.sort(key=lambda fault: line_of(lines, fault[0]) or 0)
        raise SweepError(dict.fromkeys(located(*fault) for fault in faults))
    assert sweep is not None
    assert script is not None
    options = None
    if sweep.task is not None:
        set_by_flag = {place[:2] for place in given}
        options = _task_options(sweep.task, path.parent, set_by_flag)
    return LoadedSweep(sweep, script, options)


def check_outside(loaded: LoadedSweep) -> Splits | None:
    """Looks at what the file only names (model, data); returns the data. SweepError for faults."""
    faults: list[str] = []
    splits = None
    try:
        splits = loaded.load_splits()
    except BadInput as exc:
        faults.append(f"task: {exc}")
    if loaded.uses_own_script:
        for name in _models(loaded.sweep):
            try:
                longest = positions(locate_model(name))
            except BadInput as exc:
                faults.append(str(exc))
                continue
            wanted = _longest_input(loaded.sweep)
            if longest is not None and wanted > longest:
                faults.append(
                    f"max_length {wanted} is more than the {longest} positions of model {name}"
                )
    if faults:
        raise SweepError(faults)
    return splits


def _longest_input(sweep: Sweep) -> int:
    searched = sweep.space.get("max_length")
    values = (
        searched.values if searched else [sweep.fixed.get("max_length", default_of("max_length"))]
    )
    return max(int(value) for value in values)


def _models(sweep: Sweep) -> list[str]:
    if "model" in sweep.space:
        return [str(value) for value in sweep.space["model"].values]
    return [str(sweep.fixed.get("model", sweep.model or default_of("model")))]


def _apply(data: dict[str, Any], settings: Sequence[str]) -> Iterator[Location]:
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise SweepError([f"--set {setting!r} is not key=value, as in --set budget.trials=12"])
        *parents, last = key.split(".")
        block = data
        for parent in parents:
            if not isinstance(block.get(parent), dict):
                block[parent] = {}
            block = block[parent]
        block[last] = parse_value(text)
        yield tuple(key.split("."))


def _find_script(name: str, folder: Path) -> Path | None:
    if name == DEFAULT_SCRIPT:  # also where another checkout lies in the current folder
        return OWN_SCRIPT
    for base in (folder, Path.cwd()):
        with suppress(OSError):  # a name too long for the system
            if (base / name).is_file():
                return (base / name).resolve()
    return None


def _raw_faults(data: Mapping[str, Any], script: Path | None) -> Iterator[tuple[Location, str]]:
    """Faults that can be told from the raw file, so that they stand beside those of its form."""
    for place, text in _texts(data, ()):
        if "\0" in text or not text.isprintable():
            yield place, f"{text!r} holds a character that no program takes as an argument"
    if script is None:
        yield ("script",), f"{data.get('script')} does not exist"
    task, objective = data.get("task"), data.get("objective")
    if isinstance(task, dict) and (name := str(task.get("name", "file"))) not in TASKS:
        yield ("task", "name"), f"{name!r} is unknown{did_you_mean(name, TASKS)}"
    if script != OWN_SCRIPT:
        return
    metric = objective.get("metric") if isinstance(objective, dict) else None
    if isinstance(metric, str) and metric not in METRICS:
        yield ("objective", "metric"), f"{metric!r} is unknown{did_you_mean(metric, METRICS)}"
    if task is None:
        yield ("task",), f"is missing; name one of {', '.join(TASKS)}"
    for block in ("space", "fixed"):
        named = data.get(block)
        for name in named if isinstance(named, dict) else ():
            if name not in OPTIONS:
                near = did_you_mean(str(name), TUNABLE)
                yield (block, str(name)), f"is not an option of train_script/train.py{near}"


def _texts(value: Any, place: Location) -> Iterator[tuple[Location, str]]:
    """Every text in the raw file with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*place, str(key)))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, (*place, i))


def _cross_faults(sweep: Sweep, script: Path | None) -> Iterator[tuple[Location, str]]:
    """Rules that join several keys of a sweep file whose form is right."""
    for name, parameter in sweep.space.items():
        for parent, wanted in (parameter.when or {}).items():
            place = ("space", name, "when")
            if parent not in sweep.space:
                yield place, f"names {parent}, which is not in space"
                continue
            offered = sweep.space[parent].choice
            allowed = wanted if isinstance(wanted, list) else [wanted]
            for value in allowed:
                if offered is not None and value not in offered:
                    yield place, f"waits for {parent} = {value!r}, which is not one of its choices"
        if name in sweep.fixed:
            yield ("fixed", name), "is searched as well; remove it here or in space"
    if "seed" in sweep.space or "seed" in sweep.fixed:
        block = "space" if "seed" in sweep.space else "fixed"
        yield (block, "seed"), "is set by the sweep (search.seed), a fresh one for every trial"
    try:
        space = SearchSpace(sweep.space)
    except ValueError as exc:
        yield ("space",), str(exc)
        return
    yield from _sampler_faults(sweep, space)
    if script == OWN_SCRIPT:
        yield from _own_script_faults(sweep)
    elif sweep.objective.direction is None and sweep.objective.metric not in METRICS:
        yield ("objective",), "needs direction: maximize or minimize"


def _sampler_faults(sweep: Sweep, space: SearchSpace) -> Iterator[tuple[Location, str]]:
    place = ("search", "sampler")
    if sweep.search.sampler == "grid":
        endless = [name for name, p in space.parameters.items() if not p.size]
        for name in endless:
            yield ("space", name), "has endlessly many values; a grid needs step: or choice:"
        if not endless:
            size = space.grid_size()
            if size <= LARGEST_GRID:  # counted exactly where conditions make it smaller
                size = len(space.grid())
            if size > sweep.budget.trials:
                yield (
                    place,
                    f"the grid has {size} points, more than budget.trials {sweep.budget.trials}",
                )
    if sweep.search.sampler == "cmaes":
        for name, parameter in space.parameters.items():
            if parameter.choice is not None:
                yield place, f"cmaes searches float and int only; {name} is a choice"
        if len(space.parameters) < 2:
            yield place, "cmaes needs at least two parameters"
        if space.is_conditional:
            yield place, "cmaes cannot search conditional parameters"


def _own_script_faults(sweep: Sweep) -> Iterator[tuple[Location, str]]:
    metric, direction = sweep.objective.metric, sweep.objective.direction
    if metric in METRICS and direction and direction != METRICS[metric]:
        yield ("objective", "direction"), f"is {direction}, but {metric} is to {METRICS[metric]}"
    for name, value in sweep.fixed.items():
        if name in OPTIONS and not OPTIONS[name].metadata["tunable"] and name not in FIXABLE:
            yield (
                ("fixed", name),
                "is set by the sweep itself, from task, objective or the run folder",
            )
        elif name in OPTIONS and (faults := check_values({name: value})):
            yield ("fixed", name), f"is wrong: {faults[0].split(': ', 1)[1]}"
    if sweep.model is not None and ("model" in sweep.fixed or "model" in sweep.space):
        yield ("model",), "stands in space or fixed as well; remove one"
    for name, parameter in sweep.space.items():
        if name not in OPTIONS:
            continue
        if name not in TUNABLE:
            yield ("space", name), "cannot be searched"
        if TYPES[name] is int and parameter.kind == "float":
            yield ("space", name), "is a whole number: write int: or choice:"
            continue
        if TYPES[name] is str and parameter.choice is None:
            yield ("space", name), "is a text: write choice:"
            continue
        for value in parameter.values:
            if problem := value_problem(name, value):
                yield ("space", name), f"is wrong: {problem}"
                break


FIXABLE = ("keep", "evaluations")


def _translate(error: dict[str, Any]) -> tuple[Location, str]:
    """A pydantic error as (place, sentence)."""
    place: Location = tuple(error["loc"])
    # A union's members appear in the place; what the user wrote ends before them.
    if place[0] == "fixed" and len(place) > 2:
        return place[:2], f"{error['input']!r} is not a number, a text, true or false"
    if place[0] == "space" and len(place) > 4 and place[2] == "choice":
        return place[:3], f"{error['input']!r} is not a number, a text, true or false"
    if place[0] == "space" and len(place) > 3 and place[2] in ("when", "default"):
        return place[:3], f"{error['input']!r} is not a value, or a list of values"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return (
            place,
            f"is not a key of a sweep file{did_you_mean(str(place[-1]), _keys_beside(place))}",
        )
    if kind == "missing":
        return place, "is missing"
    if kind == "value_error":
        return place, str(context["error"])
    if kind == "literal_error":
        return (
            place,
            f"{error['input']!r} is unknown; known: {context['expected'].replace(' or ', ', ')}",
        )
    if kind == "string_pattern_mismatch":
        return place, (
            f"{error['input']!r} may hold only letters, digits, dot, dash and underscore, "
            "at most 63, and begins with a letter or a digit"
        )
    if kind in ("dict_type", "model_type"):
        return place, f"needs keys and values, not {error['input']!r}"
    if kind == "too_short":
        return place, "is empty"
    return place, f"{error['input']!r} is wrong: {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys_beside(place: Location) -> Iterable[str]:
    blocks: dict[str, type[BaseModel]] = {
        "task": TaskBlock, "objective": Objective, "search": Search, "confirm": Confirm,
        "budget": Budget, "space": Parameter,
    }  # fmt: skip
    if len(place) == 1:
        return Sweep.model_fields
    fields = blocks[str(place[0])].model_fields if str(place[0]) in blocks else {}
    return [field.alias or name for name, field in fields.items()]


def _dotted(place: Location) -> str:
    return ".".join(str(part) for part in place)


def _task_options(task: TaskBlock, folder: Path, set_by_flag: set[Location]) -> TaskOptions:
    """The task's block with absolute paths: beside the sweep file, or from where `--set` was typed."""

    def absolute(key: str, name: str | None) -> str:
        if not name:
            return ""
        beside, here = folder / name, Path.cwd() / name
        if ("task", key) in set_by_flag or ("task",) in set_by_flag or not beside.exists():
            return str(here.expanduser().resolve())
        return str(beside.resolve())

    columns = task.text.split(",") if isinstance(task.text, str) else task.text
    return TaskOptions(
        data=absolute("data", task.data),
        validation_data=absolute("validation", task.validation),
        text_columns=tuple(column.strip() for column in columns if column.strip()),
        label_column=task.label,
        validation_fraction=task.validation_fraction,
        train_limit=task.limit,
        split_seed=task.split_seed,
    )
