"""Several processes that train one model together, as torchrun starts them; alone without it.

A batch is divided between them, so `batch_size` means the same whatever their number. The first
process evaluates, prints, writes checkpoints and saves; the others only train.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

PATIENCE = timedelta(hours=2)
"""How long the others wait while the first one evaluates or saves."""


@dataclass(frozen=True)
class Ranks:
    """One process: its place (`rank`, from 0) among `count` processes, and its device."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def start(cls, num_gpus: int) -> "Ranks":
        """Joins the processes that torchrun's variables name; `num_gpus` 0 keeps to the CPU."""
        count, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
        on_gpu = bool(num_gpus) and torch.cuda.is_available()
        device = torch.device("cuda" if on_gpu else "cpu")
        if count == 1:
            return cls(0, 1, device)
        if on_gpu:
            device = torch.device("cuda", local)
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
        return cls(distributed.get_rank(), count, device)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def share(self, rows: list[int]) -> tuple[list[int], bool]:
        """The rows of a batch that are for this process. A small last batch may leave none: then one row, False.

        That row only keeps the processes in step; its loss has to be multiplied by 0.
        """
        own = rows[self.rank :: self.count]
        return (own, True) if own else (rows[:1], False)

    def together(self, model: nn.Module, has_unused: bool) -> nn.Module:
        """The model for the forward pass; its gradients become the mean over the processes.

        `has_unused`: some parameters may take no part, as XLNet's for masked words in a classifier.
        """
        if self.count == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            model, device_ids=devices, find_unused_parameters=has_unused
        )

    def total(self, value: float) -> float:
        """The sum of every process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return float(shared)

    def gathered(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values
