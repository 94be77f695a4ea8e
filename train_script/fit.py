"""One training run: batches, steps, evaluations, checkpoints, the result.

Names of tensors end in their shape: B batch, C classes, N examples.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train_script import augment, checkpoint
from train_script.config import METRICS, TrainConfig
from train_script.contract import Clock, Stopped, StopRequest, emit, say
from train_script.errors import BadInput, TrainingFailed
from train_script.forward import Padded, Row, make_forward, remember_frozen
from train_script.loss import Loss
from train_script.metrics import scores
from train_script.model import (
    freeze,
    has_native_bf16,
    load_model,
    load_tokenizer,
    quiet_libraries,
    reinitialize,
    save_model,
)
from train_script.optimizer import Average, make_optimizer, schedule_factor
from train_script.prepared import encoded
from train_script.pretrained import locate_model
from train_script.ranks import Ranks
from train_script.result import result_of, write_predictions
from train_script.tasks import Splits
from train_script.tokens import tokenize

EVALUATION_BATCH = 64
SAVE_SECONDS = 900.0
"""Where evaluations are farther apart, a checkpoint is written so often all the same, and a line says so"""
FP16_DEVICES = ("cuda",)
"""Where fp16 is faster than fp32, and so of use"""


class Fit:
    """The state of a run; `run` takes it to its end."""

    def __init__(self, config: TrainConfig, splits: Splits, stop: StopRequest) -> None:
        assert splits.validation is not None
        self.config, self.splits, self.stop = config, splits, stop
        self.validation = splits.validation
        quiet_libraries()
        augment.check(config.augment, config.task, len(splits.text_columns))
        place = locate_model(config.model)
        self.ranks = Ranks.start(config.num_gpus)
        self.device = self.ranks.device
        self.precision = self._precision()
        torch.manual_seed(config.seed)
        self.tokenizer = load_tokenizer(place, config.max_length)
        self.model: Any
        self.model, self.pretrained_sha256 = load_model(place, splits.labels, _dropouts(config))
        reinitialize(self.model, config.reinit_layers, config.frozen_layers)
        frozen = freeze(self.model, config.frozen_layers)
        self.model = self.model.to(self.device)
        if not self.ranks.is_first:  # the same new classifier everywhere, but dropout of its own
            torch.manual_seed(config.seed + 1_000_003 * self.ranks.rank)
        self.rows = encoded(place, config.max_length, splits.train)
        self.validation_rows = encoded(place, config.max_length, self.validation)
        self.labels_N = torch.tensor(splits.train.labels)
        self.forward, self.path = make_forward(self.model, self.tokenizer, config, frozen)
        counts_C = torch.bincount(self.labels_N, minlength=len(splits.labels))
        self.loss = Loss(config, counts_C, self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.average = Average(self.model, config.ema)
        self.steps_per_epoch = math.ceil(len(splits.train) / config.batch_size)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.warmup_steps = round(config.warmup_ratio * self.total_steps)
        # Equal fractions of the schedule, so that trials with different epochs compare.
        self.evaluate_after = {
            math.ceil(self.total_steps * k / config.evaluations): k / config.evaluations
            for k in range(1, config.evaluations + 1)
        }
        # In SageMaker the jobs of a tuning job share one checkpoint folder.
        self.folder = Path(config.checkpoint_dir, os.environ.get("TRAINING_JOB_NAME", ""))
        data: dict[str, Any] = {"labels": splits.labels, "weights": self.pretrained_sha256}
        data["precision"] = self.precision  # auto may be another one where the run goes on
        for name, part in (("train", splits.train), ("validation", self.validation)):
            data[name] = [part.texts, part.labels]
        self.identity = checkpoint.identity_hash(config.identity() | data)
        self.progress = checkpoint.Progress(0, [], 0.0, 0.0, [])
        self.best_weights: dict[str, Tensor] | None = None
        self.kept_logits_NC: np.ndarray | None = None
        """Of the evaluation that `keep` names, where they are still known"""
        self.epoch, self.order, self.changed = -1, list[int](), dict[int, Row]()
        self.direction = 1.0 if METRICS[config.metric] == "maximize" else -1.0
        self.saved_at = self.counted_at = time.monotonic()
        """When the last checkpoint was whole, and until when `train_seconds` counts"""

    def run(self) -> dict[str, Any] | None:
        """Trains to the end, saves, and returns the result's record; None but in the first process."""
        self._go_on()
        in_step = self.ranks.together(self.forward, isinstance(self.forward, Padded))
        self._say_begin()
        start_seconds = time.monotonic() - Clock.began
        self.saved_at = self.counted_at = time.monotonic()
        while self.progress.step < self.total_steps:
            self._step(in_step)
            done = f"step {self.progress.step} of {self.total_steps}"
            if self.progress.step in self.evaluate_after and self._evaluate_and_keep():
                break
            is_late = self.ranks.is_first and time.monotonic() - self.saved_at > SAVE_SECONDS
            # One sum for both: each is a round through all processes.
            stops, late = divmod(self.ranks.total(2 * self.stop.asked + is_late), 2)
            if (stops or late) and self.progress.step < self.total_steps:
                self._checkpoint()
                if stops:
                    raise Stopped(f"stopped by SIGTERM after {done}")
                if self.ranks.is_first:
                    say(done)
        return self._save(start_seconds) if self.ranks.is_first else None

    def steps(self) -> Iterator[int]:
        """Trains as `run` does, but evaluates and keeps nothing and never ends; each step's examples."""
        in_step = self.ranks.together(self.forward, isinstance(self.forward, Padded))
        self._say_begin()
        while True:
            batch = self._rows_of(*divmod(self.progress.step, self.steps_per_epoch))
            self._step(in_step)
            yield len(batch)
            self.progress.step %= self.total_steps

    def _precision(self) -> str:
        wanted, native = self.config.precision, has_native_bf16(self.device)
        if wanted == "fp16" and self.device.type not in FP16_DEVICES:
            raise BadInput("precision fp16 needs a GPU; precision auto takes what the device has")
        if wanted == "bf16" and not native and self.ranks.is_first:
            say(
                "bf16 is emulated on this device and many times slower; --precision auto avoids that"
            )
        if wanted != "auto":
            return wanted
        return "bf16" if native else "fp32"

    def _autocast(self) -> torch.autocast:
        kind = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, kind, enabled=self.precision != "fp32")

    def _go_on(self) -> None:
        """From the checkpoint, where there is one of this very run."""
        if restored := checkpoint.restore(self.folder, self.identity, self.model, self.optimizer):
            self.progress, extra = restored
            self.best_weights = extra.get("best") or None
            self.average.load(extra.get("average", {}))
            self._put_back_random(extra.get("random", {}))
            if self.progress.loss_scale is not None:
                self.scaler.load_state_dict(self.scaler.state_dict() | self.progress.loss_scale)
            if self.ranks.is_first:
                say(f"resumes from step {self.progress.step} of {self.total_steps} ({self.folder})")
            # Who reads may have missed a line when this run was cut off; AWS keeps all of them, and counts.
            if self.ranks.is_first and "TRAINING_JOB_NAME" not in os.environ:
                for record in self.progress.evaluations:
                    emit(record)
        if len(set(self.ranks.gathered(self.progress.step))) > 1:
            raise TrainingFailed(
                f"the processes do not find the same checkpoint in {self.folder}; on several machines it has "
                "to be a folder that they share, and an empty one begins anew"
            )

    def _say_begin(self) -> None:
        """What is trained how; before it, what the frozen layers make of texts that do not change."""
        changes = self.config.augment != "none"
        parts = [self.validation_rows] if changes else [self.rows, self.validation_rows]
        remembered = remember_frozen(self.forward, parts, self._autocast, self.device)
        if not self.ranks.is_first:
            return
        processes = f"{self.ranks.count} processes, " if self.ranks.count > 1 else ""
        say(
            f"{self.config.task}: {len(self.splits.train)} training, {len(self.validation)} validation "
            f"examples; {self.config.model} in {self.precision} on {self.device.type}, {self.path}, "
            f"{processes}{torch.get_num_threads()} threads; {self.total_steps} steps"
        )
        if remembered:
            say(remembered)

    def _rows_of(self, epoch: int, batch: int) -> list[int]:
        """The examples of a batch: each epoch has an order and augmented texts of its own."""
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.config.seed * 1000 + epoch)
            self.order = torch.randperm(len(self.rows), generator=generator).tolist()
            texts = augment.augmented(
                self.splits.train,
                self.config.augment,
                self.config.augment_share,
                self.config.seed,
                epoch,
            )
            rows = tokenize(self.tokenizer, list(texts.values()), self.config.max_length)
            self.epoch, self.changed = epoch, dict(zip(texts, rows, strict=True))
        size = self.config.batch_size
        return self.order[batch * size : (batch + 1) * size]

    def _step(self, in_step: torch.nn.Module) -> None:
        """One optimizer step."""
        config, progress = self.config, self.progress
        batch = self._rows_of(*divmod(progress.step, self.steps_per_epoch))
        factor = schedule_factor(
            progress.step,
            self.total_steps,
            self.warmup_steps,
            config.schedule,
            config.schedule_power,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor * group["share"]
        self.forward.train()
        self.optimizer.zero_grad(set_to_none=True)
        batch_loss = self.ranks.total(self._gradients(in_step, batch))
        if not math.isfinite(batch_loss):
            raise TrainingFailed(self._not_finite("the loss", progress.step + 1))
        if config.max_grad_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.recent_losses.append(batch_loss)
        progress.step += 1
        self.average.update(progress.step)

    def _gradients(self, in_step: torch.nn.Module, batch: list[int]) -> float:
        """Adds up the gradients of a batch, part by part; this process's part of the loss."""
        own, counts = self.ranks.share(batch)
        whole = self.loss.weight_of(self.labels_N[batch])
        size = math.ceil(len(own) / self.config.accumulation)
        parts = [own[start : start + size] for start in range(0, len(own), size)]
        total = 0.0
        for number, part in enumerate(parts, start=1):
            # All but the last part keep their gradients to this process.
            alone = getattr(in_step, "no_sync", nullcontext) if number < len(parts) else nullcontext
            with alone():
                rows = [self.changed.get(i, self.rows[i]) for i in part] * self.loss.passes
                with self._autocast():
                    logits = in_step(self.forward.collate(rows).to(self.device))
                labels = self.labels_N[part].to(self.device)
                loss = counts * self.loss.of(logits, labels, whole / len(batch)) / whole
                # The gradients of the processes are averaged, while their losses add up.
                self.scaler.scale(loss * self.ranks.count).backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        return total

    def _evaluate_and_keep(self) -> bool:
        """Evaluates, says so, keeps what is to be kept, writes a checkpoint; whether to end early."""
        ends = False
        self._count_training()
        if self.ranks.is_first:
            clock = time.monotonic()
            with self.average.in_place():
                measured, logits_NC = self._evaluate()
                self._note(measured, logits_NC)
            self.progress.evaluate_seconds += time.monotonic() - clock
            ends = self._patience_is_over()
        ends = bool(self.ranks.total(ends))
        self.counted_at = time.monotonic()
        if self.progress.step < self.total_steps and not ends:
            self._checkpoint()
        return ends

    def _evaluate(self) -> tuple[dict[str, float], np.ndarray]:
        """The scores on the validation split, and its logits (N, C)."""
        self.forward.eval()
        rows = self.validation_rows
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        logits_NC = np.empty((len(rows), len(self.splits.labels)), dtype=np.float64)
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(by_length), EVALUATION_BATCH):
                some = by_length[start : start + EVALUATION_BATCH]
                batch = self.forward.collate([rows[i] for i in some]).to(self.device)
                logits_NC[some] = self.forward(batch).float().cpu().numpy()
        if not np.isfinite(logits_NC).all():
            raise TrainingFailed(self._not_finite("an output", self.progress.step))
        return scores(logits_NC, np.asarray(self.validation.labels)), logits_NC

    def _note(self, measured: dict[str, float], logits_NC: np.ndarray) -> None:
        """The evaluation's record, said and kept; the weights too where they lead."""
        config, progress = self.config, self.progress
        record = {
            "epoch": round(progress.step / self.steps_per_epoch, 4),
            "fraction": self.evaluate_after[progress.step],
            "step": progress.step,
            "train_loss": sum(progress.recent_losses) / max(1, len(progress.recent_losses)),
            **measured,
        }
        progress.recent_losses.clear()
        emit(record)
        leader = max(map(self._goodness, progress.evaluations), default=-math.inf)
        progress.evaluations.append(record)
        if config.keep == "last":
            self.kept_logits_NC = logits_NC
        elif self._goodness(record) > leader:
            state = self.model.state_dict()
            self.best_weights = {k: t.detach().cpu().clone() for k, t in state.items()}
            self.kept_logits_NC = logits_NC

    def _goodness(self, record: dict[str, Any]) -> float:
        return float(record[self.config.metric]) * self.direction

    def _patience_is_over(self) -> bool:
        """Whether as many evaluations as `early_stopping` says have not beaten the one before them.

        In the warmup little is learned, so what is measured in it does not count.
        """
        patience = self.config.early_stopping
        done = self.progress.evaluations
        found = [self._goodness(e) for e in done if e["step"] > self.warmup_steps]
        if not patience or len(found) <= patience:
            return False
        return max(found[-patience:]) <= max(found[:-patience])

    def _count_training(self) -> None:
        now = time.monotonic()
        self.progress.train_seconds += now - self.counted_at
        self.counted_at = now

    def _checkpoint(self) -> None:
        """The first process writes it, with the random states of all."""
        self._count_training()
        states = self.ranks.gathered(checkpoint.random_state())
        if not self.ranks.is_first:
            return
        self.progress.loss_scale = self.scaler.state_dict() or None
        extra = {
            "best": self.best_weights or {}, "average": self.average.weights,
            "random": {f"{rank}.{k}": t for rank, each in enumerate(states) for k, t in each.items()},
        }  # fmt: skip
        checkpoint.save(
            self.folder, self.identity, self.progress, self.model, self.optimizer, extra
        )
        self.saved_at = self.counted_at = time.monotonic()

    def _put_back_random(self, states: dict[str, Tensor]) -> None:
        """The process's own; where more of them go on than there were, a new one."""
        own = f"{self.ranks.rank}."
        mine = {k.removeprefix(own): t for k, t in states.items() if k.startswith(own)}
        if mine:
            checkpoint.set_random_state(mine)
        else:
            torch.manual_seed(self.config.seed + 1_000_003 * self.ranks.rank + self.progress.step)

    def _save(self, start_seconds: float) -> dict[str, Any]:
        """Writes the model and its predictions; the result's record."""
        config, clock = self.config, time.monotonic()
        if config.keep == "best" and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        else:
            self.average.settle()
        if self.kept_logits_NC is None:  # measured before this process began
            _, self.kept_logits_NC = self._evaluate()
        # For predict.py; transformers' own class reads [CLS]. The folder begun from may say another.
        if config.pooling != getattr(self.model.config, "pooling", "cls"):
            self.model.config.pooling = config.pooling
        self.tokenizer.model_max_length = config.max_length
        save_model(self.model, self.tokenizer, Path(config.model_dir))
        write_predictions(
            Path(config.output_data_dir), self.splits, self.kept_logits_NC.argmax(axis=1).tolist()
        )
        # A folder that the tuner gave stays until it has noted the result; on SageMaker AWS notes it.
        if "CHECKPOINT_DIR" not in os.environ or "TRAINING_JOB_NAME" in os.environ:
            checkpoint.clear(self.folder)
        seconds = {
            "start_seconds": start_seconds,
            "train_seconds": self.progress.train_seconds,
            "evaluate_seconds": self.progress.evaluate_seconds,
            "save_seconds": time.monotonic() - clock,
        }
        trained = min(self.progress.step / self.steps_per_epoch, config.epochs)
        result = result_of(config, self.progress.evaluations, self.direction, seconds)
        return result | {
            "examples_per_second": round(
                len(self.splits.train) * trained / max(self.progress.train_seconds, 1e-9), 2
            ),
            "ended_early": self.progress.step < self.total_steps,
            "precision": self.precision,
            "path": self.path.split(",")[0],
            "pretrained_sha256": self.pretrained_sha256,
        }

    def _not_finite(self, what: str, step: int) -> str:
        config = self.config
        narrow = "; so does precision bf16 or fp32: fp16 ends at 65504"
        return (
            f"{what} is not finite at step {step} of {self.total_steps} (learning_rate "
            f"{config.learning_rate:g}, max_grad_norm {config.max_grad_norm:g}); a lower learning_rate "
            f"or a longer warmup helps{narrow if self.precision == 'fp16' else ''}"
        )


def _dropouts(config: TrainConfig) -> tuple[float, float, float]:
    """Of the layers, of the attention, before the classifier."""
    rates = (config.dropout, config.attention_dropout, config.classifier_dropout)
    return tuple(rate if rate >= 0 else config.dropout for rate in rates)  # type: ignore[return-value]
