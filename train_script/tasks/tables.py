"""Reading rows from TSV, CSV and JSONL; every fault names the file and the line."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train_script.errors import BadInput, did_you_mean, first_line

SUFFIXES = {".tsv": "tab-separated", ".txt": "tab-separated", ".csv": "CSV", ".jsonl": "JSON lines"}
SEPARATORS = {";": "semicolons", "\t": "tabs", ",": "commas"}
csv.field_size_limit(2**31 - 1)  # a long text is cut by max_length, not refused


def read_text(path: Path) -> str:
    """The file as UTF-8 without a byte-order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise BadInput(f"{path} does not exist") from exc
    except IsADirectoryError as exc:
        raise BadInput(f"{path} is a folder; name a file") from exc
    except UnicodeDecodeError as exc:
        line = path.read_bytes()[: exc.start].count(b"\n") + 1
        raise BadInput(f"{path}:{line} is not UTF-8; save the file as UTF-8") from exc
    except OSError as exc:
        raise BadInput(f"{path} cannot be read: {exc.strerror}") from exc


def read_tab_rows(path: Path, width: int, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of a tab-separated file in which a quote is just a character."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.removesuffix("\r")
        if number <= skip or not line:
            continue
        row = line.split("\t")
        if len(row) < width:
            raise BadInput(f"{path}:{number} has {len(row)} fields; a row here needs {width}")
        yield number, row


def read_columns(path: Path, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, values of the named columns) of a TSV, CSV or JSONL file."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"{path}: unknown kind of file; use {', '.join(SUFFIXES)}")
    if kind == "JSON lines":
        yield from _json_columns(path, columns)
        return
    text = read_text(path)
    if kind == "CSV":
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # not splitlines: U+2028
        rows = _csv_rows(path, reader)
    else:
        lines = enumerate(text.split("\n"), start=1)
        rows = ((n, line.removesuffix("\r").split("\t")) for n, line in lines if line.strip("\r"))
    _, header = next(rows, (0, []))
    if not header:
        raise BadInput(f"{path} is empty; its first line names the columns")
    places = [_place(path, header, column) for column in columns]
    for number, row in rows:
        if len(row) < len(header) or any(row[len(header) :]):
            hint = (
                "; is a text with a comma not in quotes?"
                if len(row) > len(header) and kind == "CSV"
                else ""
            )
            raise BadInput(
                f"{path}:{number} has {len(row)} fields; the header has {len(header)} columns{hint}"
            )
        yield number, [row[place] for place in places]


def _csv_rows(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            raise BadInput(f"{path}:{line} is not valid CSV: {exc}") from exc
        if row:
            yield line, row


def _place(path: Path, header: list[str], column: str) -> int:
    if column not in header and len(header) == 1:
        other = next((name for mark, name in SEPARATORS.items() if mark in header[0]), "")
        if other:
            own = "commas" if path.suffix.lower() == ".csv" else "tabs"
            raise BadInput(f"{path} is separated by {other}; {path.suffix} needs {own}")
    if column not in header:
        raise BadInput(f"{path} has no column {column!r}{did_you_mean(column, header)}")
    return header.index(column)


def _json_columns(path: Path, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise BadInput(f"{path}:{number} is not JSON: {first_line(exc)}") from exc
        if not isinstance(row, dict):
            raise BadInput(f"{path}:{number} is not a JSON object")
        for column in columns:
            if column not in row:
                raise BadInput(f"{path}:{number} has no {column!r}{did_you_mean(column, row)}")
        yield number, [_as_text(row[column], f"{path}:{number} {column!r}") for column in columns]


def _as_text(value: object, place: str) -> str:
    if value is None or value != value:
        raise BadInput(f"{place} is {json.dumps(value)}")
    if isinstance(value, (list, dict)):
        raise BadInput(
            f"{place} is {json.dumps(value)[:40]}; a text, a number or true or false is needed"
        )
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise BadInput(f"{place} has half a character (a lone surrogate)") from exc
    return text
