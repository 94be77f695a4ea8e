"""YAML with the line of every key, so that an error can point at it."""

import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import SweepError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's plain words: `1e-5` is a number; `no`, `1:30`, `010` are not
    a false, a 90 and an 8.
    """


REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$"
        r"|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Location, int]]:
    """The data and, for each place in it, its line (from 1). SweepError names the line of a fault."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {(): 1}
        if node is None:
            return None, lines
        duplicates = list(_walk(node, (), lines, name))
        if duplicates:
            raise SweepError(duplicates)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise SweepError([f"{name}:{line} is not valid YAML: {exc.problem}"]) from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise SweepError([f"{name} is not valid YAML: {str(exc).splitlines()[0]}"]) from exc
    except (LookupError, AttributeError) as exc:  # how PyYAML says `!!bool maybe`, `!!timestamp x`
        raise SweepError([f"{name} is not valid YAML: a value is not what its !! says"]) from exc
    except RecursionError as exc:
        raise SweepError([f"{name} is nested too deeply"]) from exc
    finally:
        if loader is not None:
            loader.dispose()


def _walk(node: yaml.Node, place: Location, lines: dict[Location, int], name: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            if here in lines:
                where = ".".join(map(str, here))
                yield f"{name}:{key.start_mark.line + 1} {where} stands twice; remove one"
            lines[here] = key.start_mark.line + 1
            yield from _walk(value, here, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*place, i)] = value.start_mark.line + 1
            yield from _walk(value, (*place, i), lines, name)


def parse_value(text: str) -> Any:
    """One value as it would stand in a sweep file: `3`, `1e-5`, `true`, `[8, 16]`, a word."""
    try:
        return parse_yaml(text, "--set")[0]
    except SweepError:
        return text


def line_of(lines: dict[Location, int], place: Location) -> int | None:
    """The line of a place, or of the nearest place around it that is in the file."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place) if place else None


def read_file(path: Path) -> str:
    """The text of a sweep file; SweepError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise SweepError([f"{path} does not exist{_perhaps(path)}"]) from exc
    except IsADirectoryError as exc:
        raise SweepError([f"{path} is a folder; name a sweep file"]) from exc
    except UnicodeDecodeError as exc:
        raise SweepError([f"{path} is not a text file in UTF-8"]) from exc
    except OSError as exc:
        raise SweepError([f"{path} cannot be read: {exc.strerror}"]) from exc


def _perhaps(path: Path) -> str:
    """The file of a like name beside it or in sweeps/."""
    found: dict[str, Path] = {}
    with suppress(OSError):  # a folder that may not be read
        for folder in (Path("sweeps"), path.parent):
            found |= {p.stem: p for p in folder.glob("*.y*ml")}
    near = get_close_matches(path.stem, found, n=1)
    return f"; did you mean {found[near[0]]}?" if near else ""
