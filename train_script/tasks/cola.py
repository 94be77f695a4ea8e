"""Corpus of Linguistic Acceptability (Warstadt, Singh, Bowman 2018): is the sentence grammatical?

Reads the raw files (`in_domain_train.tsv`; both dev files together, as GLUE does), GLUE's
`train.tsv` and `dev.tsv`, or the hub. No header; source, label, note, sentence.
"""

from pathlib import Path

from train_script.errors import BadInput
from train_script.tasks.base import Examples, Splits, Task, TaskOptions
from train_script.tasks.hub import read_glue
from train_script.tasks.tables import read_tab_rows

LABELS = ("unacceptable", "acceptable")
COLUMNS = ("sentence",)
LAYOUTS = (
    ("in_domain_train.tsv", ("in_domain_dev.tsv", "out_of_domain_dev.tsv")),
    ("train.tsv", ("dev.tsv",)),
)


def read(options: TaskOptions) -> Splits:
    """CoLA from a folder, or from the hub where no folder is given."""
    if not options.data:
        return read_glue("cola", COLUMNS, LABELS)
    folder = Path(options.data)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder; task cola needs the folder of its files")
    for train, dev in LAYOUTS:
        if (folder / train).exists():
            validation = _examples([folder / name for name in dev])
            return Splits(
                "cola", LABELS, COLUMNS, _examples([folder / train]), validation, source=str(folder)
            )
    raise BadInput(f"{folder} has neither in_domain_train.tsv (raw) nor train.tsv (GLUE)")


def _examples(paths: list[Path]) -> Examples:
    texts: list[tuple[str, ...]] = []
    labels: list[int] = []
    for path in paths:
        for number, row in read_tab_rows(path, width=4):
            if row[1] not in ("0", "1"):
                raise BadInput(f"{path}:{number} has the label {row[1]!r}; CoLA has 0 and 1")
            texts.append((row[3],))
            labels.append(int(row[1]))
    return Examples(texts, labels)


TASK = Task(
    "cola", "eval_mcc", read, help="grammatical or not, 8,551 + 1,043", labels=LABELS, texts=1
)
