"""A sweep loaded from its file: checked whole, every fault at once with its line."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from train_script.config import (
    AS_DROPOUT,
    METRICS,
    convert,
    default_of,
)
from train_script.errors import BadInput
from train_script.pretrained import (
    ALIAS,
    ONE_LAYER,
    PACKED,
    POOLS_ITSELF,
    layer_count,
    locate_model,
    model_type,
    positions,
)
from train_script.tasks import Splits, TaskOptions, load_task
from tuner.errors import SweepError
from tuner.faults import cross_faults, raw_faults, translate
from tuner.prices import priced
from tuner.space import Point, Scalar, SearchSpace
from tuner.storage import masked
from tuner.sweep_file import DEFAULT_SCRIPT, Sweep, TaskBlock
from tuner.yaml_lines import Location, line_of, parse_value, parse_yaml, read_file

OWN_SCRIPT = Path(__file__).resolve().parent.parent / "train_script" / "train.py"


@dataclass(frozen=True)
class LoadedSweep:
    """A sweep that has passed every check, with its paths made absolute."""

    sweep: Sweep
    script: Path
    task_options: TaskOptions | None
    folder: Path

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

    def short_name(self, most: int) -> str:
        """The sweep's name in at most so many characters: of a longer one its beginning and a digest."""
        name = self.sweep.name
        if len(name) <= most:
            return name
        return f"{name[: most - 5]}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"

    def at_once(self, trials: int) -> "LoadedSweep":
        """The same with so many trials at once."""
        budget = self.sweep.budget.model_copy(update={"parallel": trials})
        return replace(self, sweep=self.sweep.model_copy(update={"budget": budget}))

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
        if self.uses_own_script:
            of_layers = values.get(
                "dropout", self.sweep.fixed.get("dropout", default_of("dropout"))
            )
            for name in {*AS_DROPOUT} & {*values}:
                if not self.sweep.space[name].offers(values[name]):
                    values[name] = of_layers
        return self.space().nearest(values)

    def typical_point(self) -> Point:
        """The default; where it is not known, the middle of the space."""
        return self.default_point() or self.space().from_unit([0.5] * len(self.sweep.space))

    def load_splits(self) -> Splits | None:
        """The task's data; None for a script that reads its own. BadInput names any fault."""
        if self.task_options is None or self.sweep.task is None:
            return None
        return load_task(self.sweep.task.name, self.task_options)

    def arguments(self, point: Mapping[str, Scalar], seed: int) -> list[str]:
        """The `--name value` list that the script gets for this point, on either backend.

        Sorted by name, as the toolkit in SageMaker's containers does.
        """
        pairs = self.hyperparameters(point) | {"seed": seed}
        return [word for name in sorted(pairs) for word in (f"--{name}", as_text(pairs[name]))]

    def hyperparameters(self, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every option of the script but the seed: what the sweep fixes, and the point."""
        pairs: dict[str, Scalar] = {}
        if self.uses_own_script:
            if self.sweep.task is not None:
                pairs["task"] = self.sweep.task.name
            pairs["metric"] = self.sweep.objective.metric
        if self.sweep.model is not None:
            pairs["model"] = self.sweep.model
        pairs |= self.sweep.fixed
        pairs |= point
        return {name: self.as_passed(name, value) for name, value in pairs.items()}

    def as_passed(self, name: str, value: Scalar) -> Scalar:
        """A hyperparameter's value as the script gets it: a model's folder with its whole path."""
        if name == "model" and self.uses_own_script:
            return self.model_place(str(value))
        return value

    def model_place(self, name: str) -> str:
        """A model's folder as an absolute path, beside the sweep file first; other names as they are."""
        for base in (self.folder, Path.cwd()):
            if (base / name).is_dir():
                return str((base / name).resolve())
        return name

    def sends_model(self, name: str) -> bool:
        """Whether a model lies on this machine, so that a container could not get it by its name."""
        return name == ALIAS or Path(self.model_place(name)).expanduser().is_dir()

    def whole(self) -> dict[str, Any]:
        """Every key with its value but the schedule, paths made absolute, and no password."""
        data: dict[str, Any] = self.sweep.model_dump(
            mode="json", exclude_none=True, by_alias=True, exclude={"schedule"}
        )
        data["budget"]["silent_minutes"] = self.sweep.budget.silent_minutes  # null means: never
        if self.sweep.storage is not None:
            data["storage"] = masked(self.sweep.storage)
        if self.task_options is not None:
            places = {
                "data": self.task_options.data,
                "validation": self.task_options.validation_data,
            }
            data["task"] |= {key: place for key, place in places.items() if place}
        return data

    def ledger_identity(self) -> dict[str, Any]:
        """What the workers of all machines must have in common; paths differ between machines.

        The script and the data are compared by their hashes.
        """
        identity = {key: value for key, value in self.identity().items() if key != "script"}
        if "task" in identity:
            kept = {k: v for k, v in identity["task"].items() if k not in ("data", "validation")}
            identity["task"] = kept
        return identity

    def identity(self) -> dict[str, Any]:
        """All that must not change between two runs of one run folder."""
        kept = self.sweep.model_dump(
            exclude={"budget", "confirm", "sagemaker", "schedule", "storage", "prices"},
            exclude_defaults=True,
            by_alias=True,
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
    sweep, script, faults = _checked(data, path.parent)
    if sweep is None or script is None or faults:
        faults.sort(key=lambda fault: line_of(lines, fault[0]) or 0)
        raise SweepError(dict.fromkeys(located(*fault) for fault in faults))
    typed = ("storage",) in given
    sweep = priced(_with_whole_path(sweep, Path.cwd() if typed else path.parent))
    options = None
    if sweep.task is not None:
        set_by_flag = {place[:2] for place in given}
        options = _task_options(sweep.task, path.parent, set_by_flag)
    return LoadedSweep(sweep, script, options, path.parent.resolve())


def _with_whole_path(sweep: Sweep, base: Path) -> Sweep:
    """The sweep with its database file's path from the root, since workers start anywhere."""
    if sweep.storage is None or not sweep.storage.startswith("sqlite:///"):
        return sweep
    path = (base / sweep.storage.removeprefix("sqlite:///")).resolve()
    return sweep.model_copy(update={"storage": f"sqlite:///{path}"})


def load_whole(whole: Mapping[str, Any], base: Path, shown: str) -> LoadedSweep:
    """The sweep that `LoadedSweep.whole` gave; SweepError names every fault."""
    sweep, script, faults = _checked(dict(whole), base)
    if sweep is None or script is None or faults:
        raise SweepError([f"{shown}: {_dotted(place)} {fault}" for place, fault in faults])
    options = _task_options(sweep.task, base, set()) if sweep.task is not None else None
    return LoadedSweep(sweep, script, options, base)


def _checked(
    data: dict[str, Any], base: Path
) -> tuple[Sweep | None, Path | None, list[tuple[Location, str]]]:
    """The sweep, its script, and all that is wrong with them."""
    script = _find_script(str(data.get("script") or DEFAULT_SCRIPT), base)
    faults: list[tuple[Location, str]] = []
    if script is None:
        faults.append((("script",), f"{data.get('script')} does not exist"))
    faults += raw_faults(data, script == OWN_SCRIPT)
    sweep = None
    try:
        sweep = Sweep.model_validate(data)
    except ValidationError as exc:
        faults += [translate(dict(error)) for error in exc.errors()]
    if sweep is not None:
        faults += cross_faults(sweep, script == OWN_SCRIPT)
    return sweep, script, faults


def check_outside(loaded: LoadedSweep) -> Splits | None:
    """Looks at what the file only names (model, data); returns the data. SweepError for faults."""
    faults: list[str] = []
    splits = None
    try:
        splits = loaded.load_splits()
    except BadInput as exc:
        faults.append(f"task: {exc}")
    if loaded.uses_own_script:
        for name in models_of(loaded.sweep):
            try:
                faults += _model_faults(loaded.sweep, name, locate_model(loaded.model_place(name)))
            except BadInput as exc:
                faults.append(str(exc))
    if faults:
        raise SweepError(faults)
    return splits


def _model_faults(sweep: Sweep, name: str, place: str) -> list[str]:
    """What the options ask of a model and its config.json says that it cannot do."""
    faults = []
    longest, layers, kind = positions(place), layer_count(place), model_type(place)
    for option, most, what in (
        ("max_length", longest, "positions"),
        ("frozen_layers", layers, "layers"),
        ("reinit_layers", layers, "layers"),
    ):
        wanted = max(convert(option, value) for value in values_of(sweep, option, name))
        if most is not None and wanted > most:
            faults.append(f"{option} {wanted} is more than the {most} {what} of model {name}")
    if overlap := _overlap(sweep, name, layers):
        faults.append(
            f"frozen_layers {overlap[0]} and reinit_layers {overlap[1]} overlap in the {layers} layers of model {name}: "
            "one that begins anew would never learn"
        )
    if kind in ONE_LAYER:
        faults += [
            f"{option} does not work with {name}: models of type {kind} compute one layer again and again"
            for option in ("frozen_layers", "reinit_layers", "layer_decay")
            if {*values_of(sweep, option, name)} != {default_of(option)}
        ]
    if kind not in (None, *PACKED, *POOLS_ITSELF) and "mean" in values_of(sweep, "pooling", name):
        faults.append(
            f"pooling mean works only with models of type {', '.join([*PACKED, *POOLS_ITSELF])}; {name} is {kind}"
        )
    return faults


def _overlap(sweep: Sweep, model: str, layers: int | None) -> tuple[int, int] | None:
    """The most layers that one trial would both freeze and begin anew, of a model of so many; None for no such trial."""
    names = ("frozen_layers", "reinit_layers")
    if layers is None or (sweep.search.sampler == "one_at_a_time" and {*names} <= {*sweep.space}):
        return None
    frozen, anew = (
        [
            convert(name, v)
            for v in (*values_of(sweep, name, model), *_waited_for(sweep, other, name))
        ]
        for name, other in (names, names[::-1])
    )
    pairs = [
        (f, a) for f, a in product(frozen, anew)
        if max(f, a) <= layers < f + a
        and _is_active(sweep, names[0], names[1], a) and _is_active(sweep, names[1], names[0], f)
    ]  # fmt: skip
    return max(pairs, key=sum, default=None)


def _waited_for(sweep: Sweep, name: str, other: str) -> Sequence[Scalar]:
    """The values of `other` for which `name` is searched, where its `when` names some; they may lie within a range."""
    wanted = (sweep.space[name].when or {}).get(other, []) if name in sweep.space else []
    return wanted if isinstance(wanted, list) else [wanted]


def _is_active(sweep: Sweep, name: str, other: str, value: Scalar) -> bool:
    """Whether `name` is searched where `other` has this value."""
    waited_for = _waited_for(sweep, name, other)
    return not waited_for or value in waited_for


def values_of(sweep: Sweep, option: str, model: str | None = None) -> Sequence[Scalar]:
    """All that a trial may have for an option: every choice, or the ends of the range.

    With `model` a trial of that model, for which the option may not be searched.
    """
    searched = sweep.space.get(option)
    if searched is None:
        return [sweep.fixed.get(option, default_of(option))]
    wanted = (searched.when or {}).get("model", model)
    searched_for = wanted if isinstance(wanted, list) else [wanted]
    return searched.values if model is None or model in searched_for else [default_of(option)]


def models_of(sweep: Sweep) -> list[str]:
    """Every model that a trial may start from, as the sweep file names it."""
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
            found = block.get(parent)
            # A copy, for an anchor of YAML is one block in several places.
            block[parent] = dict(found) if isinstance(found, dict) else {}
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


def _dotted(place: Location) -> str:
    return ".".join(str(part) for part in place)


def _task_options(task: TaskBlock, folder: Path, set_by_flag: set[Location]) -> TaskOptions:
    """The task's block with absolute paths: beside the sweep file, or from where `--set` was typed."""

    def absolute(key: str, name: str | None) -> str:
        if not name:
            return ""
        name = os.path.expanduser(name)
        beside, here = folder / name, Path.cwd() / name
        if ("task", key) in set_by_flag or ("task",) in set_by_flag or not beside.exists():
            return str(here.resolve())
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
