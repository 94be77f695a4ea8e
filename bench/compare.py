"""Does `tuner compare` cry wolf, and does it see a wolf? `python bench/compare.py` (about twenty minutes).

Simulates pairs of sweeps, their points chosen by the code of `tuner run` and its defaults, of functions of a
learning rate over three decades and three more hyperparameters: with nothing changed but the seeds, with the
best learning rate shifted by half a decade, and with all scores shifted by one standard deviation of the seed
noise, which has a third of the function's variance; the former two also with a second sweep that begins with
what the first one found, as slots of a schedule do. Prints the Markdown of docs/calibration.md; each pair is a
line of --rows.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from itertools import count, product
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import optuna
import yaml
from calibration import Point, at, run_all
from optuna.trial import TrialState
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from reports import read_table
from reports.compare import BETTER, CANNOT_TELL, MOVED, SAME, WORSE, changes_between
from tuner.cli_run import taken_over
from tuner.ledger import Ledger
from tuner.points import Points
from tuner.sweep import load_sweep

HALF_A_DECADE = 1 / 6
FILE = Path(__file__).with_suffix(".yaml")
BLOCKS: dict[str, Any] = yaml.safe_load(FILE.read_text())["space"]
DEFAULT: Point = {name: block["default"] for name, block in BLOCKS.items()}
SPACE = {
    name: ("log" if "scale" in block else kind, *block[kind])
    for name, block in BLOCKS.items() for kind in ("float", "int", "choice") if kind in block
}  # fmt: skip
"""The space of that file in calibration.py's words"""
SIGNAL_TO_NOISE = 3
SIZES = (30, 50)
NOTHING, BEST_PLACE = "nothing", "best place"
WARM = ", begun warm"
KINDS = {
    NOTHING: (0.0, 0.0), BEST_PLACE: (HALF_A_DECADE, 0.0), "all scores": (0.0, 1.0),
    NOTHING + WARM: (0.0, 0.0), BEST_PLACE + WARM: (HALF_A_DECADE, 0.0),
}  # fmt: skip
"""By how much the second sweep's best rate lies higher, of the whole range, and its scores, in standard deviations of the noise"""


def _rate(p: Point, shift: float) -> float:
    return float(np.log(p["learning_rate"] / 1e-5) / np.log(1000) - shift)


def _hill(p: Point, shift: float) -> float:
    return float(np.exp(-(((_rate(p, shift) - 0.45) / 0.25) ** 2)) + 0.2 * p["warmup_ratio"] / 0.3)


def _cliff(p: Point, shift: float) -> float:
    rate, batch, epochs = _rate(p, shift), np.log2(p["batch_size"] / 8) / 2, (p["epochs"] - 2) / 3
    edge = 0.5 + 0.1 * batch + 0.1 * p["warmup_ratio"] / 0.3
    learned = 1 - np.exp(-2.5 * (max(rate, -0.3) + 0.35) * (0.6 + 0.6 * epochs))
    return float(0.55 + 0.33 * learned / (1 + np.exp((rate - edge) * 25)))


def _ridge(p: Point, shift: float) -> float:
    batch = np.log2(p["batch_size"] / 8) / 2
    away = (_rate(p, shift) - 0.3 - 0.3 * batch) / 0.22
    return float(np.exp(-(away**2)) - 0.5 * p["warmup_ratio"])


def _tent(p: Point, shift: float) -> float:
    """Never looked at while the rules were chosen: a kink at the best place, and epochs that help."""
    return float(-abs(_rate(p, shift) - 0.4) + 0.15 * np.log(p["epochs"]))


FUNCTIONS: dict[str, Callable[[Point, float], float]] = {
    "hill": _hill, "cliff": _cliff, "ridge": _ridge, "tent (held out)": _tent
}  # fmt: skip


@cache
def noise_of(name: str) -> float:
    """The standard deviation of the seed noise."""
    uniform = qmc.Sobol(len(SPACE), rng=np.random.default_rng(1)).random(4096)
    return float(
        np.sqrt(np.var([FUNCTIONS[name](at(SPACE, u), 0.0) for u in uniform]) / SIGNAL_TO_NOISE)
    )


def sweep(
    name: str, size: int, shift: float, level: float, seed: int, before: Ledger | None = None
) -> Ledger:
    """One simulated sweep, its points chosen by what chooses them in `tuner run`; begun with `before` where given."""
    loaded = load_sweep(FILE, [f"search.seed={seed}", f"budget.trials={size}"])
    ledger = Ledger(optuna.create_study(direction="maximize"))
    ledger.set("metric", "score")
    if before is not None:
        ledger.set("warm", taken_over(before, "the run before"))
    points, rng = Points(loaded, ledger), np.random.default_rng(seed)
    for propose in (points.next_search, points.next_confirm):
        while (proposal := propose()) is not None:
            ranges = points.space.distributions()
            trial = ledger.start_at(
                proposal.point, ranges, proposal.attributes, proposal.of_sampler
            )
            noise = noise_of(name) * (level + rng.standard_normal())
            score = FUNCTIONS[name](proposal.point, shift) + noise
            ledger.finish(trial, score, TrialState.COMPLETE)
    return ledger


def examine(cell: tuple[str, int, str, int]) -> list[dict[str, Any]]:
    """One pair, compared."""
    name, size, kind, seed = cell
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shift, level = KINDS[kind]
    before = sweep(name, size, 0.0, 0.0, 2 * seed)
    after = sweep(name, size, shift, level, 2 * seed + 1, before if WARM in kind else None)
    with threadpool_limits(1):
        found = changes_between(read_table(before.study), read_table(after.study), seed)
    verdict = CANNOT_TELL if isinstance(found, str) else found.verdict
    return [{"function": name, "size": size, "kind": kind, "seed": seed, "verdict": verdict}]


def summary(rows: list[dict[str, Any]]) -> str:
    """The tables of docs/calibration.md."""
    verdicts = (SAME, MOVED, WORSE, BETTER, CANNOT_TELL)
    lines = [
        "| what changed | pairs | " + " | ".join(f"`{v}`" for v in verdicts) + " |",
        "| --- " * (len(verdicts) + 2) + "|",
    ]
    for kind in KINDS:
        part = [r["verdict"] for r in rows if r["kind"] == kind]
        if part:
            shares = " | ".join(f"{mean(v == verdict for v in part):.1%}" for verdict in verdicts)
            lines.append(f"| {kind} | {len(part)} | {shares} |")
    wolf = [r["verdict"] in (MOVED, WORSE, BETTER) for r in rows if NOTHING in r["kind"]]
    seen = [r["verdict"] in (MOVED, WORSE) for r in rows if BEST_PLACE in r["kind"]]
    lines += [
        "",
        f"A change is told where nothing has changed: {mean(wolf):.1%} of {len(wolf)} (aim ≤ 5 %). "
        f"`moved` or `worse` where the best place has shifted: {mean(seen):.1%} of {len(seen)} (aim ≥ 80 %).",
        "", "| `moved` or `worse` by function | " + " | ".join(f"{s} trials" for s in SIZES) + " |",
        "| --- " * (len(SIZES) + 1) + "|",
    ]  # fmt: skip
    for name in FUNCTIONS:
        cells = [
            [r["verdict"] in (MOVED, WORSE) for r in rows
             if (r["function"], r["size"]) == (name, size) and BEST_PLACE in r["kind"]]
            for size in SIZES
        ]  # fmt: skip
        lines.append(
            f"| {name} | " + " | ".join(f"{mean(c):.0%}" if c else "" for c in cells) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=25, help="Pairs of each kind, function and size."
    )
    parser.add_argument("--seed", type=int, default=800_000)
    parser.add_argument("--rows", type=Path, help="Each pair as a line of JSON.")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    seeds = count(options.seed)  # no two pairs share one, so that no stroke of luck counts twice
    cells = [
        (name, size, kind, next(seeds))
        for _, name, size, kind in product(range(options.repeats), FUNCTIONS, SIZES, KINDS)
    ]
    print(summary(run_all(examine, cells, options.processes, options.rows)))


if __name__ == "__main__":
    main()
