"""Where the time of a packed training step goes, by kind of work: `make bench` (a minute).

A randomly initialised MiniLM-L6, 32 pairs as long as MRPC's, one thread, in float32 and in bfloat16 where the CPU has
it. What serves another operation counts there: conversions within a product are the product's. Prints the Markdown of docs/benchmarks.md.
"""

import argparse
from collections import defaultdict
from typing import Any

import torch
from steps import flops_a_token, make_model, make_step, rows_of
from torch.profiler import ProfilerActivity, profile

from train_script.model import has_native_bf16

PAIRS, STEPS = 32, 8
LAYERS, WIDTH = 6, 384
KINDS = {
    "weights times tokens": ("aten::linear", "aten::mm", "aten::addmm"),
    "attention's products": ("aten::bmm",),
    "dropout": ("_Dropout", "_DropoutBackward"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "layer norm": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "conversions between types, copies": ("aten::copy_",),
    "sums (residual, biases, gradients)": ("aten::add", "aten::add_", "aten::sum"),
    "gathering, splitting, joining": ("aten::index_select", "aten::scatter_add_", "aten::cat"),
    "the embeddings' gradient": ("aten::embedding_dense_backward",),
    "clipping": ("clipping",),
    "AdamW, all 22 M weights": ("aten::_fused_adamw_",),
}


def kind_of(event: Any) -> str:
    """The kind of the outermost event around this one that has one."""
    found = "everything else"
    while event is not None:
        found = next((kind for kind, names in KINDS.items() if event.name in names), found)
        event = event.cpu_parent
    return found


def measured(bf16: bool) -> tuple[dict[str, float], int]:
    """Milliseconds of a step by kind; the tokens in it."""
    rows = rows_of(PAIRS)
    step = make_step(make_model(LAYERS, WIDTH), "packed", 128, bf16)
    for _ in range(3):
        step(rows)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step(rows)
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.events() or ():
        spent[kind_of(event)] += event.self_cpu_time_total / 1000 / STEPS
    return spent, sum(len(row["input_ids"]) for row in rows)


def main() -> None:
    """Measures and prints."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    kinds = ["fp32", "bf16"] if has_native_bf16(torch.device("cpu")) else ["fp32"]
    found = {kind: measured(kind == "bf16") for kind in kinds}
    print(f"| part of a step | {' | '.join(f'{kind}, ms | share' for kind in kinds)} |")
    print(f"| --- |{' --- | --- |' * len(kinds)}")
    last = found[kinds[-1]][0]
    for part in sorted(last, key=lambda part: -last[part]):
        cells = [
            f"{spent[part]:.0f} | {spent[part] / sum(spent.values()):.0%}"
            for spent, _ in found.values()
        ]
        print(f"| {part} | {' | '.join(cells)} |")
    cells = [f"{sum(spent.values()):.0f} |" for spent, _ in found.values()]
    print(f"| all | {' | '.join(cells)} |")
    for kind, (spent, tokens) in found.items():
        rate = tokens * flops_a_token(LAYERS, WIDTH) / spent["weights times tokens"] / 1e6
        print(f"\n{kind}: {rate:.0f} GFLOP/s in the products of weights themselves.")


if __name__ == "__main__":
    main()
