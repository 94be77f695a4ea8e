"""How the speed of a training step grows with length and model: `python bench/growth.py` (about six minutes).

Randomly initialised BERTs, random words, batch 16, all cores; the ways of making batches alternate batch by batch.
bf16 where the CPU has it. Prints the Markdown of docs/benchmarks.md.
"""

import argparse
import time
from statistics import median

import torch
from steps import WAYS, make_model, make_step, rows_of

BATCH = 16
CELLS = [  # layers, width, mean length, most
    (6, 384, 16, 128), (6, 384, 53, 128), (6, 384, 100, 128), (6, 384, 200, 512),
    (12, 384, 53, 128), (12, 768, 53, 128),
]  # fmt: skip


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=5, help="Of each way, after one to warm up.")
    options = parser.parse_args()
    bf16 = bool(torch.cpu._is_avx512_bf16_supported())
    print(f"| layers x width | tokens, mean of at most | {' | '.join(WAYS)} | packed / longest |")
    print(f"| --- | --- |{' --- |' * len(WAYS)} --- |")
    for layers, width, mean, most in CELLS:
        rows = rows_of(BATCH * (options.batches + 1), mean, most)
        steps = {way: make_step(make_model(layers, width), way, most, bf16) for way in WAYS}
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(options.batches + 1):
            batch = rows[number * BATCH : (number + 1) * BATCH]
            for way, step in steps.items():
                began = time.perf_counter()
                step(batch)
                seconds[way].append(time.perf_counter() - began)
        rates = {way: BATCH / median(times[1:]) for way, times in seconds.items()}
        ratio = rates["packed"] / rates["padded to the longest"]
        cells = " | ".join(f"{rate:.1f}" for rate in rates.values())
        print(f"| {layers} x {width} | {mean} of {most} | {cells} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
