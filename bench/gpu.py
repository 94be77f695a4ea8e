"""A randomly initialised BERT-base on a GPU: `python bench/gpu.py --data path/to/MRPC` (part of `make bench`).

First the sweeps of bench/sweeps.py, all ways, on the first GPU; then one epoch of MRPC's number of pairs and lengths in random
words, padded and packed. Random weights learn nothing: this is of speed alone. Says so where there is no GPU; `--cpu`
runs it all the same, with a small model to see that it works.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from steps import WAYS, Rows, make_model, make_step, rows_of
from transformers import AutoTokenizer

import sweeps
from train_script.pretrained import locate_model

PAIRS, BATCHES, MOST = 3668, (16, 32), 128


def write_model(folder: Path, layers: int, width: int) -> None:
    """A BERT of random weights, with the words of the offline model."""
    make_model(layers, width).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate_model("minilm-l6")).save_pretrained(folder)


def epochs(layers: int, width: int, pairs: int, device: str) -> str:
    """Seconds of one epoch in bf16 by way and batch size: the ways alternate, the better of two rounds counts."""
    rows = rows_of(pairs, most=MOST)
    lines = [
        f"| batch | {' | '.join(f'{way}, s an epoch' for way in WAYS)} |",
        f"| --- |{' --- |' * len(WAYS)}",
    ]
    for size in BATCHES:
        rounds = [
            [epoch(way, rows, size, make_model(layers, width).to(device)) for way in WAYS]
            for _ in range(2)
        ]
        best = map(min, zip(*rounds, strict=True))
        lines.append(f"| {size} | {' | '.join(f'{seconds:.2f}' for seconds in best)} |")
    return "\n".join(lines)


def epoch(way: str, rows: Rows, size: int, model: torch.nn.Module) -> float:
    """Seconds of one epoch, after a few steps to warm up."""
    step = make_step(model, way, MOST, bf16=True)
    batches = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
    for batch in batches[:10]:
        step(batch)
    _wait()
    began = time.perf_counter()
    for batch in batches:
        step(batch)
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Measures and prints Markdown, or says that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="MRPC's folder; left out: the demo's sentences.")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--ways", default="abcde")
    parser.add_argument("--trials", type=int, default=12, choices=(4, 8, 12))
    parser.add_argument("--cpu", action="store_true", help="Without a GPU too, with a small model.")
    options = parser.parse_args()
    # Of several the first alone: a Trainer would divide each batch between them.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if not torch.cuda.is_available() and not options.cpu:
        print("There is no GPU here, so nothing was measured.")
        return
    layers, width = (2, 128) if options.cpu else (12, 768)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {layers} layers of {width}\n", flush=True)
    with tempfile.TemporaryDirectory() as place:
        write_model(Path(place), layers, width)
        data = ["--data", options.data] if options.data else []
        sweeps.main([
            "--model", place, "--pairs", str(options.pairs), "--ways", options.ways,
            "--trials", str(options.trials), *data,
        ])  # fmt: skip
    print(f"\n{epochs(layers, width, options.pairs, device)}")


if __name__ == "__main__":
    main()
