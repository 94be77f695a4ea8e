"""Does a sweep with `budget.stop_early` stop too early? `python bench/nothing_to_gain.py` (40 minutes).

Simulates sweeps (TPE, a third of it space-filling) of the functions of bench/compare.py and of one that
no hyperparameter changes, asks after every other trial what is left to be gained, and compares with the
truth: how much better the function's best place really is than the winner. Some sweeps begin with the
trials of an earlier one, of the same function or of one whose best learning rate has moved by half a
decade since. Prints the Markdown of docs/calibration.md; each sweep is a line of --rows.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import count, product
from pathlib import Path
from statistics import mean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import optuna
from calibration import Point, at, run_all, suggest
from compare import DEFAULT, FUNCTIONS, HALF_A_DECADE, SPACE, noise_of
from optuna.trial import create_trial
from scipy.stats import qmc

from reports.gain import gain_left

FLAT = "nothing matters"
NAMES = [*FUNCTIONS, FLAT]
STARTS = ("cold", "warm, nothing changed", "warm, best place moved")
BUDGET, BEFORE, FILL = 40, 30, 0.3


def value_of(name: str, point: Point, shift: float) -> float:
    """The score without noise, in standard deviations of the noise."""
    return 0.0 if name == FLAT else FUNCTIONS[name](point, shift) / noise_of(name)


@cache
def best_of(name: str, shift: float) -> float:
    """The best score anywhere, nearly."""
    uniform = qmc.Sobol(len(SPACE), rng=np.random.default_rng(1)).random(2**14)
    return max(value_of(name, at(SPACE, u), shift) for u in uniform)


def examine(cell: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One sweep, asked after every other trial; `true` is what the best place would really gain."""
    name, start, seed = cell
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng(seed)
    shift = HALF_A_DECADE if start == STARTS[2] else 0.0
    warm: list[dict[str, Any]] = []
    winner = None
    if start != STARTS[0]:
        *_, study = search(name, 0.0, BEFORE, seed + 500_000_000, rng)
        warm = [{"params": t.params, "value": t.value} for t in study.trials]
        winner = study.best_trial.params
    asked = []
    for study in search(name, shift, BUDGET, seed, rng, warm, winner):
        done = len(study.trials)
        if done % 2 or done < FILL * BUDGET + 1:
            continue
        left = gain_left(study, seed)
        if left is not None:
            true = best_of(name, shift) - value_of(name, study.best_trial.params, shift)
            asked.append(
                {"trials": done, "gain": left.gain.estimate, "low": left.gain.low,
                 "high": left.gain.high, "noise": left.noise_sd, "chance": left.chance, "true": true,
                 "stops": left.is_nothing}
            )  # fmt: skip
    return [{"function": name, "start": start, "seed": seed, "asked": asked}]


def search(
    name: str, shift: float, budget: int, seed: int, rng: np.random.Generator,
    warm: Sequence[dict[str, Any]] = (), winner: Point | None = None,
) -> Any:  # fmt: skip
    """The study after each trial; the sampler knows the trials of `warm` as `tuner run --warm` has it."""
    fill = round(FILL * budget)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=fill + 1, multivariate=True)
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("warm", {"trials": list(warm)})
    knows = optuna.create_study(direction="maximize", sampler=sampler)
    even = qmc.Sobol(len(SPACE), rng=np.random.default_rng([seed, 1])).random(fill)
    first = [DEFAULT, *([winner] if winner else []), *(at(SPACE, u) for u in even)]
    for point in first:
        knows.enqueue_trial(point)
    for i in range(budget):
        if i == len(first) and warm:
            ranges = study.trials[0].distributions
            for t in warm:
                knows.add_trial(
                    create_trial(params=t["params"], distributions=ranges, value=t["value"])
                )
        trial = knows.ask()
        point = suggest(trial, SPACE)
        score = value_of(name, point, shift) + rng.standard_normal()
        told = knows.tell(trial, score)
        facts = {"purpose": "search", "chosen_by": "default" if i == 0 else "adaptive"}
        study.add_trial(
            create_trial(
                params=point, distributions=told.distributions, value=score, user_attrs=facts
            )
        )
        yield study


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="Sweeps of each kind.")
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--rows", type=Path, help="Each sweep as a line of JSON.")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    seeds = count(options.seed)  # no two sweeps share one, so that no stroke of luck counts twice
    cells = [
        (name, start, next(seeds))
        for _, name, start in product(range(options.repeats), NAMES, STARTS)
    ]
    print(summary(run_all(examine, cells, options.processes, options.rows)))


def summary(rows: list[dict[str, Any]]) -> str:
    """The table of docs/calibration.md; gains in standard deviations of the seed noise."""
    titles = [
        "the sweep began", "sweeps", "ended early", "after (median)", "true gain left (median)",
        "more than the noise", "what going on to the end brought (mean)",
    ]  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "| --- " * len(titles) + "|"]
    for kind in ("start", "function"):
        for name in dict.fromkeys(row[kind] for row in rows):
            lines.append(_line(name, [row for row in rows if row[kind] == name]))
    lines.append(_line("all where something matters", [r for r in rows if r["function"] != FLAT]))
    lines.append(_line("all", rows))
    return "\n".join(lines)


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    ends = [(end, row["asked"][-1]) for row in rows if (end := _end(row)) is not None]
    cells = [name, str(len(rows)), f"{len(ends) / len(rows):.0%}"]
    if ends:
        cells += [
            f"{median(end['trials'] for end, _ in ends):.0f} of {BUDGET}",
            f"{median(end['true'] for end, _ in ends):.2f}",
            f"{mean(end['true'] > 1 for end, _ in ends):.0%}",
            f"{mean(end['true'] - last['true'] for end, last in ends):.2f}",
        ]
    return "| " + " | ".join(cells) + " |"


def _end(row: dict[str, Any]) -> dict[str, Any] | None:
    """Where the search ended before its budget."""
    return next((a for a in row["asked"] if a["stops"] and a["trials"] < BUDGET), None)


if __name__ == "__main__":
    main()
