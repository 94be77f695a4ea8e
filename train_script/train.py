"""Fine-tune a pre-trained encoder: by hand, under the tuner, or in a SageMaker container.

The contract (docs/training-contract.md): `--name value` flags and SM_* variables in; one JSON line
per evaluation on stdout; a last line that repeats the result; checkpoints; a clean stop on SIGTERM.
Exit status: 0 finished, 1 the training went wrong, 2 bad input, 143 stopped by SIGTERM.

Names of tensors end in their shape: B batch, T tokens, C classes, N examples.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: make `train_script` importable, and not its parts
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import json
import math
import os
import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

from train_script.config import METRICS, TrainConfig, parse_arguments
from train_script.errors import BadInput, ScriptError, TrainingFailed
from train_script.pretrained import locate_model
from train_script.tasks import Examples, Splits, TaskOptions, label_key, load_task

PROCESS_START = time.monotonic()
STOPPED = 128 + signal.SIGTERM


class Stopped(Exception):
    """SIGTERM came; the state is in the checkpoint."""


@dataclass
class StopRequest:
    """Set by SIGTERM, looked at between steps."""

    asked: bool = False

    def listen(self) -> "StopRequest":
        def on_term(signum: int, frame: FrameType | None) -> None:
            self.asked = True

        signal.signal(signal.SIGTERM, on_term)
        return self


def say(message: str) -> None:
    """A line for people: stderr, so that stdout stays JSON."""
    print(message, file=sys.stderr, flush=True)


def evaluation_line(record: dict[str, Any]) -> str:
    """One JSON line, read by the tuner and by SageMaker with the same regex."""
    return json.dumps(record)


def emit(record: dict[str, Any]) -> None:
    """The record's line on stdout."""
    print(evaluation_line(record), flush=True)


def schedule_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """The learning rate of optimizer step `step` (from 0) as a share of its peak."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def train(config: TrainConfig, splits: Splits, stop: StopRequest) -> dict[str, Any] | None:
    """Trains, evaluates at equal fractions of the schedule, saves; returns the result's record.

    None in all but the first of several processes (see ranks.py).

    Raises Stopped after SIGTERM (checkpoint written) and TrainingFailed when the loss is not finite.
    """
    place = locate_model(config.model)  # before seconds of imports: it may be a typing error
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import DataCollatorWithPadding

    from train_script import checkpoint
    from train_script.metrics import scores
    from train_script.model import (
        has_native_bf16,
        load_model,
        load_tokenizer,
        quiet_libraries,
        save_model,
    )
    from train_script.ranks import Ranks

    quiet_libraries()
    validation = splits.validation
    assert validation is not None
    ranks = Ranks.start(config.num_gpus)
    device = ranks.device
    native = has_native_bf16(device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if native else "fp32"
    if precision == "bf16" and not native and ranks.is_first:
        say("bf16 is emulated on this device and many times slower; --precision auto avoids that")
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(place, config.max_length)
    model, pretrained_sha256 = load_model(place, splits.labels, config.dropout)
    model = model.to(device)
    if not ranks.is_first:  # the same new classifier everywhere, but dropout of its own
        torch.manual_seed(config.seed + 1_000_003 * ranks.rank)

    def encode(examples: Examples) -> list[dict[str, list[int]]]:
        columns = [list(column) for column in zip(*examples.texts, strict=True)]
        fields = tokenizer(*columns, truncation=True, max_length=config.max_length)
        return [{key: fields[key][i] for key in fields} for i in range(len(examples))]

    train_encoded, validation_encoded = encode(splits.train), encode(validation)
    labels_N = torch.tensor(splits.train.labels)
    pad = DataCollatorWithPadding(tokenizer)  # to the longest of the batch, not of the data

    decayed = [p for p in model.parameters() if p.ndim > 1]
    undecayed = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(  # with bias correction; BERT's original lacked it
        [{"params": decayed, "weight_decay": config.weight_decay},
         {"params": undecayed, "weight_decay": 0.0}],
        lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True,
    )  # fmt: skip
    class_weights_C = None
    if config.class_weights == "balanced":
        counts_C = torch.bincount(labels_N, minlength=len(splits.labels)).clamp(min=1)
        class_weights_C = (len(labels_N) / (len(splits.labels) * counts_C)).float().to(device)

    steps_per_epoch = math.ceil(len(splits.train) / config.batch_size)
    total_steps = steps_per_epoch * config.epochs
    warmup_steps = round(config.warmup_ratio * total_steps)
    # Equal fractions of the schedule, so that trials with different epochs compare.
    evaluate_after = {
        math.ceil(total_steps * k / config.evaluations): k / config.evaluations
        for k in range(1, config.evaluations + 1)
    }
    # In SageMaker the jobs of a tuning job share one checkpoint folder.
    folder = Path(config.checkpoint_dir, os.environ.get("TRAINING_JOB_NAME", ""))
    data = {"texts": splits.train.texts, "of": splits.train.labels, "labels": splits.labels}
    identity = checkpoint.identity_hash(config.identity() | data)
    progress = checkpoint.Progress(0, [], 0.0, 0.0, [])
    best_weights: dict[str, torch.Tensor] | None = None
    if restored := checkpoint.restore(folder, identity, model, optimizer):
        progress, best_weights = restored
        say(f"goes on from step {progress.step} of {total_steps} ({folder})")
        if ranks.is_first:  # whoever reads may have missed a line when this run was cut off
            for record in progress.evaluations:
                emit(record)
    if not ranks.agree(progress.step):
        raise TrainingFailed(f"the processes found checkpoints of different steps in {folder}")
    in_step = ranks.together(model)
    direction = 1.0 if METRICS[config.metric] == "maximize" else -1.0

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def evaluate() -> tuple[dict[str, float], np.ndarray]:
        model.eval()
        by_length = sorted(
            range(len(validation)), key=lambda i: len(validation_encoded[i]["input_ids"])
        )
        logits_NC = np.empty((len(validation), len(splits.labels)), dtype=np.float64)
        with torch.inference_mode(), autocast():
            for start in range(0, len(by_length), 64):
                rows = by_length[start : start + 64]
                batch_BT = pad([validation_encoded[i] for i in rows]).to(device)
                logits_NC[rows] = model(**batch_BT).logits.float().cpu().numpy()
        if not np.isfinite(logits_NC).all():
            raise TrainingFailed(_not_finite("an output", progress.step, total_steps, config))
        return scores(logits_NC, np.asarray(validation.labels)), logits_NC

    def checkpoint_now() -> None:
        if ranks.is_first:
            checkpoint.save(folder, identity, progress, model, optimizer, best_weights)

    if ranks.is_first:
        processes = f"{ranks.count} processes, " if ranks.count > 1 else ""
        say(
            f"{config.task}: {len(splits.train)} training, {len(validation)} validation examples; "
            f"{config.model} in {precision} on {device.type}, {processes}"
            f"{torch.get_num_threads()} threads; {total_steps} steps"
        )
    start_seconds = time.monotonic() - PROCESS_START
    kept_logits_NC: np.ndarray | None = None  # of the evaluation that keep names, if still known
    recent_losses = progress.recent_losses
    order: list[int] = []
    clock = time.monotonic()
    while progress.step < total_steps:
        epoch, batch = divmod(progress.step, steps_per_epoch)
        if not order or batch == 0:
            generator = torch.Generator().manual_seed(config.seed * 1000 + epoch)
            order = torch.randperm(len(train_encoded), generator=generator).tolist()
        rows = order[batch * config.batch_size : (batch + 1) * config.batch_size]
        factor = schedule_factor(progress.step, total_steps, warmup_steps, config.schedule)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        model.train()
        own, counts = ranks.share(rows)
        batch_BT = pad([train_encoded[i] for i in own]).to(device)
        with autocast():
            logits_BC = in_step(**batch_BT).logits
        labels_B = labels_N[rows]
        weight = len(rows) if class_weights_C is None else class_weights_C.cpu()[labels_B].sum()
        loss = counts * cross_entropy(
            logits_BC.float(), labels_N[own].to(device), weight=class_weights_C, reduction="sum"
        ) / float(weight)  # fmt: skip
        batch_loss = ranks.total(loss.item())
        if not math.isfinite(batch_loss):
            raise TrainingFailed(_not_finite("the loss", progress.step + 1, total_steps, config))
        optimizer.zero_grad(set_to_none=True)
        # The gradients of the processes are averaged, while their losses add up.
        (loss * ranks.count).backward()  # type: ignore[no-untyped-call]
        if config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        recent_losses.append(batch_loss)
        progress.step += 1

        if progress.step in evaluate_after and ranks.is_first:
            now = time.monotonic()
            progress.train_seconds += now - clock
            measured, logits_NC = evaluate()
            if config.keep == "last":
                kept_logits_NC = logits_NC
            clock = time.monotonic()
            progress.evaluate_seconds += clock - now
            record = {
                "epoch": round(progress.step / steps_per_epoch, 4),
                "fraction": evaluate_after[progress.step],
                "step": progress.step,
                "train_loss": sum(recent_losses) / max(1, len(recent_losses)),
                **measured,
            }
            recent_losses.clear()
            emit(record)
            leader = max(
                (e[config.metric] * direction for e in progress.evaluations), default=-math.inf
            )
            progress.evaluations.append(record)
            if config.keep == "best" and record[config.metric] * direction > leader:
                best_weights = {k: t.detach().cpu().clone() for k, t in model.state_dict().items()}
                kept_logits_NC = logits_NC
            if progress.step < total_steps:
                checkpoint_now()
        if ranks.total(stop.asked) and progress.step < total_steps:
            progress.train_seconds += time.monotonic() - clock
            checkpoint_now()
            raise Stopped(f"stopped by SIGTERM after step {progress.step} of {total_steps}")

    if not ranks.is_first:
        return None
    if config.keep == "best" and best_weights is not None:
        model.load_state_dict(best_weights)
    clock = time.monotonic()
    if kept_logits_NC is None:  # measured before this process began
        _, kept_logits_NC = evaluate()
    save_model(model, tokenizer, Path(config.model_dir))
    _save_predictions(Path(config.output_data_dir), splits, kept_logits_NC.argmax(axis=1).tolist())
    # A folder that the tuner gave stays until it has noted the result; on SageMaker AWS notes it.
    if "CHECKPOINT_DIR" not in os.environ or "TRAINING_JOB_NAME" in os.environ:
        checkpoint.clear(folder)
    return _result(
        config, progress, direction, start_seconds, time.monotonic() - clock, len(splits.train)
    ) | {"precision": precision, "pretrained_sha256": pretrained_sha256}


def _result(
    config: TrainConfig, progress: Any, direction: float, start: float, save: float, rows: int
) -> dict[str, Any]:
    """The last line: the kept evaluation's scores under their own names, best and last beside."""
    last = progress.evaluations[-1]
    best = max(progress.evaluations, key=lambda e: e[config.metric] * direction)
    kept = best if config.keep == "best" else last
    return {
        "final": True,
        **kept,
        "objective": config.metric,
        "objective_evaluation": config.keep,
        **{f"best_{name}": best[name] for name in METRICS},
        **{f"last_{name}": last[name] for name in METRICS},
        "start_seconds": round(start, 3),
        "train_seconds": round(progress.train_seconds, 3),
        "evaluate_seconds": round(progress.evaluate_seconds, 3),
        "save_seconds": round(save, 3),
        "examples_per_second": round(rows * config.epochs / max(progress.train_seconds, 1e-9), 2),
    }


def _not_finite(what: str, step: int, total: int, config: TrainConfig) -> str:
    return (
        f"{what} is not finite at step {step} of {total} (learning_rate {config.learning_rate:g}, "
        f"max_grad_norm {config.max_grad_norm:g}); a lower learning_rate or a longer warmup helps"
    )


def _save_predictions(folder: Path, splits: Splits, predicted: list[int]) -> None:
    """One JSON line per validation example: its texts, its label, the predicted label."""
    assert splits.validation is not None
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for texts, label, guess in zip(
            splits.validation.texts, splits.validation.labels, predicted, strict=True
        ):
            row = dict(zip(splits.text_columns, texts, strict=True))
            row |= {label_key(splits.text_columns): splits.labels[label]}
            row |= {"predicted": splits.labels[guess]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def run(config: TrainConfig) -> None:
    """One whole training run from a checked configuration; prints the result's line."""
    stop = StopRequest().listen()
    columns = tuple(name.strip() for name in config.text_columns.split(",") if name.strip())
    options = TaskOptions(
        config.data, config.validation_data, columns, config.label_column,
        config.validation_fraction, config.train_limit, config.split_seed,
    )  # fmt: skip
    result = train(config, load_task(config.task, options), stop)
    if result is not None:
        emit(result)
        say(f"model saved to {config.model_dir}")


def main(arguments: list[str] | None = None) -> int:
    """The exit status; every foreseen fault is one sentence on stderr, never a traceback."""
    try:
        run(parse_arguments(sys.argv[1:] if arguments is None else arguments))
    except Stopped as exc:
        say(str(exc))
        return STOPPED
    except ScriptError as exc:
        say(f"error: {exc}")
        return exc.exit_status
    except (MemoryError, RuntimeError) as exc:
        if (
            isinstance(exc, MemoryError)
            or "out of memory" in str(exc)
            or "can't allocate" in str(exc)
        ):
            say("error: out of memory; a smaller batch_size or max_length needs less")
            return 1
        raise
    except ModuleNotFoundError as exc:
        say(f"error: the package {exc.name} is not installed: pip install 'tuner[local]'")
        return 2
    except OSError as exc:
        if exc.errno is None:
            raise
        say(f"error: {exc.strerror}: {exc.filename or 'while writing'}")
        return 1
    return 0


__all__ = ["BadInput", "main", "run", "schedule_factor", "train"]

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # skips seconds of tear-down in the libraries' threads
