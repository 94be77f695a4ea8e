"""The state of a run, in one safetensors file, so that a killed run goes on where it was.

No pickle: tensors are safetensors, the rest is JSON in the file's own header. The file is written
beside and renamed, and the one before is kept, so there is always a whole one.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

NUMBERS = 3
"""Goes up where the same options begin to give other numbers, as by another stream of random ones"""
LATEST, PREVIOUS = "state.safetensors", "state.previous.safetensors"


@dataclass
class Progress:
    """Where a run stands: optimizer steps done, and what was measured so far."""

    step: int
    evaluations: list[dict[str, Any]]
    train_seconds: float
    evaluate_seconds: float
    recent_losses: list[float]
    """Of the steps since the last evaluation"""
    loss_scale: dict[str, Any] | None = None
    """The state of fp16's scaling"""


def identity_hash(identity: dict[str, Any]) -> str:
    """A short name for all that decides a run's numbers; a checkpoint of another run is not used."""
    said = json.dumps([NUMBERS, identity], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def save(
    folder: Path,
    identity: str,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Mapping[str, torch.Tensor]] = {},
) -> None:
    """Writes the whole state; the file that was there becomes the previous one.

    `extra` are more tensors by the name of their kind, such as the weights of the best evaluation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    steps: dict[str, float] = {}
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        for key, value in state.items():
            if key == "step":
                steps[name] = float(value)
            else:
                tensors[f"optimizer.{key}.{name}"] = value
    for kind, weights in extra.items():
        tensors |= {f"{kind}.{name}": tensor for name, tensor in weights.items()}
    header = {
        "identity": identity, "step": progress.step, "evaluations": progress.evaluations,
        "train_seconds": progress.train_seconds, "evaluate_seconds": progress.evaluate_seconds,
        "optimizer_steps": steps, "recent_losses": progress.recent_losses,
        "loss_scale": progress.loss_scale, "extra": list(extra),
    }  # fmt: skip
    part = folder / (LATEST + ".part")
    # Tied or transposed tensors may share memory, which safetensors refuses.
    unshared = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()
    }
    save_file(unshared, part, metadata={"run": json.dumps(header)})
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if (folder / LATEST).exists():
        os.replace(folder / LATEST, folder / PREVIOUS)
    os.replace(part, folder / LATEST)


def restore(
    folder: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]] | None:
    """Loads the newest whole state of this very run, and its extra tensors; None where there is none."""
    for name in (LATEST, PREVIOUS):
        try:
            with safe_open(folder / name, framework="pt") as file:
                header = json.loads(file.metadata()["run"])
                if header["identity"] != identity:
                    continue
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
            continue  # absent, cut off or not ours: the previous one, or from the start
        return _put_back(header, tensors, model, optimizer)
    return None


def _put_back(
    header: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]]:
    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

    model.load_state_dict(part("model."))
    parameters = dict(model.named_parameters())
    for name, step in header["optimizer_steps"].items():
        device = parameters[name].device
        optimizer.state[parameters[name]] = {
            "step": torch.tensor(step, device=device if device.type == "cuda" else "cpu"),
            "exp_avg": tensors[f"optimizer.exp_avg.{name}"].to(device),
            "exp_avg_sq": tensors[f"optimizer.exp_avg_sq.{name}"].to(device),
        }
    progress = Progress(
        header["step"], header["evaluations"], header["train_seconds"],
        header["evaluate_seconds"], header.get("recent_losses", []), header.get("loss_scale"),
    )  # fmt: skip
    return progress, {kind: part(f"{kind}.") for kind in header.get("extra", [])}


def random_state() -> dict[str, torch.Tensor]:
    """That of this process's generators, by device."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(states: Mapping[str, torch.Tensor]) -> None:
    """Puts back what `random_state` gave."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def clear(folder: Path) -> None:
    """Removes the checkpoints of a finished run."""
    for name in (LATEST, PREVIOUS, LATEST + ".part"):
        (folder / name).unlink(missing_ok=True)
