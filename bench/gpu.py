"""One epoch of a randomly initialised BERT-base on a GPU, packed and padded: `python bench/gpu.py`.

MRPC's number of pairs and lengths, random words. Says so where there is no GPU.
"""

import json
import sys
import time

import torch
from steps import WAYS, Rows, make_model, make_step, rows_of

PAIRS, BATCHES, MOST = 3668, (16, 32), 128


def epoch(way: str, rows: Rows, size: int) -> float:
    """Seconds of one epoch in bf16, after a few steps to warm up."""
    step = make_step(make_model().cuda(), way, MOST, bf16=True)
    batches = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
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
    rows = rows_of(PAIRS, most=MOST)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, BERT-base, bf16\n")
    print(f"| batch | {' | '.join(f'{way}, s an epoch' for way in WAYS)} |")
    print(f"| --- |{' --- |' * len(WAYS)}")
    found = {}
    for size in BATCHES:
        found[size] = [min(epoch(way, rows, size) for _ in range(2)) for way in WAYS]
        print(f"| {size} | {' | '.join(f'{seconds:.2f}' for seconds in found[size])} |")
    print(json.dumps(found), file=sys.stderr)


if __name__ == "__main__":
    main()
