"""What can be wrong in a sweep file, each fault as (place, sentence)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from train_script.augment import problem as augment_problem
from train_script.config import (
    METRICS,
    OPTIONS,
    TUNABLE,
    TYPES,
    check_values,
    convert,
    default_of,
    early_stopping_fault,
    value_problem,
)
from train_script.errors import did_you_mean
from train_script.tasks import TASKS
from tuner.space import SearchSpace
from tuner.storage import masked
from tuner.sweep_file import Sweep, TaskBlock
from tuner.yaml_lines import Location

LARGEST_GRID = 100_000


def raw_faults(data: Mapping[str, Any], own_script: bool) -> Iterator[tuple[Location, str]]:
    """Faults that can be told from the raw file, so that they stand beside those of its form."""
    for place, text in _texts(data, ()):
        if "\0" in text or not text.isprintable():
            yield place, f"{text!r} holds a character that no program takes as an argument"
    task, objective = data.get("task"), data.get("objective")
    if isinstance(task, dict) and (name := str(task.get("name", "file"))) not in TASKS:
        yield ("task", "name"), f"{name!r} is unknown{did_you_mean(name, TASKS)}"
    if not own_script:
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


def _augment_faults(sweep: Sweep, task: TaskBlock) -> Iterator[tuple[Location, str]]:
    """Texts that cannot be changed as `augment` says."""
    named = [task.text] if isinstance(task.text, str) else task.text
    if task.name not in TASKS:
        return  # told already
    texts = TASKS[task.name].texts or len(named) or 2
    wanted: list[tuple[Location, Any]] = [
        (("fixed", "augment"), sweep.fixed.get("augment", "none"))
    ]
    if searched := sweep.space.get("augment"):
        wanted += [(("space", "augment"), choice) for choice in searched.choice or ()]
    is_here = sweep.backend == "local"
    for place, kind in wanted:
        if fault := augment_problem(str(kind), task.name, texts, is_here):
            yield place, fault
        elif kind == "swap" and task.name == "file" and not task.symmetric:
            yield (
                place,
                "augment swap keeps the label when the two texts change places: if that is right for your data "
                "(paraphrases), write task: {symmetric: true}; if not (question and answer), leave swap out",
            )
        elif kind == "synonyms" and not is_here and not _may_have_wordnet(sweep):
            yield (
                place,
                "augment synonyms needs WordNet's files, which AWS's own image does not have: name one that has them "
                "in sagemaker.image, or their folder there as WNSEARCHDIR in sagemaker.environment, or leave it out",
            )


def _may_have_wordnet(sweep: Sweep) -> bool:
    return sweep.sagemaker.image is not None or "WNSEARCHDIR" in sweep.sagemaker.environment


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


def cross_faults(sweep: Sweep, own_script: bool) -> Iterator[tuple[Location, str]]:
    """Rules that join several keys of a sweep file whose form is right."""
    for name, parameter in sweep.space.items():
        for parent, wanted in (parameter.when or {}).items():
            place = ("space", name, "when")
            if parent not in sweep.space:
                yield place, f"names {parent}, which is not in space"
                continue
            of_parent = sweep.space[parent]
            allowed = wanted if isinstance(wanted, list) else [wanted]
            if not allowed:
                yield place, f"names no value of {parent}"
            if not of_parent.size:
                yield (
                    place,
                    f"waits for a value of {parent}, which has endlessly many; give it step: or choice:",
                )
                continue
            for value in allowed:
                if not of_parent.offers(value):
                    whose = "choices" if of_parent.choice is not None else "values"
                    yield place, f"waits for {parent} = {value!r}, which is not one of its {whose}"
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
    if sweep.search.sampler == "one_at_a_time":
        yield from _one_at_a_time_faults(sweep, space, own_script)
    if own_script:
        yield from _own_script_faults(sweep)
        if sweep.task is not None:
            yield from _augment_faults(sweep, sweep.task)
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
    if sweep.search.sampler == "gp" and space.is_conditional:
        yield (
            place,
            "gp cannot search conditional parameters, and would draw them at random; tpe can",
        )
    if sweep.search.sampler == "cmaes":
        for name, parameter in space.parameters.items():
            if parameter.choice is not None:
                yield place, f"cmaes searches float and int only; {name} is a choice"
        if len(space.parameters) < 2:
            yield place, "cmaes needs at least two parameters"
        if space.is_conditional:
            yield place, "cmaes cannot search conditional parameters"


def _one_at_a_time_faults(
    sweep: Sweep, space: SearchSpace, own_script: bool
) -> Iterator[tuple[Location, str]]:
    place = ("search", "sampler")
    if not sweep.search.start_with_default:
        yield ("search", "start_with_default"), "is false, but one_at_a_time changes the default"
    if sweep.budget.stop_early:
        yield ("budget", "stop_early"), "would end one_at_a_time before every change has run"
    if space.is_conditional:
        yield (
            place,
            "one_at_a_time cannot change conditional parameters alone; write choices of one",
        )
    for name, parameter in space.parameters.items():
        if not parameter.size:
            yield ("space", name), "has endlessly many values; one_at_a_time needs step: or choice:"
        if parameter.default is None and not own_script:
            yield ("space", name), "needs a default: for one_at_a_time, which changes the default"
    points = 1 + sum(parameter.size - 1 for parameter in space.parameters.values())
    if all(p.size for p in space.parameters.values()) and points > sweep.budget.trials:
        yield (
            place,
            f"one_at_a_time has {points} points, more than budget.trials {sweep.budget.trials}",
        )


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
    yield from _early_stopping_faults(sweep)
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
            if problem := value_problem(name, value, is_end=parameter.choice is None):
                yield ("space", name), f"is wrong: {problem}"
                break


def _early_stopping_faults(sweep: Sweep) -> Iterator[tuple[Location, str]]:
    keep = str(sweep.fixed.get("keep", default_of("keep")))
    evaluations = sweep.fixed.get("evaluations", default_of("evaluations"))
    block = "space" if "early_stopping" in sweep.space else "fixed"
    searched = sweep.space.get("early_stopping")
    given = searched.values if searched else [sweep.fixed.get("early_stopping", 0)]
    warmup = sweep.space.get("warmup_ratio")
    fixed_warmup = sweep.fixed.get("warmup_ratio", default_of("warmup_ratio"))
    warmups = warmup.values if warmup else [fixed_warmup]
    if any(value_problem("warmup_ratio", value) for value in warmups):
        return  # told already
    shortest = min(float(value) for value in warmups)
    for patience in given:
        rest = {"early_stopping": patience, "evaluations": evaluations}
        if any(value_problem(name, value) for name, value in rest.items()):
            return  # told already
        numbers = [convert(name, value) for name, value in rest.items()]
        if fault := early_stopping_fault(numbers[0], keep, numbers[1], shortest):
            yield (block, "early_stopping"), fault
            return


FIXABLE = ("keep", "evaluations", "packing")
EITHER = {
    "usd_per_hour": "a price above 0 nor prices by instance type",
    "instance_type": "an instance type nor a list of them",
}


def translate(error: dict[str, Any]) -> tuple[Location, str]:
    """A pydantic error as (place, sentence)."""
    place: Location = tuple(error["loc"])
    # A union's members appear in the place; what the user wrote ends before them.
    if place[0] == "fixed" and len(place) > 2:
        return place[:2], f"{error['input']!r} is not a number, a text, true or false"
    if place[0] == "space" and len(place) > 4 and place[2] == "choice":
        return place[:3], f"{error['input']!r} is not a number, a text, true or false"
    if place[0] == "space" and len(place) > 3 and place[2] in ("when", "default"):
        return place[:3], f"{error['input']!r} is not a value, or a list of values"
    if place[0] == "sagemaker" and len(place) > 2 and (form := EITHER.get(str(place[1]))):
        return place[:2], f"{error['input']!r} is neither {form}"
    if place[:2] == ("budget", "parallel"):
        return place[:2], f"{error['input']!r} is neither a whole number from 1 up nor auto"
    kind, context = error["type"], error.get("ctx", {})
    if place == ("storage",):
        shown = masked(str(error["input"]))
        return place, f"{shown!r} is neither postgresql://USER@HOST/NAME nor sqlite:///FILE"
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
    if kind == "string_pattern_mismatch" and place[0] == "schedule":
        forms = {
            "password": "$NAME, the environment variable that holds it",
            "webhook": "an address with http(s)://, nor $NAME of the environment variable with it",
            "server": "HOST or HOST:PORT", "link": "an address with http(s)://",
        }  # fmt: skip
        return place, f"is not {forms[str(place[-1])]}"  # what was written may be a secret
    if kind == "string_pattern_mismatch":
        return place, (
            f"{error['input']!r} may hold only letters a to z, digits, dot, dash and underscore, at most 63, and begins "
            "with a letter or a digit (where the file has no name, it is the file's own)"
        )
    if kind in ("dict_type", "model_type"):
        return place, f"needs keys and values, not {error['input']!r}"
    if kind == "too_short":
        return place, "is empty"
    return place, f"{error['input']!r} is wrong: {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys_beside(place: Location) -> Iterable[str]:
    block: type[BaseModel] | None = Sweep
    for part in place[:-1]:
        block = _block_of(block, str(part))
    return [field.alias or name for name, field in block.model_fields.items()] if block else []


def _block_of(block: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """The block that a key of a block holds; of `space`, whose keys are anybody's, a Parameter."""
    if block is None:
        return None
    by_name = {field.alias or name: field for name, field in block.model_fields.items()}
    if key not in by_name:
        return block  # a hyperparameter's own name
    kinds = [by_name[key].annotation]
    while kinds:
        kind = kinds.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
        kinds += get_args(kind)
    return None
