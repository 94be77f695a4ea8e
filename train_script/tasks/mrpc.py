"""Microsoft Research Paraphrase Corpus (Dolan and Brockett 2005): do two sentences say the same?

Reads GLUE's `train.tsv` and `dev.tsv`, or the original `msr_paraphrase_train.txt` (with GLUE's
`dev_ids.tsv` beside it, its development pairs are set apart; `msr_paraphrase_test.txt` becomes the
test split), or the hub.
"""

from pathlib import Path

from train_script.errors import BadInput
from train_script.tasks.base import Examples, Splits, Task, TaskOptions
from train_script.tasks.hub import read_glue
from train_script.tasks.tables import read_tab_rows

LABELS = ("not a paraphrase", "paraphrase")
COLUMNS = ("sentence1", "sentence2")


def read(options: TaskOptions) -> Splits:
    """MRPC from a folder, or from the hub where no folder is given."""
    if not options.data:
        return read_glue("mrpc", COLUMNS, LABELS)
    folder = Path(options.data)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; task mrpc needs the folder of its files")
    test = _examples(folder / "msr_paraphrase_test.txt")
    if (folder / "train.tsv").exists():
        train, validation = _examples(folder / "train.tsv"), _examples(folder / "dev.tsv")
        if train is None or validation is None:
            raise BadInput(f"{folder} has train.tsv but no dev.tsv")
    elif (folder / "msr_paraphrase_train.txt").exists():
        train, validation = _original(folder)
    else:
        raise BadInput(
            f"{folder} has neither train.tsv and dev.tsv (GLUE) nor msr_paraphrase_train.txt"
        )
    return Splits("mrpc", LABELS, COLUMNS, train, validation, test, source=str(folder))


def _original(folder: Path) -> tuple[Examples, Examples | None]:
    rows = _rows(folder / "msr_paraphrase_train.txt")
    ids = folder / "dev_ids.tsv"
    if not ids.exists():
        return _to_examples(rows), None
    dev = {(row[0], row[1]) for _, row in read_tab_rows(ids, width=2)}
    return (
        _to_examples([row for row in rows if (row[1], row[2]) not in dev]),
        _to_examples([row for row in rows if (row[1], row[2]) in dev]),
    )


def _examples(path: Path) -> Examples | None:
    return _to_examples(_rows(path)) if path.exists() else None


def _rows(path: Path) -> list[list[str]]:
    rows = []
    for number, row in read_tab_rows(path, width=5, skip=1):
        if row[0] not in ("0", "1"):
            raise BadInput(f"{path}:{number} has the label {row[0]!r}; MRPC has 0 and 1")
        rows.append(row)
    return rows


def _to_examples(rows: list[list[str]]) -> Examples:
    return Examples([(row[3], row[4]) for row in rows], [int(row[0]) for row in rows])


TASK = Task("mrpc", "eval_f1", read, help="paraphrase or not, 3,668 + 408 pairs", labels=LABELS)
