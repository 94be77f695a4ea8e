"""What is the same for many runs: the data and its tokens (and the weights, see model.py)."""

from typing import Any

from train_script.config import TrainConfig
from train_script.kept import once
from train_script.tasks import Examples, Splits, TaskOptions, load_task


def splits_of(config: TrainConfig) -> Splits:
    """The task's data, read and split."""
    columns = tuple(name.strip() for name in config.text_columns.split(",") if name.strip())
    options = TaskOptions(
        config.data, config.validation_data, columns, config.label_column,
        config.validation_fraction, config.train_limit, config.split_seed,
    )  # fmt: skip
    return once(("splits", config.task, options), lambda: load_task(config.task, options))


def encoded(place: str, max_length: int, examples: Examples) -> list[dict[str, list[int]]]:
    """Each example's tokens; rows of their own, to which a run may add."""
    from train_script.model import load_tokenizer

    def make() -> tuple[Examples, list[dict[str, list[int]]]]:
        return examples, tokenize(load_tokenizer(place, max_length), examples.texts, max_length)

    _, rows = once(("tokens", place, max_length, id(examples)), make)
    return [dict(row) for row in rows]


def tokenize(
    tokenizer: Any, texts: list[tuple[str, ...]], max_length: int
) -> list[dict[str, list[int]]]:
    """Each text's (or pair's) tokens, cut to `max_length`."""
    if not texts:
        return []
    columns = [list(column) for column in zip(*texts, strict=True)]
    fields = tokenizer(*columns, truncation=True, max_length=max_length)
    return [{key: fields[key][i] for key in fields} for i in range(len(texts))]
