"""What is the same for many runs: the data and its tokens (and the weights, see model.py)."""

from train_script.config import TrainConfig
from train_script.kept import once
from train_script.tasks import Examples, Splits, TaskOptions, load_task
from train_script.tokens import Tokens, tokens_of


def splits_of(config: TrainConfig) -> Splits:
    """The task's data, read and split."""
    columns = tuple(name.strip() for name in config.text_columns.split(",") if name.strip())
    options = TaskOptions(
        config.data, config.validation_data, columns, config.label_column,
        config.validation_fraction, config.train_limit, config.split_seed,
    )  # fmt: skip
    return once(("splits", config.task, options), lambda: load_task(config.task, options))


def encoded(place: str, max_length: int, examples: Examples) -> list[Tokens]:
    """Each example's tokens; rows of their own, to which a run may add."""
    from train_script.model import load_tokenizer

    def make() -> tuple[Examples, list[Tokens]]:
        return examples, tokens_of(load_tokenizer(place, max_length), examples.texts, max_length)

    _, rows = once(("tokens", place, max_length, id(examples)), make)
    return [dict(row) for row in rows]
