"""Kills a sweep at chosen moments, runs it again, and compares its ledger with that of a whole one.

python -m tests.chaos.harness --moments 100        # the table of docs/reliability.md (make chaos)
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
import yaml

from tests import PATIENCE
from train_script.contract import OF_TRIAL

ROOT = Path(__file__).resolve().parent.parent.parent
TARGETS = ("orchestrator", "trial", "both")
PASSING = (
    "wall_seconds", "worker", "attempts", "kills", "log_fault", "start_seconds", "train_seconds",
    "evaluate_seconds", "save_seconds", "examples_per_second",
)  # fmt: skip
"""What a clock or a process number decides; everything else of a ledger has to be the same."""

TOY = {
    "name": "toy",
    "script": str(ROOT / "tests" / "toy.py"),
    "objective": {"metric": "score", "direction": "maximize"},
    "space": {
        "rate": {"float": [1e-5, 1e-1], "scale": "log", "default": 1e-4},
        "depth": {"int": [1, 4], "default": 2},
    },
    "fixed": {"sleep": 0.06, "noise": 0.05, "evaluations": 6, "checkpoint": True},
    "search": {"sampler": "tpe", "pruner": "median", "space_filling": 0.3, "seed": 1},
    "confirm": {"top": 1, "seeds": 1},
    "budget": {"trials": 10, "parallel": 1},
}


def bert(model: Path) -> dict[str, Any]:
    """A sweep that really trains, of two-layer BERTs."""
    return {
        "name": "bert",
        "task": {"name": "demo", "limit": 256},
        "model": str(model),
        "objective": {"metric": "eval_accuracy"},
        "space": {"learning_rate": {"float": [1e-4, 1e-2], "scale": "log"}},
        "fixed": {"epochs": 4, "evaluations": 4, "max_length": 40, "precision": "fp32"},
        "search": {"sampler": "tpe", "space_filling": 0.5, "seed": 1},
        "confirm": {"top": 1, "seeds": 1},
        "budget": {"trials": 3, "parallel": 1},
    }


@dataclass
class Told:
    """What became of one killed sweep."""

    target: str
    after: float
    hit: str
    same: bool
    differences: list[str]
    repeated: int | None
    """The most evaluations that one trial computed again"""
    seconds: float


def start(sweep: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """`tuner run` in a process of its own."""
    with (out.parent / f"{out.name}.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuner.cli", "run", str(sweep), "--out", str(out), *words],
            stdout=log, stderr=subprocess.STDOUT, text=True, cwd=out.parent,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def run_whole(sweep: Path, out: Path) -> float:
    """Runs a sweep to its end; its seconds."""
    began = time.monotonic()
    process = start(sweep, out)
    if process.wait(timeout=PATIENCE) != 0:
        raise RuntimeError((out.parent / f"{out.name}.log").read_text()[-2000:])
    return time.monotonic() - began


def kill_at(sweep: Path, out: Path, target: str, after: float) -> str:
    """Starts the sweep, kills the target after so many seconds; what was hit."""
    process = start(sweep, out)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=after)
    trials: list[psutil.Process] = []
    while process.poll() is None and not trials and target != "orchestrator":
        trials = _of_trials(out)
    if process.poll() is not None:
        return "nothing: it was done"
    hit = []
    if (
        target == "both"
    ):  # first, so that nobody sees the trial die; with it the server that forked it
        process.send_signal(signal.SIGSTOP)
        with suppress(psutil.Error):
            trials += psutil.Process(process.pid).children(recursive=True)
    if target != "orchestrator":
        for trial in trials:
            with suppress(psutil.Error):
                trial.kill()
                hit.append("trial")
    if target != "trial":
        process.send_signal(signal.SIGKILL)
        hit.append("orchestrator")
    process.wait(timeout=PATIENCE)
    return " and ".join(dict.fromkeys(hit)) or "nothing: no trial ran"


def _of_trials(out: Path) -> list[psutil.Process]:
    """The processes of a sweep's trials: a script's own, a fork of the server and what stands for it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(OF_TRIAL, "").startswith(f"{out}/"):
                found.append(process)
    return found


def signature(out: Path, name: str) -> list[dict[str, Any]]:
    """All of a ledger that has to be the same, trial by trial."""
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{out / 'study.db'}")
    return [
        {
            "number": t.number, "state": t.state.name, "value": t.value, "params": t.params,
            "curve": t.intermediate_values, "system": t.system_attrs,
            **{k: _plain(v, out) for k, v in t.user_attrs.items() if k not in PASSING},
        }
        for t in study.get_trials()
    ]  # fmt: skip


def _plain(value: Any, out: Path) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v, out) for k, v in value.items() if k not in PASSING}
    if isinstance(value, list):
        return [_plain(v, out) for v in value]
    return value.replace(str(out), "") if isinstance(value, str) else value


def compared(whole: list[dict[str, Any]], other: list[dict[str, Any]]) -> Iterable[str]:
    """Every difference between two ledgers."""
    if len(whole) != len(other):
        yield f"{len(other)} trials, not {len(whole)}"
    for a, b in zip(whole, other, strict=False):
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                yield f"trial {a['number']} {key}: {b.get(key)!r}, not {a.get(key)!r}"


def repeated(out: Path) -> int | None:
    """How many evaluations a toy trial computed more than once, at most; None for other scripts."""
    logs = [log.read_text().split() for log in out.glob("trials/*/work.log")]
    return max((len(lines) - len(set(lines)) for lines in logs), default=None)


def try_moment(
    sweep: Path, folder: Path, name: str, number: int, target: str, after: float,
    whole: list[dict[str, Any]],
) -> Told:  # fmt: skip
    """One sweep killed and run again."""
    out, began = folder / f"cut-{number}", time.monotonic()
    hit = kill_at(sweep, out, target, after)
    run_whole(sweep, out)
    found = list(compared(whole, signature(out, name)))
    again = repeated(out)
    return Told(target, after, hit, not found, found, again, time.monotonic() - began)


def campaign(
    blocks: dict[str, Any], folder: Path, moments: int, seed: int, at_once: int = 2
) -> tuple[float, list[Told]]:
    """Kills at so many seeded moments, spread over the sweep; its whole seconds and what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(blocks, sort_keys=False))
    name = str(blocks["name"])
    seconds = run_whole(sweep, folder / "whole")
    whole = signature(folder / "whole", name)
    rng = random.Random(seed)
    plans = [
        (i, TARGETS[i % len(TARGETS)], seconds * (i + rng.random()) / moments)
        for i in range(moments)
    ]
    with ThreadPoolExecutor(at_once) as pool:
        told = list(pool.map(lambda p: try_moment(sweep, folder, name, *p, whole), plans))
    return seconds, told


def table(title: str, seconds: float, told: list[Told]) -> list[str]:
    """The table of docs/reliability.md."""
    lines = [
        f"{title}: {len(told)} moments over {seconds:.0f} s of sweep", "",
        "| killed | moments | it was hit | the ledger is the same | most evaluations computed twice in a trial |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for target in TARGETS:
        part = [t for t in told if t.target == target]
        hit = sum(not t.hit.startswith("nothing") for t in part)
        counted = [t.repeated for t in part if t.repeated is not None]
        most = max(counted, default="–")
        lines.append(f"| {target} | {len(part)} | {hit} | {sum(t.same for t in part)} | {most} |")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--bert-moments", type=int, default=10)
    parser.add_argument("--model", type=Path, help="a tiny BERT; left out: made here")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        found: list[Told] = []
        if options.moments:
            seconds, told = campaign(TOY, Path(folder) / "toy", options.moments, options.seed)
            lines += [*table("The toy script", seconds, told), ""]
            found += told
        if options.bert_moments:
            from tests.tiny_bert import make_tiny_bert

            model = options.model or make_tiny_bert(Path(folder) / "tiny-bert")
            seconds, told = campaign(
                bert(model), Path(folder) / "bert", options.bert_moments, options.seed
            )
            lines += [*table("A two-layer BERT", seconds, told), ""]
            found += told
    print("\n".join(lines))
    for each in found:
        for difference in each.differences[:3]:
            print(f"{each.target} after {each.after:.2f} s ({each.hit}): {difference}")
    missed = {t.target for t in found} - {
        t.target for t in found if not t.hit.startswith("nothing")
    }
    if missed:
        print(f"nothing was hit of: {', '.join(sorted(missed))}")
    sys.exit(bool(missed) or not all(each.same for each in found))


if __name__ == "__main__":
    main()
