"""One epoch of a randomly initialised BERT-base on a GPU, packed and padded: `python bench/gpu.py`.

MRPC's number of pairs and lengths, random words. Says so where there is no GPU.
"""

import json
import sys
import time

import torch
from transformers import BertConfig, BertForSequenceClassification

from train_script.packed import PackedBert, pack

PAIRS, BATCHES = 3668, (16, 32)


def rows_of(count: int) -> list[dict[str, list[int]]]:
    """Random tokens with lengths as MRPC's: 53 on average, 20 to 103."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.normal(53.0, 13.0, (count,), generator=generator).round().clamp(20, 103)
    return [
        {"input_ids": torch.randint(5, 30_000, (int(n),), generator=generator).tolist()}
        for n in lengths
    ]


def epoch(
    model: torch.nn.Module, rows: list[dict[str, list[int]]], size: int, packed: bool
) -> float:
    """Seconds of one epoch in bf16, after a few steps to warm up."""
    forward = PackedBert(model).train() if packed else model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    labels = torch.zeros(size, dtype=torch.long, device="cuda")
    batches = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]

    def step(batch: list[dict[str, list[int]]]) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            if packed:
                logits = forward(pack(batch).to(torch.device("cuda")))
            else:
                longest = max(len(row["input_ids"]) for row in batch)
                ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in batch]
                ids_BT = torch.tensor(ids, device="cuda")
                logits = forward(input_ids=ids_BT, attention_mask=(ids_BT > 0).long()).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for batch in batches[:10]:
        step(batch)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for batch in batches:
        step(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Measures and prints Markdown, or says that there is no GPU."""
    if not torch.cuda.is_available():
        print("There is no GPU here, so nothing was measured.")
        return
    rows = rows_of(PAIRS)
    model = BertForSequenceClassification(BertConfig(vocab_size=30_522)).cuda()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, BERT-base, bf16\n")
    print("| batch | padded s an epoch | packed s an epoch |")
    print("| --- | --- | --- |")
    found = {}
    for size in BATCHES:
        found[size] = [
            min(epoch(model, rows, size, packed) for _ in range(2)) for packed in (False, True)
        ]
        print(f"| {size} | {found[size][0]:.2f} | {found[size][1]:.2f} |")
    print(json.dumps(found), file=sys.stderr)


if __name__ == "__main__":
    main()
