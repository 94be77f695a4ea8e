"""Seconds and memory of one analysis: `python bench/analysis_speed.py`. Each in a process of its own."""

import json
import math
import resource
import subprocess
import sys
import time

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from reports import analyze

SIZES = ((100, 6), (1_000, 8), (10_000, 8))
AIMS = ("3", "10", "60")


def study_of(trials: int, parameters: int) -> optuna.Study:
    """Random trials of a hill over the learning rate, with a batch size, epochs and dummies."""
    rng = np.random.default_rng(0)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "batch_size": CategoricalDistribution((8, 16, 32)),
        "epochs": IntDistribution(2, 5),
    }
    space |= {f"dummy{i}": FloatDistribution(0.0, 1.0) for i in range(parameters - len(space))}
    found = []
    for _ in range(trials):
        u = rng.random()
        params = {
            "learning_rate": 1e-5 * 100**u, "batch_size": int(rng.choice((8, 16, 32))),
            "epochs": int(rng.integers(2, 6)),
        } | {name: rng.random() for name in space if name.startswith("dummy")}  # fmt: skip
        score = 0.6 + 0.3 * math.exp(-(((u - 0.6) / 0.25) ** 2)) + 0.02 * params["epochs"] * u
        found.append(
            create_trial(
                value=score + 0.02 * rng.standard_normal(), params=params, distributions=space
            )
        )
    study = optuna.create_study(direction="maximize")
    study.add_trials(found)
    return study


def main() -> None:
    """Prints the table; with two numbers, measures one size and prints it as JSON."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if len(sys.argv) == 3:
        study = study_of(int(sys.argv[1]), int(sys.argv[2]))
        start = time.perf_counter()
        analyze(study)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "mebibytes": peak}))
        return
    print("| trials × parameters | seconds | aim | peak memory of the process |")
    print("| --- | --- | --- | --- |")
    for (trials, parameters), aim in zip(SIZES, AIMS, strict=True):
        done = subprocess.run(
            [sys.executable, __file__, str(trials), str(parameters)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        cost = json.loads(done.stdout)
        print(
            f"| {trials:,} × {parameters} | {cost['seconds']:.1f} | ≤ {aim} | "
            f"{cost['mebibytes']:.0f} MiB |"
        )


if __name__ == "__main__":
    main()
