"""Texts as tokens, kept on disk under the hash of all that they come from, where $TUNER_TOKENS names a folder."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import BadZipFile

import numpy as np

Texts = Sequence[tuple[str, ...]]
Tokens = dict[str, list[int]]
FORMAT = 1
"""Of the files"""


def tokens_of(tokenizer: Any, texts: Texts, max_length: int) -> list[Tokens]:
    """Each text's (or pair's) tokens, cut to `max_length`: read where they are kept, else made and kept."""
    folder = os.environ.get("TUNER_TOKENS")
    if not folder or not getattr(tokenizer, "is_fast", False):
        return tokenize(tokenizer, texts, max_length)
    path = Path(folder) / f"{_name(tokenizer, texts, max_length)}.npz"
    try:
        return _read(path)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # not there, or cut off
        made = tokenize(tokenizer, texts, max_length)
    _keep(path, made)
    return made


def tokenize(tokenizer: Any, texts: Texts, max_length: int) -> list[Tokens]:
    """Each text's (or pair's) tokens, cut to `max_length`."""
    if not texts:
        return []
    columns = [list(column) for column in zip(*texts, strict=True)]
    fields = tokenizer(*columns, truncation=True, max_length=max_length)
    return [{key: fields[key][i] for key in fields} for i in range(len(texts))]


def _name(tokenizer: Any, texts: Texts, max_length: int) -> str:
    """The hash of all that decides on the tokens."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for of_last_call in ("truncation", "padding"):
        state.pop(of_last_call, None)
    more = [tokenizer.model_input_names, tokenizer.truncation_side, max_length, FORMAT]
    return hashlib.sha256(json.dumps([state, more, texts]).encode()).hexdigest()


def _read(path: Path) -> list[Tokens]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        ends = np.cumsum(file["lengths"])[:-1]
        fields = {
            key: [part.tolist() for part in np.split(file[key], ends)]
            for key in file.files if key != "lengths"
        }  # fmt: skip
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def _keep(path: Path, rows: list[Tokens]) -> None:
    """Whole or not at all; a disk that is full or read-only only costs the time to make them again."""
    if not rows:
        return
    lengths = [len(row["input_ids"]) for row in rows]
    fields = {key: np.concatenate([np.asarray(r[key], np.int32) for r in rows]) for key in rows[0]}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, lengths=np.asarray(lengths, np.int32), **fields)  # type: ignore[arg-type]
        temporary.replace(path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
