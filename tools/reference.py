"""Writes docs/reference.md from the code: `python -m tools.reference [--check]`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from train_script.config import AS_DROPOUT, METRICS, OPTIONS, TYPES
from train_script.tasks import TASKS
from tuner.cli import app
from tuner.faults import FIXABLE
from tuner.sagemaker_block import Completion, SageMakerBlock, WarmStart
from tuner.space import Parameter
from tuner.sweep_file import (
    Budget,
    Confirm,
    Email,
    Objective,
    Schedule,
    Search,
    Sweep,
    TaskBlock,
    Tell,
)  # fmt: skip

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
BLOCKS: dict[str, type[BaseModel]] = {
    "": Sweep, "task": TaskBlock, "objective": Objective, "space.NAME": Parameter,
    "search": Search, "confirm": Confirm, "budget": Budget,
    "schedule": Schedule, "schedule.tell": Tell, "schedule.tell.email": Email,
    "sagemaker": SageMakerBlock, "sagemaker.completion": Completion,
    "sagemaker.warm_start": WarmStart,
}  # fmt: skip


def reference() -> str:
    """The whole page."""
    lines = [
        "# Reference", "",
        "Written from the code by `make format`; `make check` fails where it is out of date.", "",
        "## Options of the training script", "",
        "Each is a flag (`--learning_rate 3e-5`), a key under `fixed:` or `space:` in a sweep file, "
        "and a column in the ledger. Those marked *fixed* go under `fixed:` alone; those marked *no* are set by the sweep itself.", "",
        "| option | type | default | range | searchable | what it does |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, spec in OPTIONS.items():
        rule = spec.metadata
        text = rule["help"].replace("|", "\\|") + (f" ({rule['unit']})" if rule["unit"] else "")
        if rule["env"]:
            text += ". Default from " + ", ".join(f"`{v}`" for v in rule["env"])
        default = f"`{spec.default}`" if spec.default != "" else ""
        lines.append(
            f"| `{name}` | {TYPES[name].__name__} | {default} | {'-1, or ' * (name in AS_DROPOUT)}{_range(rule)} | "
            f"{_searchable(name)} | {text} |"
        )
    lines += ["", "## Metrics", ""]
    lines += [f"- `{name}` ({direction})" for name, direction in METRICS.items()]
    lines += ["", "## Tasks", ""]
    lines += [f"- `{t.name}`: {t.help}; people report `{t.metric}`" for t in TASKS.values()]
    lines += ["", "## Keys of a sweep file", ""]
    for block, model in BLOCKS.items():
        lines += [f"### `{block}`" if block else "### At the top", "", _doc(model), ""]
        lines += ["| key | values | default | what it is |", "| --- | --- | --- | --- |"]
        for key, field in model.model_json_schema(by_alias=True)["properties"].items():
            required = key in model.model_json_schema(by_alias=True).get("required", [])
            default = "needed" if required and key != "name" else _default(field)
            text = field.get("description", "")
            lines.append(f"| `{key}` | {_values(field)} | {default} | {text} |")
        lines.append("")
    lines += ["## Commands", "", "As `tuner COMMAND --help` tells, with examples.", ""]
    top = get_command(app)
    lines += ["### `tuner`", "", "Before a command:", ""]
    lines += ["| option | what it is |", "| --- | --- |"]
    lines += [*(f"| {_flag(q)} | {q.help} |" for q in top.params), ""]
    for words, command in _commands(top, ["tuner"]):
        arguments = [q for q in command.params if q.param_type_name == "argument"]
        shown = [q.name.upper() if q.required else f"[{q.name.upper()}]" for q in arguments]
        said = re.split(r"\n\nExamples?:", command.help)[0]
        lines += [f"### `{' '.join([*words, *shown])}`", "", said, ""]
        rows = [f"| {_flag(q)} | {q.help} |" for q in command.params if q.help]
        if rows:
            lines += ["| argument or option | what it is |", "| --- | --- |", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: Any, words: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Every command below this one, with its words."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, part in command.commands.items():
        yield from _commands(part, [*words, name])


def _flag(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"`{names}{takes}`".replace("|", "\\|")


def _searchable(name: str) -> str:
    if name == "seed":  # the script's own, which a sweep draws anew for every trial
        return "no"
    return "yes" if OPTIONS[name].metadata["tunable"] else "fixed" if name in FIXABLE else "no"


def _doc(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _range(rule: Any) -> str:
    if rule["choices"]:
        return ", ".join(rule["choices"])
    words = {"low": "≥", "above": ">", "high": "≤", "below": "<"}
    return ", ".join(
        f"{sign} {rule[key]:g}" for key, sign in words.items() if rule[key] is not None
    )


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value in (None, "", {}, []) or isinstance(value, dict) else f"`{value}`"


def _values(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{v}`" for v in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        parts = [_values(part) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "$ref" in field or field.get("type") == "object":
        return "keys and values"
    kinds = {"number": "a number", "integer": "a whole number", "string": "text",
             "boolean": "true or false", "array": "a list"}  # fmt: skip
    text = kinds.get(field.get("type", ""), "any")
    bounds = (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    )
    limits = [f"{sign} {field[key]:g}" for key, sign in bounds if key in field]
    return text + (f" {', '.join(limits)}" if limits else "")


def main() -> int:
    """Writes the page, or with --check says whether it is up to date."""
    text = reference()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            print(f"{TARGET} is out of date; run `make format`")
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
