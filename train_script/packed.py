"""The forward pass of BERT and its kin over the tokens of a batch laid end to end: nothing is computed for padding.

The same parameters and the same mathematics as transformers' own classifier (of the types in `PACKED`), which
stays the owner of the weights; what is saved and loaded is that one. Saved is the work on padding, on
what nobody reads (the last layer's output but for [CLS]), and on drawing dropout masks bit by bit.

Names of tensors end in their shape: B sequences, R tokens of all of them, N those and a few that are
nobody's, T positions in one sequence, D hidden size, H heads, G sequences of a group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from train_script.pretrained import COUNTS_FROM_TWO, PACKED

GROUP = 8
"""Sequences of about one length share one attention product; those of a group are padded to the longest"""
ROWS, POSITIONS = 32, 8
"""Of these N and T are multiples: oneDNN makes a kernel for each new shape, which took a seventh of a step
where each batch had its own"""


@dataclass(frozen=True)
class Group:
    """Sequences whose tokens are the rows `start` to `end`; `place_GT` says where each position lies.

    `mask_GT` is 0 where there is a token and minus infinity elsewhere; None where all have T tokens,
    and so is `real_M`, the places in (G, T) that hold a token.
    """

    start: int
    end: int
    size: int
    place_GT: Tensor | None
    real_M: Tensor | None
    mask_GT: Tensor | None


@dataclass(frozen=True)
class Packed:
    """A batch: its tokens end to end, ordered by length; `order_B` leads back to the batch's order.

    `sequence_R` numbers each token's sequence; what comes after these is in no group, and nobody reads
    what becomes of it. `state` is what the frozen layers made of the tokens (N, D), or of the sequences (B, D) where all layers are frozen; None where it is not remembered.
    """

    ids_N: Tensor
    types_N: Tensor
    positions_N: Tensor
    sequence_R: Tensor
    first_B: Tensor
    order_B: Tensor
    groups: tuple[Group, ...]
    state: Tensor | None = None

    def to(self, device: torch.device) -> "Packed":
        """The same on another device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        if device.type == "cpu":
            return self
        groups = tuple(
            Group(g.start, g.end, g.size, moved(g.place_GT), moved(g.real_M), moved(g.mask_GT))
            for g in self.groups
        )
        tensors = (
            self.ids_N, self.types_N, self.positions_N, self.sequence_R, self.first_B, self.order_B
        )  # fmt: skip
        ids, types, positions, sequence, first, order = (
            tensor.to(device, non_blocking=True) for tensor in tensors
        )
        return Packed(ids, types, positions, sequence, first, order, groups, moved(self.state))


def pack(rows: Sequence[dict[str, Any]]) -> Packed:
    """Tokenized examples (`input_ids`, perhaps `token_type_ids` and a remembered `state`) as one batch."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    ids: list[int] = []
    types: list[int] = []
    positions: list[int] = []
    first: list[int] = []
    groups = []
    for begin in range(0, len(order), GROUP):
        members = [rows[i] for i in order[begin : begin + GROUP]]
        lengths = [len(row["input_ids"]) for row in members]
        start = len(ids)
        for row, length in zip(members, lengths, strict=True):
            first.append(len(ids))
            ids += row["input_ids"]
            types += row.get("token_type_ids") or [0] * length
            positions += range(length)
        groups.append(_group(start, lengths))
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    first_B = torch.tensor(first)
    lengths_B = torch.diff(first_B, append=torch.tensor([len(ids)]))
    nobody_s = [0] * (-len(ids) % ROWS)
    state = None
    if all("state" in row for row in rows):
        states = [rows[i]["state"] for i in order]
        one = states[0]
        rest = one.new_zeros(len(nobody_s), one.shape[-1])
        state = torch.stack(states) if one.ndim == 1 else torch.cat([*states, rest])
    return Packed(
        torch.tensor(ids + nobody_s), torch.tensor(types + nobody_s), torch.tensor(positions + nobody_s),
        torch.arange(len(order)).repeat_interleave(lengths_B), first_B, back, tuple(groups), state,
    )  # fmt: skip


def _group(start: int, lengths: list[int]) -> Group:
    longest, count = -(-lengths[-1] // POSITIONS) * POSITIONS, sum(lengths)
    if lengths[0] == longest:
        return Group(start, start + count, len(lengths), None, None, None)
    length_G = torch.tensor(lengths)
    is_real_GT = torch.arange(longest) < length_G[:, None]
    begin_G = torch.cumsum(length_G, 0) - length_G
    # A place without a token shows some other token, which the mask hides.
    place_GT = torch.where(is_real_GT, begin_G[:, None] + torch.arange(longest), 0)
    mask_GT = torch.zeros(is_real_GT.shape).masked_fill_(~is_real_GT, -torch.inf)
    real_M = is_real_GT.flatten().nonzero().squeeze(1)
    return Group(start, start + count, len(lengths), place_GT, real_M, mask_GT)


def why_not(model: Any) -> str:
    """Why this model cannot be computed so; empty where it can."""
    config = model.config
    if config.model_type not in PACKED:
        return f"{type(model).__name__} is none of the models that it knows ({', '.join(PACKED)})"
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "a decoder attends to less than all tokens"
    if getattr(config, "position_embedding_type", "absolute") not in (None, "absolute"):
        return f"its positions are {config.position_embedding_type}"
    return ""


class _Dropout(torch.autograd.Function):
    """Dropout from 16 random bits an element, drawn 64 at a time: exact to 1/65,536 of a probability.

    NumPy draws them in half of torch's time, from a seed that torch draws, and promises that a seed's stay the same. The mask is 0
    and 1 in x's own type: a product of two types takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw((x.numel() + 3) // 4)
        bits = torch.from_numpy(words.view(np.int16)[: x.numel()]).view(x.shape)
        drop = min(round(p * 65536), 65535)
        kept = torch.ge(bits, drop - 32768, out=torch.empty_like(x))
        ctx.scale = 65536 / (65536 - drop)
        ctx.save_for_backward(kept)
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grads[0] * kept).mul_(ctx.scale), None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout; on the CPU with a cheaper mask than torch's own."""
    if not training or not p:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    return _Dropout.apply(x, p)  # type: ignore[no-any-return,no-untyped-call]


class KeepsFrozen(nn.Module):
    """A module some of whose parts stay as they are: these drop nothing out while it trains."""

    frozen: Sequence[nn.Module] = ()

    def train(self, mode: bool = True) -> "KeepsFrozen":
        """Training mode for all but what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


class PackedBert(KeepsFrozen):
    """A classifier of a type in `PACKED` that takes a `Packed` batch; logits in the batch's order.

    `frozen` (the embeddings, then layers from the lowest up) is computed without dropout and gradient. With
    `pooling` "mean" the head reads the mean over the tokens. With `saves_memory` each layer that learns is
    computed a second time for its gradients, but for the last one where it is computed at [CLS] alone.
    """

    collate = staticmethod(pack)

    def __init__(
        self, model: Any, frozen: Sequence[nn.Module] = (), pooling: str = "cls",
        saves_memory: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model = model
        self.frozen, self.pooling, self.saves_memory = list(frozen), pooling, saves_memory
        self.layers: list[Any] = list(model.base_model.encoder.layer)
        self.below = max(0, len(self.frozen) - 1)
        """How many layers are frozen"""
        self.heads = int(model.config.num_attention_heads)
        config = model.config
        self.first_position = config.pad_token_id + 1 if config.model_type in COUNTS_FROM_TWO else 0

    @property
    def is_headless(self) -> bool:
        """Whether nothing of the encoder learns."""
        return self.below == len(self.layers)

    def forward(self, batch: Packed) -> Tensor:
        """Logits, (B, C)."""
        x = self._frozen_state(batch)
        if not self.is_headless:
            x = self._pooled(x, batch, self.below)
        return self._head(x)[batch.order_B]

    def _head(self, x_BD: Tensor) -> Tensor:
        pooler = getattr(self.model.base_model, "pooler", None)
        if (
            pooler is None
        ):  # a head that reads the first of a sequence's tokens, with its own dropout
            return self.model.classifier(x_BD[:, None])  # type: ignore[no-any-return]
        x_BD = dropout(pooler.activation(pooler.dense(x_BD)), self.model.dropout.p, self.training)
        return self.model.classifier(x_BD)  # type: ignore[no-any-return]

    def frozen_states(self, batch: Packed) -> list[Tensor]:
        """What the frozen layers make of each example, in the batch's order: (T, D), or (D,) of all layers."""
        state = self._frozen_state(batch).float()
        if self.is_headless:
            return list(state[batch.order_B])
        lengths = torch.bincount(batch.sequence_R).tolist()
        parts = torch.split(state[: len(batch.sequence_R)], lengths)
        return [parts[i].clone() for i in batch.order_B.tolist()]

    def _frozen_state(self, batch: Packed) -> Tensor:
        """The input of the first layer that learns, (N, D); of the head, (B, D), where none does."""
        if batch.state is not None:
            return batch.state
        if not self.frozen:
            return self._embedded(batch)
        with torch.no_grad():
            x_ND = self._embedded(batch)
            if self.is_headless:
                return self._pooled(x_ND, batch, 0)
            for layer in self.layers[: self.below]:
                x_ND = self._layer(layer, x_ND, batch.groups)
        return x_ND

    def _pooled(self, x_ND: Tensor, batch: Packed, begin: int) -> Tensor:
        """The rest of the layers, and what of the last one's output the head reads, (B, D)."""
        whole = self.pooling == "mean"
        for layer in self.layers[begin:] if whole else self.layers[begin:-1]:
            if self.saves_memory and torch.is_grad_enabled():
                x_ND = checkpoint(self._layer, layer, x_ND, batch.groups, use_reentrant=False)
            else:
                x_ND = self._layer(layer, x_ND, batch.groups)
        if not whole:
            return self._last_layer(self.layers[-1], x_ND, batch)
        x_RD = x_ND[: len(batch.sequence_R)]
        sums_BD = x_RD.new_zeros(len(batch.first_B), x_RD.shape[1]).index_add(
            0, batch.sequence_R, x_RD
        )
        return sums_BD / torch.bincount(batch.sequence_R)[:, None]

    def _embedded(self, batch: Packed) -> Tensor:
        parts = self.model.base_model.embeddings
        x_ND = parts.word_embeddings(batch.ids_N)
        x_ND = x_ND + parts.token_type_embeddings(batch.types_N)
        x_ND = x_ND + parts.position_embeddings(batch.positions_N + self.first_position)
        x_ND = dropout(parts.LayerNorm(x_ND), parts.dropout.p, parts.training)
        widened = getattr(self.model.base_model, "embeddings_project", None)  # ELECTRA's
        return x_ND if widened is None else widened(x_ND)

    def _layer(self, layer: Any, x_ND: Tensor, groups: Sequence[Group]) -> Tensor:
        own = layer.attention.self
        qkv_NE = _at_once(x_ND, own.query, own.key, own.value)
        parts = [
            self._attended(own, g, *qkv_GTE.chunk(3, dim=2))
            for g, qkv_GTE in _by_group(qkv_NE, groups)
        ]
        parts = [
            y_GTD.flatten(0, 1)
            if g.real_M is None
            else y_GTD.flatten(0, 1).index_select(0, g.real_M)
            for y_GTD, g in zip(parts, groups, strict=True)
        ]
        parts.append(parts[0].new_zeros(len(x_ND) - groups[-1].end, parts[0].shape[1]))
        return self._after_attention(layer, torch.cat(parts), x_ND)

    def _last_layer(self, layer: Any, x_ND: Tensor, batch: Packed) -> Tensor:
        """Its output at [CLS] alone, which is all that the classifier reads, (B, D)."""
        own = layer.attention.self
        cls_BD = x_ND[batch.first_B]
        q_BD, kv_NE = own.query(cls_BD), _at_once(x_ND, own.key, own.value)
        q_by_group = torch.split(q_BD[:, None], [g.size for g in batch.groups])
        parts = [
            self._attended(own, g, q_G1D, *kv_GTE.chunk(2, dim=2))[:, 0]
            for q_G1D, (g, kv_GTE) in zip(q_by_group, _by_group(kv_NE, batch.groups), strict=True)
        ]
        return self._after_attention(layer, torch.cat(parts), cls_BD)

    def _after_attention(self, layer: Any, attended_MD: Tensor, x_MD: Tensor) -> Tensor:
        output, end = layer.attention.output, layer.output
        y_MD = dropout(output.dense(attended_MD), output.dropout.p, layer.training)
        # A sum of two types takes several times as long as a conversion and a sum.
        x_MD = output.LayerNorm(y_MD.to(x_MD.dtype) + x_MD)
        inner = layer.intermediate
        y_MD = end.dense(inner.intermediate_act_fn(inner.dense(x_MD)))
        y_MD = dropout(y_MD, end.dropout.p, layer.training)
        return end.LayerNorm(y_MD.to(x_MD.dtype) + x_MD)  # type: ignore[no-any-return]

    def _attended(self, own: Any, g: Group, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention within each sequence of a group; q (G, T or 1, D), k and v (G, T, D)."""
        q, k, v = (x.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in (q, k, v))
        mask = None if g.mask_GT is None else g.mask_GT[:, None, None].to(q.dtype)
        p = own.dropout.p if own.training else 0.0
        if p == 0.0 or q.device.type != "cpu":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        else:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
            if mask is not None:
                scores = scores + mask
            y = dropout(scores.softmax(-1), p, own.training) @ v
        return y.transpose(1, 2).flatten(2)


def _at_once(x_ND: Tensor, *parts: nn.Linear) -> Tensor:
    """What several linear maps make of x, side by side, by one product."""
    return F.linear(x_ND, torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))


def _by_group(x_NE: Tensor, groups: Sequence[Group]) -> Iterator[tuple[Group, Tensor]]:
    """Each group with its tokens as (G, T, E)."""
    sizes = [g.end - g.start for g in groups]
    *own, _ = torch.split(x_NE, [*sizes, len(x_NE) - sum(sizes)])
    for g, mine in zip(groups, own, strict=True):
        if g.place_GT is not None:
            # The gradient of this gather is a plain sum; that of indexing is sorted first.
            mine = mine.index_select(0, g.place_GT.flatten())
        yield g, mine.view(g.size, -1, mine.shape[1])
