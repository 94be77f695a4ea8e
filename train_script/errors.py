"""What can go wrong in the training script, as a person sees it.

ScriptError              one sentence, no traceback
├── BadInput             something the user can mend: exit status 2
└── TrainingFailed       the training itself went wrong (loss not finite, out of memory): exit status 1
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ScriptError(Exception):
    """An error whose text is all that a person needs; never shown with a traceback."""

    exit_status = 1


class BadInput(ScriptError):
    """A fault in flags, files or names that the user can mend."""

    exit_status = 2


class TrainingFailed(ScriptError):
    """The configuration was valid and the training still went wrong."""


def first_line(exc: Exception) -> str:
    """What a library's error says, for the middle of a sentence of ours."""
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


ELSEWHERE = {
    "lr": "learning_rate", "bs": "batch_size", "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size", "num_train_epochs": "epochs", "num_epochs": "epochs",
    "lr_scheduler_type": "schedule", "warmup_steps": "warmup_ratio", "bf16": "precision", "fp16": "precision",
    "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
    "gradient_accumulation_steps": "accumulation", "label_smoothing_factor": "label_smoothing",
    "eval_acc": "eval_accuracy", "accuracy": "eval_accuracy", "values": "choice", "categorical": "choice",
    "min": "float", "max": "float", "uniform": "float", "log_uniform": "scale", "distribution": "scale",
}  # fmt: skip
"""What transformers, Optuna, Ray and Weights & Biases call things"""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest known name, else the list of the known names."""
    known = list(known)
    near = [other for other in [ELSEWHERE.get(name)] if other in known]
    near = near or get_close_matches(name, known, n=1, cutoff=0.6)
    near = near or [other for other in known if name and name in other]
    return f"; did you mean {near[0]}?" if len(near) == 1 else f"; known: {', '.join(known)}"
