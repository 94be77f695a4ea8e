"""What a trial costs beyond itself: `tuner run` of a script that does nothing, beside Optuna's own loop.

`python bench/overhead.py` (part of `make bench`; about five minutes). Both keep the same kind of ledger
(SQLite), draw at random, start the same script as a process and note its one score. The sweeps alternate, and
their trials' starts are read from the ledgers, so neither pays here for what happens once. Prints
the Markdown of docs/benchmarks.md.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

import optuna
import yaml

SCRIPT = """
import sys
x = float(sys.argv[sys.argv.index("--x") + 1])
print('{"score": %r, "fraction": 1.0, "step": 1}' % -(x - 0.3) ** 2)
"""


def by_optuna(folder: Path, trials: int) -> list[float]:
    """Optuna's loop; milliseconds from each trial's start to the next one's."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna-{trials}.db", direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.suggest_float("y", 0.0, 1.0)
        command = [sys.executable, str(folder / "noop.py"), "--x", str(x)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        score = float(json.loads(done.stdout)["score"])
        trial.report(score, 100)
        return score

    study.optimize(objective, n_trials=trials)
    return between(study)


def by_tuner(folder: Path, trials: int) -> list[float]:
    """`tuner run`; milliseconds from each trial's start to the next one's."""
    sweep = {
        "name": "noop", "script": str(folder / "noop.py"),
        "objective": {"metric": "score", "direction": "maximize"},
        "space": {name: {"float": [0.0, 1.0]} for name in ("x", "y")},
        "search": {"sampler": "random", "pruner": "none", "start_with_default": False},
        "confirm": {"top": 0}, "budget": {"trials": trials},
    }  # fmt: skip
    file, out = folder / "noop.yaml", folder / f"tuner-{trials}"
    file.write_text(yaml.safe_dump(sweep))
    command = [sys.executable, "-m", "tuner.cli", "run", str(file), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return between(optuna.load_study(study_name="noop", storage=f"sqlite:///{out}/study.db"))


def between(study: optuna.Study) -> list[float]:
    """From each trial's start to the next one's, in milliseconds."""
    starts = [t.datetime_start for t in study.get_trials() if t.datetime_start]
    return [1000 * (b - a).total_seconds() for a, b in itertools.pairwise(starts)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 300, 1000])
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| trials | Optuna, ms a trial | tuner, ms a trial | more | tuner, last hundred |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "noop.py").write_text(SCRIPT)
        for trials in options.trials:
            theirs, ours = by_optuna(folder, trials), by_tuner(folder, trials)
            print(
                f"| {trials} | {mean(theirs):.0f} | {mean(ours):.0f} "
                f"| {mean(ours) - mean(theirs):.0f} | {mean(ours[-100:]):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
