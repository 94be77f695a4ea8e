"""How long the rest of a sweep will take and what it will cost, with a range: from trials that have run.

Trials of this sweep where there are enough, else those of the newest run beside it with the same backend, script,
task, model, fixed options, pruner, number of trials at once and ranges of what decides how long a trial takes. Without either nothing is known, and that is said.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from tuner.errors import TunerError
from tuner.ledger import FINISHED, Ledger
from tuner.prices import HERE
from tuner.progress import shown_time
from tuner.run_folder import RunFolder
from tuner.sweep import LoadedSweep
from tuner.sweep_file import DEFAULT_SCRIPT

FEWEST_TRIALS = 4
DRAWS = 2000
LESS = "; less where trials are pruned"
MOST_RUNS_READ = 10
LENGTHS = (
    "model", "epochs", "batch_size", "max_length", "frozen_layers", "rdrop", "accumulation", "precision",
)  # fmt: skip
"""What a trial takes depends on these; where they are searched, in the same range"""


@dataclass(frozen=True)
class Estimate:
    """Seconds on the clock for `trials` more trials: `low` to `high` in nine cases of ten."""

    trials: int
    estimate: float
    low: float
    high: float
    source: str
    usd: tuple[float, float] | None = None
    before_pruning: bool = False
    """The pruner has stopped none of those yet, as it waits for some to compare with"""

    def __str__(self) -> str:
        less = LESS if self.before_pruning else ""
        text = f"{shown_time(self.low)} to {shown_time(self.high)} (90 %, from {self.source}{less})"
        if self.usd is not None:
            text += f", ${self.usd[0]:.2f} to ${self.usd[1]:.2f}"
        return text

    def as_fact(self) -> dict[str, Any]:
        """Plain data for the ledger."""
        return asdict(self)


def estimate_of(
    seconds: Sequence[float], trials: int, parallel: int, source: str, price: float | None = None
) -> Estimate:
    """The clock time of so many trials like these, so many at once.

    Which durations are to come is drawn from those that were, and how often each comes is not known
    better than from so few (the Bayesian bootstrap; Rubin 1981). The last trials leave slots empty.
    """
    rng = np.random.default_rng(0)
    seconds_N = np.asarray(seconds, dtype=float)
    shares_SN = rng.dirichlet(np.ones(len(seconds_N)), DRAWS)
    mean_S = shares_SN @ seconds_N
    spread_S = np.sqrt(np.maximum(shares_SN @ seconds_N**2 - mean_S**2, 0.0))
    total_S = trials * mean_S + np.sqrt(trials) * spread_S * rng.standard_normal(DRAWS)
    at_once = min(parallel, max(1, trials))
    clock_S = np.maximum(total_S, 0.0) / at_once + (1 - 1 / at_once) * mean_S
    low, middle, high = (float(q) for q in np.quantile(clock_S, [0.05, 0.5, 0.95]))
    usd = None if price is None else (low / 3600 * price, high / 3600 * price)
    return Estimate(trials, middle, low, high, source, usd)


def of_rest(loaded: LoadedSweep, ledger: Ledger, trials: int) -> Estimate | None:
    """For so many more trials, from those of this sweep; None where they are too few."""
    seconds = _seconds_of(ledger)
    if len(seconds) < FEWEST_TRIALS or trials <= 0:
        return None
    found = _estimate(loaded, seconds, trials, f"its first {len(seconds)} trials")
    pruned = any(t.state == TrialState.PRUNED for t in ledger.read_trials())
    return replace(found, before_pruning=loaded.sweep.search.pruner != "none" and not pruned)


def beforehand(
    loaded: LoadedSweep, folder: Path, trials: int, examples: int | None = None
) -> Estimate | None:
    """For a sweep that has not begun, from the newest run like it in the folder of its run folder.

    With more training `examples` than that one had, trials take as much longer.
    """
    try:
        found = [place for place in folder.parent.iterdir() if (place / "study.db").is_file()]
    except OSError:
        return None
    found.sort(key=lambda place: (place / "study.db").stat().st_mtime, reverse=True)
    for place in [p for p in found if p.resolve() != folder.resolve()][:MOST_RUNS_READ]:
        run = RunFolder(place)
        try:
            ledger = Ledger.load(run.ledger_url(), run.read_identity()["name"])
        except TunerError:
            continue
        try:
            facts = ledger.study.user_attrs
            if _kind(facts.get("sweep", {})) != _kind(loaded.whole()):
                continue
            seconds = _seconds_of(ledger)
        except TunerError:
            continue
        finally:
            ledger.close()
        had = (facts.get("data") or {}).get("training_examples")
        growth = examples / had if examples and had else 1.0
        if len(seconds) >= FEWEST_TRIALS:
            source = f"{len(seconds)} trials of {run.shown}"
            if growth != 1:
                source += f", with {growth:.3g} times as many examples"
            settled = loaded
            if loaded.sweep.budget.parallel == "auto":
                measured = facts.get("at_once") or {}
                settled = loaded.at_once(int(measured.get(platform.node(), {}).get("trials", 1)))
            return _estimate(settled, [growth * each for each in seconds], trials, source)
    return None


def compared_with_truth(ledger: Ledger) -> str:
    """How long it took and what had been said beforehand; empty where nothing had been."""
    said, took = (ledger.study.user_attrs.get(key) for key in ("estimate", "elapsed_seconds"))
    if not isinstance(said, dict) or took is None:
        return ""
    before = float(said["elapsed_before"])
    low, high = (shown_time(before + float(said[key])) for key in ("low", "high"))
    told = "beforehand" if before == 0 else f"after {shown_time(before)}"
    less = LESS if said.get("before_pruning") else ""
    return f"it took {shown_time(float(took))}; {told} the estimate was {low} to {high}{less}"


def _estimate(loaded: LoadedSweep, seconds: Sequence[float], trials: int, source: str) -> Estimate:
    parallel = loaded.sweep.budget.at_once
    return estimate_of(seconds, trials, parallel, source, loaded.sweep.prices.get(HERE))


def _seconds_of(ledger: Ledger) -> list[float]:
    """What trials took that came to an end of their own; a failed one is no sign of the next."""
    return [
        float(t.user_attrs["wall_seconds"])
        for t in ledger.read_trials()
        if t.state in FINISHED and "wall_seconds" in t.user_attrs
    ]


def _kind(sweep: Mapping[str, Any]) -> list[Any]:
    """What decides how long a trial takes; of a script that is not ours, any range may."""
    names = LENGTHS if sweep.get("script") in (None, DEFAULT_SCRIPT) else sorted(sweep["space"])
    task, fixed, space = (sweep.get(key) or {} for key in ("task", "fixed", "space"))
    model = fixed.get("model", sweep.get("model"))
    return [
        sweep.get("script"), model, sweep.get("backend"), {k: fixed[k] for k in fixed if k != "model"},
        {name: space.get(name) for name in names},
        task.get("name"), task.get("data"), task.get("limit"),
        (sweep.get("budget") or {}).get("parallel"), (sweep.get("search") or {}).get("pruner"),
    ]  # fmt: skip
