"""Where a request breaks SageMaker's published model: lengths, patterns, enumerations, maxima.

botocore itself checks none of these before it sends a request, and ships the model that has them.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from train_script.errors import did_you_mean

LONG_LIST = 20
"""Known values of an enumeration beyond this are not all told, only the nearest."""


def request_problems(operation: str, request: Mapping[str, Any]) -> list[str]:
    """Where a request breaks SageMaker's published model, one sentence each."""
    return list(_walk(_service().operation_model(operation).input_shape, request, ""))


@cache
def _service() -> Any:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("sagemaker", "service-2"))


def _walk(shape: Any, value: Any, place: str) -> Iterator[str]:
    rules = shape.metadata
    if shape.type_name == "structure":
        if not isinstance(value, Mapping):
            yield f"{place} must be a structure, not {value!r}"
            return
        for name in shape.required_members:
            if name not in value:
                yield f"{_join(place, name)} is missing"
        for name, item in value.items():
            if name not in shape.members:
                yield f"{_join(place, name)} is not part of the request"
            else:
                yield from _walk(shape.members[name], item, _join(place, name))
        return
    if shape.type_name == "list":
        yield from _sized(value, rules, place, "entries")
        for i, item in enumerate(value):
            yield from _walk(shape.member, item, f"{place}[{i}]")
    elif shape.type_name == "map":
        yield from _sized(value, rules, place, "entries")
        for key, item in value.items():
            yield from _walk(shape.key, key, f"{place}.{key}")
            yield from _walk(shape.value, item, f"{place}.{key}")
    elif shape.type_name == "string":
        yield from _text(shape, value, place)
    elif shape.type_name in ("integer", "long", "float", "double"):
        whole = shape.type_name in ("integer", "long")
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            yield f"{place} must be a {'whole ' if whole else ''}number, not {value!r}"
            return
        if "min" in rules and value < rules["min"]:
            yield f"{place} {value} must be at least {rules['min']}"
        if "max" in rules and value > rules["max"]:
            yield f"{place} {value} must be at most {rules['max']}"
    elif shape.type_name == "boolean" and not isinstance(value, bool):
        yield f"{place} must be true or false, not {value!r}"


def _text(shape: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{place} must be a text, not {value!r}"
        return
    yield from _sized(value, shape.metadata, place, "characters")
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        few = len(allowed) < LONG_LIST
        near = did_you_mean(value, allowed) if few else _near(value, allowed)
        yield f"{place} {value!r} is unknown{near}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{place} {value!r} does not fit the pattern {pattern}"


def _near(value: str, allowed: list[str]) -> str:
    """The nearest of a list too long to be shown."""
    near = get_close_matches(value, allowed, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _sized(value: Any, rules: Mapping[str, Any], place: str, unit: str) -> Iterator[str]:
    if len(value) < rules.get("min", 0):
        yield f"{place} has {len(value)} {unit}; at least {rules['min']} are needed"
    if len(value) > rules.get("max", len(value)):
        yield f"{place} has {len(value)} {unit}; at most {rules['max']} are allowed"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    r"""A Java pattern as Python's: `\p{L}` and `\p{N}` are \w there, `\p{Z}` is \s."""
    for theirs, ours in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r"\s")):
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
