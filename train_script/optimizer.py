"""What learns how fast: parameter groups, the schedule, and the running average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from train_script.config import TrainConfig
from train_script.model import depths_of


def schedule_factor(step: int, total: int, warmup: int, schedule: str, power: float = 2.0) -> float:
    """The learning rate of optimizer step `step` (from 0) as a share of its peak."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    left = 1.0 - (step - warmup) / max(1, total - warmup)
    shares = {
        "constant": 1.0,
        "linear": left,
        "cosine": 0.5 * (1.0 - math.cos(math.pi * left)),
        "polynomial": left**power,
    }
    return float(shares[schedule])


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with bias correction, which BERT's original lacked; each group's `share` of the rate.

    Weight decay is for matrices only. With `layer_decay` a layer's share falls with its distance from
    the head. Frozen parameters are in no group.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    depths = depths_of(model) if config.layer_decay < 1 else {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            share = config.layer_decay ** depths.get(parameter, 0)
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((share, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "share": share}
            for (share, decay), parameters in groups.items()
        ],
        lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True,
    )  # fmt: skip


class Average:
    """The running average of a model's learning weights; `ema` 0 keeps none.

    The average of step t has the decay min(ema, (1 + t) / (10 + t)): the first steps, when the weights
    are far from where they end, are soon forgotten.
    """

    def __init__(self, model: nn.Module, ema: float) -> None:
        self.ema = ema
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad and ema}
        self.weights = {n: p.detach().clone() for n, p in self.parameters.items()}

    def update(self, step: int) -> None:
        """After optimizer step `step` (from 1)."""
        if self.weights:
            decay = min(self.ema, (1 + step) / (10 + step))
            now = [p.detach() for p in self.parameters.values()]
            torch._foreach_lerp_(list(self.weights.values()), now, 1 - decay)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Takes the state of a checkpoint."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights within."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def settle(self) -> None:
        """The model has the averaged weights from now on."""
        self._swap()
        self.weights, self.parameters = {}, {}

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            mine = self.weights[name]
            self.weights[name], parameter.data = parameter.data, mine
