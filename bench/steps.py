"""Training steps of a randomly initialised BERT on random words, by several ways of making batches."""

from collections.abc import Callable

import torch
from transformers import BertConfig, BertForSequenceClassification

from train_script.packed import PackedBert, pack

Rows = list[dict[str, list[int]]]
WAYS = ("padded to the most", "padded to the longest", "packed")


def flops_a_token(layers: int, width: int) -> int:
    """Of a packed BERT, forward and backward: 12 D² weights a layer, 6 operations each; of the last layer
    keys and values alone see all tokens.
    """
    return 6 * (12 * (layers - 1) + 2) * width**2


def rows_of(count: int, mean: float = 53.0, most: int = 128) -> Rows:
    """Random tokens with lengths about as MRPC's: 53 on average, a quarter of it their deviation."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.normal(mean, mean / 4, (count,), generator=generator).round().clamp(4, most)
    return [
        {"input_ids": torch.randint(5, 30_000, (int(n),), generator=generator).tolist()}
        for n in lengths
    ]


def make_model(
    layers: int = 12, width: int = 768, most: int = 512
) -> BertForSequenceClassification:
    """BERT of so many layers; heads of 64 (of 32 below a width of 512, as MiniLM's)."""
    torch.manual_seed(0)
    heads = width // (64 if width > 512 else 32)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=30_522, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * width, max_position_embeddings=most,
        )
    )  # fmt: skip


def make_step(
    model: BertForSequenceClassification, way: str, most: int, bf16: bool
) -> Callable[[Rows], None]:
    """A whole optimizer step on a batch, on the model's device."""
    device = model.device
    forward = PackedBert(model).train() if way == "packed" else model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)

    def step(batch: Rows) -> None:
        labels_B = torch.zeros(len(batch), dtype=torch.long, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            if way == "packed":
                logits_BC = forward(pack(batch).to(device))
            else:
                longest = max(len(row["input_ids"]) for row in batch)
                end = most if way == "padded to the most" else longest
                ids = [row["input_ids"] + [0] * (end - len(row["input_ids"])) for row in batch]
                ids_BT = torch.tensor(ids, device=device)
                logits_BC = forward(input_ids=ids_BT, attention_mask=(ids_BT > 0).long()).logits
        loss = torch.nn.functional.cross_entropy(logits_BC.float(), labels_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with torch.profiler.record_function("clipping"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
