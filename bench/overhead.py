"""What a trial costs beyond itself: `tuner run` of a script that does nothing, beside Optuna's own loop.

`python bench/overhead.py` (part of `make bench`; about six minutes). Both keep the same kind of ledger
(SQLite), draw at random, start the same script as a process and note its one score. They take turns, fifty
trials each, every turn going on in the ledgers of the one before, and the gaps between trials' starts are read
from the ledgers: so neither pays here for what happens once, and a machine whose speed changes slows both.
Prints the Markdown of docs/benchmarks.md.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

import optuna
import yaml

SCRIPT = """
import sys
x = float(sys.argv[sys.argv.index("--x") + 1])
print('{"score": %r, "fraction": 1.0, "step": 1}' % -(x - 0.3) ** 2)
"""


def by_optuna(folder: Path, trials: int) -> optuna.Study:
    """Optuna's loop goes on until its ledger has so many trials."""
    study = optuna.create_study(
        study_name="noop", storage=f"sqlite:///{folder}/optuna.db", direction="maximize",
        sampler=optuna.samplers.RandomSampler(), load_if_exists=True,
    )  # fmt: skip

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        trial.suggest_float("y", 0.0, 1.0)
        command = [sys.executable, str(folder / "noop.py"), "--x", str(x)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        score = float(json.loads(done.stdout)["score"])
        trial.report(score, 100)
        return score

    study.optimize(objective, n_trials=trials - len(study.get_trials(deepcopy=False)))
    return study


def by_tuner(folder: Path, trials: int) -> optuna.Study:
    """`tuner run` resumes with a budget of so many trials."""
    sweep = {
        "name": "noop", "script": str(folder / "noop.py"),
        "objective": {"metric": "score", "direction": "maximize"},
        "space": {name: {"float": [0.0, 1.0]} for name in ("x", "y")},
        "search": {"sampler": "random", "pruner": "none", "start_with_default": False},
        "confirm": {"top": 0}, "budget": {"trials": trials},
    }  # fmt: skip
    file, out = folder / "noop.yaml", folder / "tuner"
    file.write_text(yaml.safe_dump(sweep))
    command = [sys.executable, "-m", "tuner.cli", "run", str(file), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return optuna.load_study(study_name="noop", storage=f"sqlite:///{out}/study.db")


def gaps(study: optuna.Study, last: int) -> list[float]:
    """From each start to the next one among the last so many trials, in milliseconds."""
    starts = sorted(t.datetime_start for t in study.get_trials(deepcopy=False) if t.datetime_start)
    return [1000 * (b - a).total_seconds() for a, b in itertools.pairwise(starts[-last:])]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument(
        "--turn", type=int, default=50, help="trials that each runs before the other's turn"
    )
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    theirs: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "noop.py").write_text(SCRIPT)
        for trials in range(options.turn, options.trials + 1, options.turn):
            theirs.append(mean(gaps(by_optuna(folder, trials), options.turn)))
            ours.append(mean(gaps(by_tuner(folder, trials), options.turn)))
            print(f"{trials}: {theirs[-1]:.0f}, {ours[-1]:.0f} ms", file=sys.stderr, flush=True)
    print(
        "| trials | Optuna, ms a trial | tuner, ms a trial | more, median of the turns | least and most |"
    )
    print("| --- | --- | --- | --- | --- |")
    quarter = max(len(ours) // 4, 1)
    for first in range(0, len(ours), quarter):
        turns = slice(first, first + quarter)
        more = [b - a for a, b in zip(theirs[turns], ours[turns], strict=True)]
        print(
            f"| {first * options.turn + 1} to {(first + len(more)) * options.turn} | {median(theirs[turns]):.0f} "
            f"| {median(ours[turns]):.0f} | {median(more):.0f} | {min(more):.0f} to {max(more):.0f} |"
        )


if __name__ == "__main__":
    main()
