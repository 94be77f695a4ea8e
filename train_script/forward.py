"""How tokenized examples become logits: packed where the model allows it, else as transformers does.

A row is one tokenized example, a dict of lists. `PackedBert` and `Padded` have the same two methods:
`collate(rows)` makes a batch (with `.to(device)`), and calling the module on it gives logits (B, C).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from train_script.config import TrainConfig
from train_script.errors import BadInput
from train_script.packed import KeepsFrozen, PackedBert, why_not
from train_script.pretrained import POOLS_ITSELF

Row = dict[str, Any]
MOST_REMEMBERED_BYTES = 4 * 2**30


class Padded(KeepsFrozen):
    """Any classifier of transformers; each batch is padded to the longest of its examples."""

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, frozen: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.model = model
        # By it the classifiers of models that write find a text's last token.
        model.config.pad_token_id = tokenizer.pad_token_id
        self.frozen = list(frozen)
        self.collate = DataCollatorWithPadding(tokenizer)

    def forward(self, batch: Any) -> Tensor:
        """Logits, (B, C)."""
        return self.model(**batch).logits  # type: ignore[no-any-return]


def make_forward(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    config: TrainConfig,
    frozen: Sequence[nn.Module],
) -> tuple[PackedBert | Padded, str]:
    """The module that computes logits, and how it does so in a few words."""
    reason = why_not(model) if config.packing == "auto" else "packing is off"
    if not reason:
        packed = PackedBert(model, frozen, config.pooling, config.gradient_checkpointing == "on")
        return packed, "packed"
    if model.config.model_type in POOLS_ITSELF:
        model.config.classifier_pooling = config.pooling
    elif config.pooling != "cls":
        raise BadInput(f"pooling {config.pooling} works only with packed batches: {reason}")
    if config.gradient_checkpointing == "on":
        if not model.supports_gradient_checkpointing:
            raise BadInput(
                f"{type(model).__name__} does not support gradient_checkpointing: leave it out"
            )
        model.activation_checkpointing_enable()
        # That asks for the gradients of the embeddings too, for a form of checkpointing that is not
        # used here; through frozen layers it would keep all that checkpointing saves.
        model.disable_input_require_grads()
    return Padded(model, tokenizer, frozen), f"padded, since {reason}"


def remember_frozen(
    forward: PackedBert | Padded, parts: Sequence[list[Row]], autocast: Any, device: torch.device
) -> str:
    """Computes what the frozen layers make of every example, once; what was done, empty for nothing.

    It lies in the rows, on the device that trains.
    """
    if not forward.frozen:
        return ""
    if not isinstance(forward, PackedBert):
        return "the frozen layers are computed at every step, since batches are padded"
    tokens = sum(len(row["input_ids"]) for rows in parts for row in rows)
    width = forward.model.config.hidden_size
    examples = sum(map(len, parts))
    size = 4 * width * (examples if forward.is_headless else tokens)
    if size > MOST_REMEMBERED_BYTES:
        return (
            f"the frozen layers are computed at every step: remembered, their output would take "
            f"{size / 2**30:.0f} GiB"
        )
    forward.eval()
    with torch.no_grad(), autocast():
        for rows in parts:
            by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
            for start in range(0, len(by_length), 64):
                some = [rows[i] for i in by_length[start : start + 64]]
                states = forward.frozen_states(forward.collate(some).to(device))
                for row, state in zip(some, states, strict=True):
                    row["state"] = state
    return f"the frozen layers' output is remembered ({size / 2**20:.0f} MiB)"
