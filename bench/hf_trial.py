"""What people run otherwise: one fine-tuning with transformers' Trainer. For bench/sweeps.py.

`python bench/hf_trial.py MODEL TRAIN.csv VALIDATION.csv FOLDER POINT` (POINT: a JSON object of the hyperparameters)
pads every example to 128 tokens, as the usual recipe's `padding="max_length"` does.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

MAX_LENGTH = 128


def make_trainer(
    model: str,
    train: Path,
    validation: Path,
    folder: str,
    padding: str | bool,
    options: dict[str, Any],
) -> Trainer:
    """A Trainer as its documentation's examples have it; `padding` is the tokenizer's, `options` are more arguments.

    They have to be known here: a Trainer looks at some of its arguments, such as the batch size, only as
    it is made.
    """
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(model)
    data = load_dataset("csv", data_files={"train": str(train), "validation": str(validation)})
    data = data.map(
        lambda rows: tokenizer(
            rows["one"], rows["two"], truncation=True, max_length=MAX_LENGTH, padding=padding
        ),
        batched=True,
    )
    arguments = TrainingArguments(
        output_dir=folder, report_to=[], save_strategy="no", eval_strategy="epoch", num_train_epochs=1,
        per_device_eval_batch_size=64, disable_tqdm=True, logging_strategy="no",
        use_cpu=not torch.cuda.is_available(),
        **options,
    )  # fmt: skip
    return Trainer(
        model_init=lambda: AutoModelForSequenceClassification.from_pretrained(model, num_labels=2),
        args=arguments, train_dataset=data["train"], eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer), processing_class=tokenizer,
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p[0], 1) == p[1]).mean())},
    )  # fmt: skip


def settings(point: dict[str, Any]) -> dict[str, Any]:
    """A configuration in the words of TrainingArguments."""
    return {
        "learning_rate": point["learning_rate"],
        "warmup_steps": point["warmup_ratio"],  # below 1 it is a share of all steps
        "per_device_train_batch_size": point["batch_size"],
        "seed": point["seed"],
    }


def run(
    model: str,
    train: Path,
    validation: Path,
    point: dict[str, Any],
    folder: str,
    padding: str | bool,
) -> dict[str, float]:
    """One training: its accuracy, its steps, and the seconds in its loop."""
    trainer = make_trainer(model, train, validation, folder, padding, settings(point))
    done = trainer.train()
    scores = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    evaluated = sum(entry["eval_runtime"] for entry in scores)
    return {
        "accuracy": scores[-1]["eval_accuracy"],
        "step": trainer.state.global_step,
        "train_seconds": done.metrics["train_runtime"] - evaluated,
    }


if __name__ == "__main__":
    model, train, validation, folder, point = sys.argv[1:]
    print(
        json.dumps(
            run(model, Path(train), Path(validation), json.loads(point), folder, "max_length")
        )
    )
