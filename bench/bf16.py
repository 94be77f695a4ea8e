"""`train_script/train.py` with bfloat16's numbers on a CPU that is quick in single precision alone.

Under `--precision bf16` each product of two bfloat16 matrices is computed in float32 and rounded. That is
what hardware with bfloat16 does (exact products, summed in float32), but for the order of the sum. A
sweep file names this file as its `script`; docs/benchmarks.md has the one that was run.

    python bench/bf16.py --data ...   takes what train_script/train.py takes
    python bench/bf16.py --check      a step's gradients beside those of torch's own bfloat16 and of float32
"""

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: make `bench` importable, and not its parts
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
}


class RoundedProducts(TorchDispatchMode):
    """Products of bfloat16 matrices in float32, rounded to bfloat16."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in PRODUCTS and args[-1].dtype == torch.bfloat16:
            return func(*(a.float() for a in args), **kwargs).bfloat16()
        return func(*args, **kwargs)


def gradients(bf16: bool, rounded: bool) -> tuple[Tensor, float]:
    """A packed step's gradients, end to end, of a small BERT without dropout; the seconds of the next step."""
    from bench.steps import make_model, make_step, rows_of

    model, rows = make_model(6, 384), rows_of(8)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    step = make_step(model, "packed", 128, bf16)
    with RoundedProducts() if rounded else nullcontext():
        step(rows)
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        clock = time.perf_counter()
        step(rows)
    return found, time.perf_counter() - clock


def check() -> None:
    """Prints how far apart the gradients of the three are, as a share of their length."""
    single, single_s = gradients(bf16=False, rounded=False)
    native, native_s = gradients(bf16=True, rounded=False)
    rounded, rounded_s = gradients(bf16=True, rounded=True)
    print("| gradients | apart | seconds a step |\n| --- | --- | --- |")
    for name, one, other, seconds in (
        ("float32", single, single, single_s),
        ("torch's bfloat16 and float32", native, single, native_s),
        ("rounded products and float32", rounded, single, rounded_s),
        ("rounded products and torch's bfloat16", rounded, native, rounded_s),
    ):
        print(f"| {name} | {float((one - other).norm() / single.norm()):.4f} | {seconds:.2f} |")


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        from train_script.train import main

        with RoundedProducts():
            sys.exit(main())
