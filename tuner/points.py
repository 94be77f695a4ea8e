"""Which point to try next, and how it was chosen: every trial says so in `chosen_by`.

A point is a function of the sweep's seed and the ledger alone. So nothing has to be saved beside
the ledger, and a resumed sweep does not replay its first points, as a seeded sampler would.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from tuner.ledger import FINISHED, Ledger, distinct, same_point
from tuner.space import Point
from tuner.sweep import LoadedSweep

CONFIRM_SEED = 100_000
"""Confirmation seeds start here above the sweep's seed, so no search trial has used one."""


@dataclass(frozen=True)
class Proposal:
    """The next trial; `point` is None where the Optuna sampler is to choose it."""

    point: Point | None
    seed: int
    attributes: dict[str, Any]
    sampler: optuna.samplers.BaseSampler | None = None


class Points:
    """The search and the confirmation trials of a sweep, one at a time."""

    def __init__(self, loaded: LoadedSweep, ledger: Ledger) -> None:
        self.loaded, self.ledger = loaded, ledger
        self.search = loaded.sweep.search
        self.space = loaded.space()
        self.default = loaded.default_point() if self.search.start_with_default else None
        trials = loaded.sweep.budget.trials
        if self.search.sampler in ("random", "qmc"):
            self.fill = trials
        else:
            # As many as the first run had: a larger budget later goes to the adaptive sampler.
            noted = ledger.study.user_attrs.get("space_filling_trials")
            self.fill = noted or math.ceil(self.search.space_filling * trials)
        self.grid = self._shuffled_grid() if self.search.sampler == "grid" else []

    def search_total(self) -> int:
        """How many search trials the sweep will have."""
        if self.search.sampler == "grid":
            return min(len(self.grid), self.loaded.sweep.budget.trials)
        return self.loaded.sweep.budget.trials

    def next_search(self) -> Proposal | None:
        """The next search trial, None when the budget is used up."""
        if retry := self._retry("search"):
            return retry
        done = self.ledger.counted("search")
        if len(done) >= self.search_total():
            return None
        number = len(self.ledger.read_trials())
        seed = self.search.seed + number
        if self.search.sampler == "grid":
            tried = [t.params for t in done]
            point = next(p for p in self.grid if not any(same_point(p, t) for t in tried))
            return self._proposal("grid", seed, point)
        if self.default is not None and not _count(done, "default"):
            return self._proposal("default", seed, self.default)
        filled = _count(done, "space-filling", "random")
        if filled < self.fill:
            if self.search.sampler == "random":
                return self._proposal("random", seed, self._random_point(filled))
            return self._proposal("space-filling", seed, self._space_filling_point(filled))
        warm = max(1, self.fill + (self.default is not None))
        counts = FINISHED if self.search.sampler == "tpe" else (TrialState.COMPLETE,)
        finished = sum(t.state in counts for t in done)  # what Optuna's samplers count
        chosen_by = "adaptive" if finished >= warm else "random"
        return self._proposal(chosen_by, seed, None, self._sampler(number, warm))

    def next_confirm(self) -> Proposal | None:
        """The next re-run on a fresh seed, None when each candidate has all of its seeds."""
        if retry := self._retry("confirm"):
            return retry
        done = self.ledger.counted("confirm")
        for k in range(self.loaded.sweep.confirm.seeds):
            seed = self.search.seed + CONFIRM_SEED + k
            for candidate in self.candidates():
                if not any(
                    t.user_attrs.get("confirms") == candidate.number
                    and t.user_attrs.get("seed") == seed
                    for t in done
                ):
                    return Proposal(
                        dict(candidate.params),
                        seed,
                        {
                            "purpose": "confirm",
                            "chosen_by": "confirmation",
                            "confirms": candidate.number,
                            "seed": seed,
                        },
                    )
        return None

    def candidates(self) -> list[FrozenTrial]:
        """The best configurations that the search found, and the default where it was tried.

        Where the default leads the search, the runner-up is run again as well: a lead in single
        noisy scores is no reason to leave it out.
        """
        top = self.loaded.sweep.confirm.top
        if not top:
            return []
        best = self.ledger.best_first()
        default = [t for t in best if t.user_attrs.get("chosen_by") == "default"]
        others = [
            t for t in distinct(best) if not any(same_point(t.params, d.params) for d in default)
        ]
        return others[:top] + default

    def _retry(self, purpose: str) -> Proposal | None:
        for trial in self.ledger.interrupted():
            attributes = dict(trial.user_attrs)
            if attributes.get("purpose") != purpose:
                continue
            kept = ("purpose", "chosen_by", "confirms", "seed")
            again = {key: attributes[key] for key in kept if key in attributes}
            return Proposal(
                dict(trial.params), attributes["seed"], again | {"continues": trial.number}
            )
        return None

    def _proposal(
        self, chosen_by: str, seed: int, point: Point | None, sampler: Any = None
    ) -> Proposal:
        attributes = {"purpose": "search", "chosen_by": chosen_by, "seed": seed}
        return Proposal(point, seed, attributes, sampler)

    def _random_point(self, index: int) -> Point:
        rng = np.random.default_rng([self.search.seed, 3, index])
        return self.space.from_unit(rng.random(len(self.space.parameters)).tolist())

    def _space_filling_point(self, index: int) -> Point:
        """Point `index` of a scrambled Sobol sequence (Owen 1998), the same for the same seed."""
        sobol = qmc.Sobol(len(self.space.parameters), scramble=True, rng=self.search.seed)
        if index:
            sobol.fast_forward(index)
        return self.space.from_unit(sobol.random(1)[0].tolist())

    def _shuffled_grid(self) -> list[Point]:
        points = self.space.grid()
        order = np.random.default_rng([self.search.seed, 4]).permutation(len(points))
        return [points[i] for i in order]

    def _sampler(self, number: int, warm: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self.search.seed, number]).generate_state(1)[0])
        if self.search.sampler == "gp":
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=warm, warn_independent_sampling=False
            )
        if self.search.sampler == "cmaes":
            return optuna.samplers.CmaEsSampler(
                seed=seed, n_startup_trials=warm, warn_independent_sampling=False
            )
        conditional = self.space.is_conditional
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=warm, multivariate=True, group=conditional
        )


def _count(trials: list[FrozenTrial], *chosen_by: str) -> int:
    return sum(t.user_attrs.get("chosen_by") in chosen_by for t in trials)


def make_pruner(kind: str, by_count: bool = False) -> optuna.pruners.BasePruner:
    """The pruner. Its steps are per cent of the schedule, so trials with other epochs compare.

    The median rule waits for 30 % of the schedule: during warmup scores say little. `by_count` is
    for scripts that do not say how far they are: their steps are the evaluations' numbers.
    """
    first = 1 if by_count else 25
    if kind == "median":
        wait = 1 if by_count else 30
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=wait, n_min_trials=3)
    if kind == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    if kind == "hyperband":
        most: int | str = "auto" if by_count else 100
        return optuna.pruners.HyperbandPruner(
            min_resource=first, max_resource=most, reduction_factor=2
        )
    return optuna.pruners.NopPruner()
