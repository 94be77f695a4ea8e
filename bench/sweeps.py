"""The same twelve configurations by four ways of tuning: `make bench` (an hour and a half on two cores).

(a) one process after the other, each example padded to 128 tokens: the usual recipe as a shell loop;
(b) `Trainer.hyperparameter_search` with Optuna; (c) Ray Tune around the same Trainer; (d) `tuner run`;
(e), only where `--ways` names it, is (b) with `bf16=True`, which its users have to ask for.
Same data, same model, one epoch; each as its users run it, one way after the other in each
round, or with `--turns 3` one after the other for each of the three learning rates. Before each the machine's own
matrix multiplication is measured, so that a slow quarter of an hour is seen. On a GPU where there is one (bench/gpu.py).
Prints the Markdown of docs/benchmarks.md.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import optuna
import psutil
import torch
import yaml
from scipy.stats import t as student
from steps import flops_a_token

from train_script.model import has_native_bf16
from train_script.pretrained import locate_model
from train_script.tasks import TaskOptions, load_task

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GRID = {"learning_rate": [3e-5, 1e-4, 2e-4], "batch_size": [16, 32], "warmup_ratio": [0.0, 0.1]}


class Arena:
    """The data, the model, and what is measured of each way."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.model = locate_model(options.model)
        shape = json.loads((Path(self.model) / "config.json").read_text())
        self.layers, self.width = int(shape["num_hidden_layers"]), int(shape["hidden_size"])
        self.points = [
            dict(zip(GRID, values, strict=True)) | {"seed": i}
            for i, values in enumerate(product(*GRID.values()))
        ][: options.trials]
        task, data = ("mrpc", str(options.data)) if options.data else ("demo", "")
        splits = load_task(task, TaskOptions(data=data, train_limit=options.pairs))
        assert splits.validation is not None
        self.train = self._written("train.csv", splits.train, len(splits.train))
        self.validation = self._written("validation.csv", splits.validation, options.validation)
        self.pairs = len(splits.train)
        labels = splits.validation.labels[: options.validation]
        self.majority = max(map(labels.count, labels)) / len(labels)
        """The accuracy of who always says the most frequent label"""

    def _written(self, name: str, examples: Any, most: int) -> Path:
        path = self.folder / name
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["one", "two", "label"])
            rows.writerows(
                [*texts, label]
                for texts, label in list(zip(examples.texts, examples.labels, strict=True))[:most]
            )
        return path

    def measured(self, way: Callable[["Arena"], list[dict[str, float]]]) -> dict[str, Any]:
        """One sweep: seconds, its trials in the order of the points, the most memory that its processes had together."""
        steps = [math.ceil(self.pairs / point["batch_size"]) for point in self.points]
        rates = [gemm_rate(self.width)]
        peak, over = [0, 0], threading.Event()
        watch = threading.Thread(target=_watch, args=(peak, over))
        watch.start()
        began = time.monotonic()
        trials = way(self)
        seconds = time.monotonic() - began
        over.set()
        watch.join()
        if [trial["step"] for trial in trials] != steps:
            raise SystemExit(f"{way.__name__} took other steps than {steps}: {trials}")
        rates.append(gemm_rate(self.width))
        return {
            "seconds": seconds, "memory": peak[0], "gpu_memory": peak[1], "gemm": rates, "trials": trials, "points": self.points,
            "accuracy": mean(trial["accuracy"] for trial in trials),
        }  # fmt: skip


def _watch(peak: list[int], over: threading.Event) -> None:
    """The most bytes that all children have together, and that they take of the GPU."""
    me, before = psutil.Process(), _gpu_bytes()
    while not over.wait(0.5):
        total = 0
        for child in me.children(recursive=True):
            try:
                total += child.memory_full_info().pss
            except psutil.Error:
                continue
        peak[0], peak[1] = max(peak[0], total), max(peak[1], _gpu_bytes() - before)


def _gpu_bytes() -> int:
    """What is taken of the GPU, by whomever."""
    if not torch.cuda.is_available():
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


def recipe(arena: Arena) -> list[dict[str, float]]:
    """(a)"""
    found = []
    for point in arena.points:
        command = [
            sys.executable, str(HERE / "hf_trial.py"), arena.model, str(arena.train),
            str(arena.validation), str(arena.folder / "a"), json.dumps(point),
        ]  # fmt: skip
        found.append(json.loads(_said(command).splitlines()[-1]))
    return found


def by_optuna(arena: Arena) -> list[dict[str, float]]:
    """(b)"""
    return _searched("optuna", arena)


def by_optuna_in_bf16(arena: Arena) -> list[dict[str, float]]:
    """(e)"""
    return _searched("optuna-bf16", arena)


def by_ray(arena: Arena) -> list[dict[str, float]]:
    """(c)"""
    return _searched("ray", arena)


def _searched(who: str, arena: Arena) -> list[dict[str, float]]:
    command = [
        sys.executable, str(HERE / "hf_search.py"), who, arena.model, str(arena.train),
        str(arena.validation), str(arena.folder / who), json.dumps(arena.points),
    ]  # fmt: skip
    found: list[dict[str, float]] = json.loads(_said(command).splitlines()[-1])
    return found


def by_tuner(arena: Arena) -> list[dict[str, float]]:
    """(d), in a run folder of its own each time"""
    folder = Path(tempfile.mkdtemp(dir=arena.folder))
    sweep = {
        "script": str(ROOT / "train_script/train.py"), "model": arena.model,
        "task": {"name": "file", "data": str(arena.train), "validation": str(arena.validation),
                 "text": ["one", "two"], "label": "label"},
        "objective": {"metric": "eval_accuracy"},
        "space": {name: {"choice": sorted({p[name] for p in arena.points})} for name in GRID},
        "fixed": {"epochs": 1, "evaluations": 1, "precision": "auto", "max_length": 128,
                  "weight_decay": 0.0},
        "search": {"sampler": "grid", "pruner": "none"}, "confirm": {"top": 0},
        "budget": {"trials": len(arena.points)},
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep))
    _said([sys.executable, "-m", "tuner.cli", "run", str(path), "--out", str(folder / "run")])
    facts = json.loads((folder / "run/report.json").read_text())["sections"]["provenance"]
    at_once = max((here["trials"] for here in facts.get("at_once", {}).values()), default=1)
    ledger = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'run/study.db'}")
    order = [tuple(point[name] for name in GRID) for point in arena.points]
    found: list[Any] = [None] * len(order)
    for trial in ledger.trials:
        last = trial.user_attrs["metrics"]
        place = order.index(tuple(trial.params[name] for name in GRID))
        found[place] = {
            "accuracy": last["eval_accuracy"], "at_once": at_once, "order": trial.number, **last
        }  # fmt: skip
    return found


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def gemm_rate(width: int) -> float:
    """GFLOP/s of the model's own shapes in fp32 (bf16 where the machine has it), of the GPU or all cores together."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = torch.bfloat16 if has_native_bf16(device) else torch.float32
    tokens, wide = 1440, 4 * width
    a = torch.randn(tokens, width, device=device, dtype=kind)
    b = torch.randn(width, wide, device=device, dtype=kind)

    def hundred() -> float:
        began = time.perf_counter()
        for _ in range(100):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    hundred()
    return median(100 * 2 * tokens * width * wide / hundred() / 1e9 for _ in range(30))


def tokens_an_example(arena: Arena) -> float:
    """Real tokens, without padding."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(arena.model)
    with arena.train.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = tokenizer(
        [r["one"] for r in rows], [r["two"] for r in rows], truncation=True, max_length=128
    )["input_ids"]
    return mean(map(len, ids))


WAYS = {
    "(a) a process a trial, padded to 128": recipe,
    "(b) Trainer.hyperparameter_search, Optuna": by_optuna,
    "(c) Ray Tune around Trainer": by_ray,
    "(d) tuner run": by_tuner,
    "(e) as (b), with bf16=True": by_optuna_in_bf16,
}


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--data", type=Path, help="MRPC's folder; left out: the demo's sentences.")
    parser.add_argument("--pairs", type=int, default=1024, help="Training pairs.")
    parser.add_argument("--validation", type=int, default=408, help="Validation pairs.")
    parser.add_argument(
        "--trials",
        type=int,
        default=12,
        choices=(4, 8, 12),
        help="Configurations: so many whole rates.",
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--turns",
        type=int,
        default=1,
        help="The parts of a round, in each of which all ways run: so many shares of the configurations.",
    )
    parser.add_argument("--ways", default="abcd", help="Some of them; (d) always.")
    options = parser.parse_args(arguments)
    ways = [name for name in WAYS if name[1] in options.ways + "d"]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as place:
        arena = Arena(Path(place), options)
        tokens = tokens_an_example(arena)
        size = 4 * math.ceil(options.trials / options.turns / 4)
        parts = [arena.points[i : i + size] for i in range(0, options.trials, size)]
        for number, part in enumerate(parts * options.rounds):
            arena.points = part
            first = number % len(ways)
            for name in ways[first:] + ways[:first]:
                print(f"{number + 1} of {len(parts) * options.rounds}: {name}", file=sys.stderr)
                found[name].append(arena.measured(WAYS[name]))
                print(json.dumps(found[name][-1]), file=sys.stderr)
    print(table(found, arena, tokens))


def table(found: dict[str, list[dict[str, Any]]], arena: Arena, tokens: float) -> str:
    """Markdown; ratios are of the medians, and in brackets those of each round or turn.

    A trial's fixed cost is what its way takes beyond the training loops, by trial. The share is of what the
    machine multiplied before and after, of real tokens times weights, over the whole time.
    """
    trials = len(arena.points)
    examples = arena.pairs * trials
    own = [run["seconds"] for run in found["(d) tuner run"]]
    lines = [
        "| way | seconds | times (d) | examples/s | fixed s a trial | memory GiB | mean accuracy | GEMM GFLOP/s | its share |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    flops = tokens * flops_a_token(arena.layers, arena.width)
    useful = examples * flops / 1e9
    on_gpu = any(run["gpu_memory"] for runs in found.values() for run in runs)
    for name, runs in found.items():
        seconds = median(run["seconds"] for run in runs)
        gemm = median(rate for run in runs for rate in run["gemm"])
        lines.append(
            f"| {name} | {seconds:.0f} | {_ratio([run['seconds'] for run in runs], own)} | {examples / seconds:.1f} "
            f"| {median(map(fixed_seconds, runs)):.1f} | {_memory(runs, on_gpu)} "
            f"| {mean(run['accuracy'] for run in runs):.3f} "
            f"| {gemm:.0f} | {useful / seconds / gemm:.1%} |"
        )
    trial = [t for run in found["(d) tuner run"] for t in run["trials"]]
    loop = sum(t["train_seconds"] for t in trial)
    rate = examples * len(found["(d) tuner run"]) * flops / loop / 1e9
    at_once = mean(t["at_once"] for t in trial)
    peak = median(rate for run in found["(d) tuner run"] for rate in run["gemm"])
    later = [t["start_seconds"] + t["save_seconds"] for t in trial if t["order"]]
    lines += [
        "",
        f"{trials} configurations at a time, {arena.pairs} pairs, {tokens:.0f} tokens a pair; (d) chose {at_once:g} at once. In its training "
        f"steps {rate * at_once:.0f} GFLOP/s of weights times tokens are useful, {rate * at_once / peak:.0%} of "
        f"what the machine multiplies at these shapes; a trial after the first needs {median(later):.2f} s to "
        "start and to save its model.",
        "",
        f"Who always says the most frequent label has an accuracy of {arena.majority:.3f}. Over the configurations, (d)'s accuracy "
        f"differs by {'; '.join(differences(found))} (90 %, Student).",
    ]  # fmt: skip
    return "\n".join(lines)


def _memory(runs: list[dict[str, Any]], on_gpu: bool) -> str:
    """The most GiB at once; on a GPU of it too."""
    of_host, of_gpu = (max(run[name] for run in runs) / 2**30 for name in ("memory", "gpu_memory"))
    return f"{of_host:.1f}, GPU {of_gpu:.1f}" if on_gpu else f"{of_host:.1f}"


def _ratio(seconds: list[float], own: list[float]) -> str:
    """`4.1`, of several rounds with their own ones: `4.1 (3.8, 4.3)`."""
    text = f"{median(seconds) / median(own):.1f}"
    rounds = ", ".join(f"{a / b:.1f}" for a, b in zip(seconds, own, strict=True))
    return f"{text} ({rounds})" if len(own) > 1 else text


def fixed_seconds(run: dict[str, Any]) -> float:
    """What a sweep takes beyond its training loops, by trial; of several at once their share of the time."""
    loops = [t["train_seconds"] / t.get("at_once", 1) for t in run["trials"]]
    return float((run["seconds"] - sum(loops)) / len(loops))


def differences(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """By how much (d)'s accuracy lies above each other way's, configuration by configuration."""
    accuracies = {name: accuracy_of_each(runs) for name, runs in found.items()}
    own = accuracies.pop("(d) tuner run")
    lines = []
    for name, others in accuracies.items():
        gaps = [own[point] - accuracy for point, accuracy in others.items()]
        reach = student.ppf(0.95, len(gaps) - 1) * stdev(gaps) / math.sqrt(len(gaps))
        lines.append(
            f"{mean(gaps):+.4f} from {name[:3]} ({mean(gaps) - reach:+.4f} to {mean(gaps) + reach:+.4f})"
        )
    return lines


def accuracy_of_each(runs: list[dict[str, Any]]) -> dict[str, float]:
    """By configuration, the mean over the runs that had it."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for point, trial in zip(run["points"], run["trials"], strict=True):
            found.setdefault(json.dumps(point), []).append(trial["accuracy"])
    return {point: mean(all_runs) for point, all_runs in found.items()}


if __name__ == "__main__":
    main()
