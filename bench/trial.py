"""What one trial costs and where its time goes: `make bench`.

Runs the training script on the demo with minilm-l6 with padded and packed batches, in each precision that the
machine has and each number of threads, the variants interleaved so that a slow minute of the machine hits all
of them, and prints a Markdown table of medians.
"""

import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import median

import torch

SCRIPT = Path(__file__).resolve().parent.parent / "train_script" / "train.py"
NATIVE = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
VARIANTS = list(product(("fp32", "bf16") if NATIVE else ("fp32",), (1, 2), ("off", "auto")))
REPEATS = 3
PARTS = (
    "start_seconds",
    "train_seconds",
    "evaluate_seconds",
    "save_seconds",
    "examples_per_second",
)


def trial(precision: str, threads: int, packing: str, folder: str) -> dict[str, float]:
    """The result line of one training run of 300 pairs, 1 epoch, batch 32."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads), "SM_MODEL_DIR": f"{folder}/model",
        "SM_OUTPUT_DATA_DIR": f"{folder}/output", "CHECKPOINT_DIR": f"{folder}/checkpoint",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--task", "demo", "--model", "minilm-l6", "--epochs", "1",
         "--train_limit", "300", "--precision", precision, "--evaluations", "1",
         "--packing", packing],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measures and prints."""
    measured: dict[tuple[str, int, str], list[dict[str, float]]] = {v: [] for v in VARIANTS}
    cores = len(os.sched_getaffinity(0))
    variants = [v for v in VARIANTS if v[1] <= cores]
    with tempfile.TemporaryDirectory() as folder:
        for i in range(REPEATS):
            for variant in variants:
                print(
                    f"repeat {i + 1} of {REPEATS}: {', '.join(map(str, variant))}",
                    file=sys.stderr,
                )
                measured[variant].append(trial(*variant, folder))
    print(
        "| batches | precision | threads | start s | train s | evaluate s | save s | examples/s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for precision, threads, packing in variants:
        runs = measured[precision, threads, packing]
        cells = [f"{median(run[part] for run in runs):.1f}" for part in PARTS]
        how = "padded" if packing == "off" else "packed"
        print(f"| {how} | {precision} | {threads} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
