"""What every task gives: examples in a training, a validation and perhaps a test split."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from train_script.errors import BadInput


@dataclass(frozen=True)
class Examples:
    """Texts with labels: `texts[i]` is one sentence or a pair, `labels[i]` indexes `Splits.labels`."""

    texts: list[tuple[str, ...]]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Examples":
        """The examples of these row numbers, in this order."""
        return Examples([self.texts[i] for i in rows], [self.labels[i] for i in rows])


@dataclass(frozen=True)
class Splits:
    """A task's data. `validation` is None until it is drawn; `test` is never trained or tuned on."""

    task: str
    labels: tuple[str, ...]
    text_columns: tuple[str, ...]
    train: Examples
    validation: Examples | None = None
    test: Examples | None = None
    source: str = ""
    split: str = "the task's own validation file"


@dataclass(frozen=True)
class TaskOptions:
    """Where a task's data is and how it is split; the fields are those of TrainConfig."""

    data: str = ""
    validation_data: str = ""
    text_columns: tuple[str, ...] = ()
    label_column: str = ""
    validation_fraction: float = 0.2
    train_limit: int = 0
    split_seed: int = 0


@dataclass(frozen=True)
class Task:
    """A name, the metric people report for it, and how its data is read."""

    name: str
    metric: str
    read: Callable[[TaskOptions], Splits]
    help: str = ""
    labels: tuple[str, ...] = field(default=())
    texts: int = 2
    """How many texts an example has; 0: as many as the user's file"""


def stratified_rows(labels: list[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` row numbers, shuffled, with each label's share kept (largest remainders)."""
    labels_N = np.asarray(labels)
    classes, sizes = np.unique(labels_N, return_counts=True)
    exact = sizes * count / len(labels_N)
    quota = np.floor(exact).astype(int)
    for c in np.argsort(quota - exact, kind="stable")[: count - quota.sum()]:
        quota[c] += 1
    chosen = [
        rng.permutation(np.flatnonzero(labels_N == label))[:size]
        for label, size in zip(classes, quota, strict=True)
    ]
    return rng.permutation(np.concatenate(chosen))


def limit_training(splits: Splits, count: int, seed: int) -> Splits:
    """At most `count` training examples, the same ones for the same seed; 0 leaves all."""
    if not count or count >= len(splits.train):
        return splits
    rows = stratified_rows(splits.train.labels, count, np.random.default_rng([seed, 1]))
    return replace(splits, train=splits.train.take(rows))


def draw_validation(splits: Splits, fraction: float, seed: int) -> Splits:
    """Sets a stratified share of the training examples apart where there is no validation split."""
    if splits.validation is not None:
        return splits
    if len(splits.train) < 2:
        raise BadInput(
            f"{splits.source} has {len(splits.train)} examples; a split needs two or more"
        )
    count = max(1, round(fraction * len(splits.train)))
    rows = stratified_rows(splits.train.labels, count, np.random.default_rng([seed, 2]))
    rest = np.setdiff1d(np.arange(len(splits.train)), rows)
    return replace(
        splits,
        train=splits.train.take(rest),
        validation=splits.train.take(rows),
        split=f"{fraction:.0%} of the training data, stratified, split_seed {seed}",
    )


def check_classes(splits: Splits) -> None:
    """Both splits need two labels or more; otherwise every score would be meaningless."""
    for name, part in (("training", splits.train), ("validation", splits.validation)):
        assert part is not None
        if not len(part):
            raise BadInput(f"{splits.source}: the {name} split has no examples")
        counts = Counter(part.labels)
        if len(counts) < 2:
            only = splits.labels[next(iter(counts))]
            raise BadInput(
                f"{splits.source}: all {len(part)} {name} examples have the label {only!r}; "
                "a classifier needs at least two labels"
            )
