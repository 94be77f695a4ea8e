"""Any TSV, CSV or JSONL file with one or two text columns and a label column.

`data` is the training file, or a folder with `train.*` and perhaps `validation.*` (or `dev.*`, `valid.*`, `val.*`).
Without a validation file a share of the training data is set apart.
"""

import math
from pathlib import Path

from train_script.errors import BadInput
from train_script.tasks.base import Examples, Splits, Task, TaskOptions
from train_script.tasks.tables import SUFFIXES, read_columns

VALIDATION = ("validation", "dev", "valid", "val")
FEWEST_TO_TELL = 10


def read(options: TaskOptions) -> Splits:
    """The user's own data; labels are the distinct values, sorted (as numbers where they are)."""
    if not options.data:
        raise BadInput("task file needs data: a TSV, CSV or JSONL file")
    if not options.text_columns or not options.label_column:
        raise BadInput("task file needs the names of its text column(s) and its label column")
    if len(options.text_columns) > 2:
        raise BadInput(f"task file takes one or two text columns, not {len(options.text_columns)}")
    columns = [*options.text_columns, options.label_column]
    if len(set(columns)) < len(columns):
        raise BadInput(
            f"task file needs different columns for texts and label, not {', '.join(columns)}"
        )
    path = Path(options.data)
    train_path = _find(path, ("train",)) if path.is_dir() else path
    if train_path is None:
        raise BadInput(f"{path} has no train file ({', '.join('train' + s for s in SUFFIXES)})")
    dev_path: Path | None = None
    if options.validation_data:
        dev_path = Path(options.validation_data)
        if dev_path.is_dir():
            dev_path = _find(dev_path, VALIDATION)
            if dev_path is None:
                raise BadInput(f"{options.validation_data} has no validation file")
    elif path.is_dir():
        dev_path = _find(path, VALIDATION)

    rows = _read(train_path, options)
    dev_rows = _read(dev_path, options) if dev_path else None
    if dev_rows == rows:
        raise BadInput(f"{dev_path} has the same examples as {train_path}: validation needs others")
    labels = _sorted_labels({label for _, label in rows})
    if len(rows) >= FEWEST_TO_TELL and 2 * len(labels) > len(rows):
        raise BadInput(
            f"{train_path}: {len(rows)} examples have {len(labels)} different labels; classes are needed, "
            "numbers to be predicted (regression) are not supported"
        )
    index = {label: i for i, label in enumerate(labels)}
    for _, label in dev_rows or ():
        if label not in index:
            raise BadInput(f"{dev_path} has the label {label!r}, which {train_path} does not have")

    def examples(part: list[tuple[tuple[str, ...], str]]) -> Examples:
        return Examples([texts for texts, _ in part], [index[label] for _, label in part])

    return Splits(
        "file",
        labels,
        options.text_columns,
        examples(rows),
        examples(dev_rows) if dev_rows is not None else None,
        source=str(train_path),
    )


def _find(folder: Path, stems: tuple[str, ...]) -> Path | None:
    names = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    found = [name for name in names if name.exists()]
    if len(found) > 1:
        raise BadInput(
            f"{folder} has {found[0].name} and {found[1].name}; name the file to be read"
        )
    return found[0] if found else None


def _read(path: Path, options: TaskOptions) -> list[tuple[tuple[str, ...], str]]:
    columns = [*options.text_columns, options.label_column]
    rows = []
    for number, values in read_columns(path, columns):
        if not values[-1]:
            raise BadInput(f"{path}:{number} has no label")
        rows.append((tuple(values[:-1]), values[-1]))
    return rows


def _sorted_labels(labels: set[str]) -> tuple[str, ...]:
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return tuple(sorted(labels))
    if not all(math.isfinite(number) for number in numbers.values()):
        return tuple(sorted(labels))
    return tuple(sorted(labels, key=lambda label: (numbers[label], label)))


TASK = Task("file", "eval_accuracy", read, help="your own TSV, CSV or JSONL", texts=0)
