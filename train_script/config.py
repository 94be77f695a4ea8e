"""TrainConfig: every option of the training script, named once.

The name of a field is its flag, its key in a sweep file, its column in the ledger and its axis in
the report. The metadata is the flag's help, its valid range, and what `docs/reference.md` says.
Standard library only: the tuner reads this file without loading torch.
"""

import argparse
import math
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, get_type_hints

from train_script.errors import BadInput, did_you_mean

METRICS = {
    "eval_accuracy": "maximize",
    "eval_f1": "maximize",
    "eval_mcc": "maximize",
    "eval_loss": "minimize",
}
"""What the script measures on the validation split, and which direction is better."""


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    tunable: bool = True,
    env: Sequence[str] = (),
) -> Any:
    """A field of TrainConfig; `low`/`high` are inclusive bounds, `above`/`below` exclusive ones.

    The default may lie outside them, where it is a word for something else (-1: as dropout).
    `env` names the variables that give the default where they are set (the first that is, wins).
    """
    metadata = {
        "help": help, "unit": unit, "low": low, "high": high, "above": above, "below": below,
        "choices": tuple(choices), "tunable": tunable, "env": tuple(env),
    }  # fmt: skip
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Build it with `parse_arguments` or `from_values`; both check every value."""

    # What is trained on what.
    model: str = option(
        "bert-base-uncased",
        "pre-trained encoder: a hub name, a folder, or minilm-l6 (needs no network)",
        env=["SM_CHANNEL_MODEL"],
    )
    task: str = option("mrpc", "mrpc, cola, demo, or file (any TSV, CSV or JSONL)", tunable=False)
    # How it is trained: the usual hyperparameters.
    learning_rate: float = option(5e-5, "peak learning rate of AdamW", above=0, below=10)
    warmup_ratio: float = option(
        0.1, "share of the steps in which the learning rate rises from 0", low=0, high=1
    )
    batch_size: int = option(32, "examples per optimizer step", unit="examples", low=1, high=65536)
    epochs: int = option(3, "passes over the training split", unit="epochs", low=1, high=1000)
    weight_decay: float = option(
        0.01, "AdamW's decay, on weight matrices only (no biases, no LayerNorm)", low=0, high=10
    )
    dropout: float = option(
        0.1, "dropout in the encoder's layers, its attention and before the classifier",
        low=0, below=1,
    )  # fmt: skip
    attention_dropout: float = option(
        -1.0, "dropout of the attention's weights; -1: as dropout", low=0, below=1
    )
    classifier_dropout: float = option(
        -1.0, "dropout before the classifier; -1: as dropout", low=0, below=1
    )
    max_length: int = option(128, "longer inputs are cut", unit="tokens", low=8, high=4096)
    schedule: str = option(
        "linear", "learning rate after the warmup: falls linearly, as a cosine or as a power of what "
        "is left, or stays",
        choices=["linear", "cosine", "polynomial", "constant"],
    )  # fmt: skip
    schedule_power: float = option(
        2.0, "of schedule polynomial: the learning rate falls as (1 - share done) to this power",
        above=0, high=10,
    )  # fmt: skip
    max_grad_norm: float = option(
        1.0, "gradients are scaled down to this norm; 0 switches clipping off", low=0
    )
    class_weights: str = option(
        "none", "balanced weighs each class by 1 / its frequency in the loss",
        choices=["none", "balanced"],
    )  # fmt: skip
    # What of the pre-trained encoder learns.
    frozen_layers: int = option(
        0, "this many of the lowest layers, with the embeddings, stay as pre-trained and without dropout; "
        "all of them: features for the head alone (Lee et al. 2019)",
        unit="layers", low=0, high=1000,
    )  # fmt: skip
    layer_decay: float = option(
        1.0, "each layer's learning rate is that of the layer above times this (Howard and Ruder 2018)",
        above=0, high=1,
    )  # fmt: skip
    reinit_layers: int = option(
        0, "this many of the top layers, with the pooler, are re-initialised (Zhang et al. 2021)",
        unit="layers", low=0, high=1000,
    )  # fmt: skip
    pooling: str = option(
        "cls", "what the head reads: the first token, or the mean over all tokens (where batches are packed, and ModernBERT)",
        choices=["cls", "mean"],
    )  # fmt: skip
    # What keeps it from learning by heart.
    label_smoothing: float = option(
        0.0, "so much of each label's weight is spread over all labels (Szegedy et al. 2016)",
        low=0, below=1,
    )  # fmt: skip
    rdrop: float = option(
        0.0, "weight of how far two passes with other dropout disagree (R-Drop, Liang et al. 2021)",
        low=0, high=100,
    )  # fmt: skip
    ema: float = option(
        0.0, "decay of a running average of the weights, which is evaluated and saved; 0: none",
        low=0, below=1,
    )  # fmt: skip
    augment: str = option(
        "none", "texts are changed anew in each epoch: the pair swapped, punctuation put in (Karimi et "
        "al. 2021), words replaced by WordNet's synonyms (where it is installed)",
        choices=["none", "swap", "punctuation", "synonyms"],
    )  # fmt: skip
    augment_share: float = option(
        0.5, "the share of the examples that augment changes in an epoch", low=0, high=1
    )
    early_stopping: int = option(
        0, "ends after so many evaluations in a row without a better one, those in the warmup aside; needs "
        "keep best; 0: never",
        unit="evaluations", low=0, high=1000,
    )  # fmt: skip
    # What a large batch or model needs to fit.
    accumulation: int = option(
        1, "a batch is computed in so many parts, one after the other", low=1, high=4096
    )
    gradient_checkpointing: str = option(
        "off", "on: layers are computed a second time for their gradients, which saves memory",
        choices=["off", "on"],
    )  # fmt: skip
    seed: int = option(
        0, "initialises the classifier, orders the data, drops out", low=0, high=2**32 - 1
    )
    # What is measured and kept.
    metric: str = option(
        "eval_f1", "the objective: what keep=best goes by and what a sweep compares",
        choices=list(METRICS), tunable=False,
    )  # fmt: skip
    keep: str = option(
        "last", "which evaluation is the result: its weights are saved, its scores are final",
        choices=["last", "best"], tunable=False,
    )  # fmt: skip
    evaluations: int = option(
        4, "evaluations per run, at equal fractions of the schedule", low=1, high=1000,
        tunable=False,
    )  # fmt: skip
    precision: str = option(
        "fp32", "bf16 multiplies matrices in bfloat16 (weights stay in fp32); auto: bf16 where the "
        "hardware has it, for elsewhere it is many times slower; fp16, with scaled losses, on GPUs",
        choices=["fp32", "bf16", "fp16", "auto"],
    )  # fmt: skip
    packing: str = option(
        "auto", "auto: BERT, RoBERTa, XLM-R, CamemBERT and ELECTRA compute nothing for padding (same numbers, "
        "faster); off: as all other models",
        choices=["auto", "off"], tunable=False,
    )  # fmt: skip
    # Where the data is.
    data: str = option(
        "", "folder or file of the task; empty: the hub (mrpc, cola) or generated (demo)",
        tunable=False, env=["SM_CHANNEL_TRAINING", "SM_CHANNEL_TRAIN"],
    )  # fmt: skip
    validation_data: str = option(
        "", "task file: a validation file of its own", tunable=False, env=["SM_CHANNEL_VALIDATION"]
    )
    text_columns: str = option(
        "", "task file: the text column, or two with a comma between", tunable=False
    )
    label_column: str = option("", "task file: the label column", tunable=False)
    validation_fraction: float = option(
        0.2, "share of the training data set apart where the task has no validation file",
        above=0, below=1, tunable=False,
    )  # fmt: skip
    train_limit: int = option(
        0, "use only so many training examples (stratified); 0: all", unit="examples", low=0,
        tunable=False,
    )  # fmt: skip
    split_seed: int = option(
        0, "draws the validation split, the limit and the demo; the same for all trials of a sweep",
        low=0, high=2**32 - 1, tunable=False,
    )  # fmt: skip
    # Where the results go.
    model_dir: str = option(
        "outputs/model", "the trained model and its tokenizer", tunable=False, env=["SM_MODEL_DIR"]
    )
    output_data_dir: str = option(
        "outputs/data", "predictions on the validation split", tunable=False,
        env=["SM_OUTPUT_DATA_DIR"],
    )  # fmt: skip
    checkpoint_dir: str = option(
        "outputs/checkpoint", "where a killed run finds its last state", tunable=False,
        env=["CHECKPOINT_DIR"],
    )  # fmt: skip
    num_gpus: int = option(
        -1, "0: the CPU; -1: one GPU where there is one", low=-1, tunable=False, env=["SM_NUM_GPUS"]
    )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """A checked configuration from typed or text values; BadInput names every fault at once."""
        faults = check_values(values)
        if not faults:
            config = cls(**{name: convert(name, value) for name, value in values.items()})
            if not (
                fault := early_stopping_fault(
                    config.early_stopping, config.keep, config.evaluations
                )
            ):
                return config
            faults = [f"early_stopping: {fault}"]
        raise BadInput("\n".join(faults))

    def identity(self) -> dict[str, Any]:
        """All that decides the numbers: every field but where files lie."""
        places = {"data", "validation_data", "model_dir", "output_data_dir", "checkpoint_dir"}
        return {name: value for name, value in asdict(self).items() if name not in places}


OPTIONS = {option.name: option for option in fields(TrainConfig)}
TYPES: dict[str, type] = get_type_hints(TrainConfig)
AS_DROPOUT = ("attention_dropout", "classifier_dropout")
"""Their default, -1, is no rate: it stands for what `dropout` is"""
TUNABLE = [name for name, option in OPTIONS.items() if option.metadata["tunable"]]


def default_of(name: str) -> Any:
    """The built-in default of one option (environment variables not looked at)."""
    default = OPTIONS[name].default
    assert default is not MISSING
    return default


def convert(name: str, value: Any) -> Any:
    """`value` in the type of the option: flags and SageMaker send every value as text."""
    kind = TYPES[name]
    if isinstance(value, bool):
        raise ValueError(value)
    if kind is int:
        text = str(value)
        if "." in text or "e" in text.lower():  # 16.0, as YAML and SageMaker may write a 16
            if not float(text).is_integer():
                raise ValueError(value)
            return int(float(text))
        return int(text)
    return float(value) if kind is float else str(value)


def check_values(values: Mapping[str, Any]) -> list[str]:
    """One sentence per fault: unknown names, values that do not parse, values out of range."""
    faults = []
    for name, value in values.items():
        if name not in OPTIONS:
            near = did_you_mean(name, OPTIONS)
            faults.append(f"{name} is not an option of train_script/train.py{near}")
        elif problem := value_problem(name, value):
            faults.append(f"{name}: {problem}")
    return faults


def early_stopping_fault(
    patience: int, keep: str, evaluations: int, warmup_ratio: float = 0.0
) -> str:
    """Why a run cannot end early so, empty where it can; evaluations in the warmup do not count.

    A run does not ask for the latter: in a search over warmups that of one trial may be too long.
    """
    if patience and keep == "last":
        return (
            f"{patience} ends a run some time after its best evaluation, and keep last would make "
            "the worse one at the end its result; set keep to best"
        )
    counted = _after_warmup(evaluations, warmup_ratio)
    if patience and patience + 1 >= counted:
        aside = f", of which {counted} come after the warmup" if counted < evaluations else ""
        most = OPTIONS["evaluations"].metadata["high"]
        enough = (n for n in range(1, most + 1) if _after_warmup(n, warmup_ratio) > patience + 1)
        remedy = (
            f"set evaluations to {least} or more"
            if (least := next(enough, 0))
            else "shorten the warmup"
        )
        return f"{patience} can end nothing before the last of {evaluations} evaluations{aside}; {remedy}"
    return ""


def _after_warmup(evaluations: int, warmup_ratio: float) -> int:
    """How many of the evaluations, which lie at equal distances, are not in the warmup."""
    within = math.ceil(round(evaluations * warmup_ratio, 9)) - 1
    return evaluations - max(0, within)


def value_problem(name: str, value: Any, is_end: bool = False) -> str | None:
    """What is wrong with one value of a known option, or None.

    A default may be a word for something else (-1: as dropout), but not the end of a range.
    """
    rule = OPTIONS[name].metadata
    try:
        number = convert(name, value)
    except (ValueError, TypeError):
        return f"{value!r} is not {_KIND_WORDS[TYPES[name]]}"
    if number == OPTIONS[name].default and not is_end:
        return None
    if rule["choices"] and number not in rule["choices"]:
        return f"{number!r} is unknown{did_you_mean(str(number), rule['choices'])}"
    if isinstance(number, float) and not math.isfinite(number):
        return f"{number} is not a finite number"
    for bound, holds, words in (
        (rule["low"], operator.ge, "at least"),
        (rule["above"], operator.gt, "more than"),
        (rule["high"], operator.le, "at most"),
        (rule["below"], operator.lt, "less than"),
    ):
        if bound is not None and not holds(number, bound):
            return f"{number:g} must be {words} {bound:g}"
    return None


_KIND_WORDS = {int: "a whole number", float: "a number", str: "a text"}


def argument_parser() -> argparse.ArgumentParser:
    """One `--name value` flag per field; values are checked later, all at once."""
    parser = argparse.ArgumentParser(
        prog="train_script/train.py",
        description="Fine-tune a pre-trained encoder for sentence or sentence-pair classification. "
        "Flags override SM_* variables, which override the defaults.",
        epilog="Example: python train_script/train.py --task demo --model minilm-l6 "
        "--learning_rate 1e-4",
        allow_abbrev=False,
    )
    for name, spec in OPTIONS.items():
        rule = spec.metadata
        notes = [f"default {spec.default!r}" if spec.default != "" else "", rule["unit"]]
        notes += [" | ".join(rule["choices"]), *(f"${variable}" for variable in rule["env"])]
        detail = "; ".join(note for note in notes if note)
        text = f"{rule['help']} ({detail})" if detail else rule["help"]
        parser.add_argument(
            f"--{name}", metavar=TYPES[name].__name__.upper(), help=text.replace("%", "%%")
        )
    return parser


def _read_pairs(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The `--name value` pairs and what is wrong with them.

    Read here and not by argparse, which takes a value such as `-inf` for a flag.
    """
    pairs: dict[str, str] = {}
    faults = []
    words = iter(arguments)
    for word in words:
        if word in ("-h", "--help"):
            argument_parser().print_help()
            raise SystemExit(0)
        if not word.startswith("--"):
            faults.append(f"{word!r} stands alone: write --name value")
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            following = next(words, None)
            if following is None:
                faults.append(f"--{name} has no value: write --{name} VALUE")
                continue
            value = following
        pairs[name] = value
    return pairs, faults


def parse_arguments(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> TrainConfig:
    """The configuration that flags, then SM_* variables, then defaults give."""
    given, faults = _read_pairs(arguments)
    values: dict[str, Any] = {}
    for name, spec in OPTIONS.items():
        from_environment = [environment[v] for v in spec.metadata["env"] if environment.get(v)]
        if from_environment:
            values[name] = from_environment[0]
    values |= given
    faults += check_values(values)
    if faults:
        raise BadInput("\n".join(faults))
    return TrainConfig.from_values(values)
