"""A prepared folder: the splits of a sweep, written once, read by every trial.

    train.jsonl  validation.jsonl  [test.jsonl]  prepared.json

`prepared.json` is written last and holds each file's SHA-256, so a half-written or edited folder is
recognised. The same folder is what a SageMaker channel carries.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from train_script.errors import BadInput
from train_script.tasks.base import (
    Examples,
    Splits,
    Task,
    TaskOptions,
    check_classes,
    draw_validation,
    limit_training,
)

MARK = "prepared.json"


def load_splits(task: Task, options: TaskOptions) -> Splits:
    """Read, split and limit a task's data, and check that every split has two labels or more."""
    splits = task.read(options)
    splits = draw_validation(splits, options.validation_fraction, options.split_seed)
    splits = limit_training(splits, options.train_limit, options.split_seed)
    check_classes(splits)
    return splits


def is_prepared(folder: str) -> bool:
    """Whether this folder was written by `write_prepared`."""
    return (Path(folder) / MARK).is_file()


def write_prepared(splits: Splits, folder: Path) -> str:
    """Writes the splits and returns their fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes, rows = {}, {}
    label_column = label_key(splits.text_columns)
    for name, part in _parts(splits):
        lines = [
            json.dumps(
                dict(zip(splits.text_columns, texts, strict=True))
                | {label_column: splits.labels[label]},
                ensure_ascii=False,
            )
            for texts, label in zip(part.texts, part.labels, strict=True)
        ]
        content = ("\n".join(lines) + "\n").encode()
        _write_atomically(folder / f"{name}.jsonl", content)
        hashes[f"{name}.jsonl"] = hashlib.sha256(content).hexdigest()
        rows[name] = len(part)
    mark = {
        "task": splits.task, "labels": splits.labels, "text_columns": splits.text_columns,
        "label_column": label_column,
        "source": splits.source, "split": splits.split, "rows": rows, "sha256": hashes,
    }  # fmt: skip
    _write_atomically(folder / MARK, (json.dumps(mark, indent=2) + "\n").encode())
    return _fingerprint(mark)


def label_key(text_columns: tuple[str, ...]) -> str:
    """`label`, or `label_` where a text column has that name already."""
    return "label_" if "label" in text_columns else "label"


def fingerprint(folder: Path) -> str:
    """SHA-256 over the prepared files; equal data give equal fingerprints, wherever they lie."""
    return _fingerprint(_read_mark(folder))


def read_prepared(folder: str, expected_task: str) -> Splits:
    """The splits of a prepared folder; BadInput where a file is not the one that was written."""
    root = Path(folder)
    mark = _read_mark(root)
    if mark["task"] != expected_task:
        raise BadInput(f"{root} holds the task {mark['task']!r}, not {expected_task!r}")
    labels, columns = tuple(mark["labels"]), tuple(mark["text_columns"])
    index = {label: i for i, label in enumerate(labels)}
    parts: dict[str, Examples] = {}
    for name, digest in mark["sha256"].items():
        try:
            content = (root / name).read_bytes()
        except OSError as exc:
            raise BadInput(f"{root / name} cannot be read: {exc.strerror}") from exc
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadInput(f"{root / name} was changed after the sweep began")
        records = [json.loads(line) for line in content.decode().split("\n") if line]
        texts = [tuple(record[column] for column in columns) for record in records]
        parts[name] = Examples(texts, [index[record[mark["label_column"]]] for record in records])
    return Splits(
        mark["task"], labels, columns, parts["train.jsonl"], parts["validation.jsonl"],
        parts.get("test.jsonl"), mark["source"], mark["split"],
    )  # fmt: skip


def _parts(splits: Splits) -> list[tuple[str, Examples]]:
    named = (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
    return [(name, part) for name, part in named if part is not None]


def _read_mark(folder: Path) -> dict[str, Any]:
    try:
        mark: dict[str, Any] = json.loads((folder / MARK).read_text())
        return mark
    except (OSError, json.JSONDecodeError) as exc:
        raise BadInput(f"{folder / MARK} cannot be read: {exc}") from exc


def _fingerprint(mark: dict[str, Any]) -> str:
    content = json.dumps([mark["task"], mark["labels"], mark["sha256"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # others may write it as well
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
