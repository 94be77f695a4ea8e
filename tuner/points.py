"""Which point to try next, and how it was chosen: every trial says so in `chosen_by`.

A point is a function of the sweep's seed and the ledger alone. So nothing has to be saved beside
the ledger, and a resumed sweep does not replay its first points, as a seeded sampler would.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.ledger import FINISHED, Ledger, Purpose, distinct, identity, purpose_of
from tuner.space import Point, SearchSpace
from tuner.sweep import LoadedSweep

LAST_WINNER = "last winner"
ALL_LISTED = {"grid": "grid", "one_at_a_time": "one at a time"}
"""Samplers that have all their points from the start, and learn from no trial; what their trials say"""
ENDED = "search_ended"
"""The fact of the study that the search has ended before its budget, and why"""
Judge = Callable[[optuna.Study], Mapping[str, Any] | None]
"""Says why the search of a study may end (`sentence`, and the figures), None while it may gain something"""
CONFIRM_SEED = 100_000
"""Confirmation seeds start here above the sweep's seed, so no search trial has used one."""


@dataclass(frozen=True)
class Proposal:
    """The next trial. `of_sampler` is what an Optuna sampler notes of it for the trials after it."""

    point: Point
    seed: int
    attributes: dict[str, Any]
    of_sampler: dict[str, Any] = field(default_factory=dict)


class Points:
    """The search and the confirmation trials of a sweep, one at a time.

    `judge` is asked now and then whether the search may end (`budget.stop_early`; see `_ends_now`).
    """

    def __init__(self, loaded: LoadedSweep, ledger: Ledger, judge: Judge | None = None) -> None:
        self.loaded, self.ledger, self.judge = loaded, ledger, judge
        self._judged = 0
        self.search = loaded.sweep.search
        self.space = loaded.space()
        self.default = loaded.default_point() if self.search.start_with_default else None
        self.earlier = Earlier.of(ledger, self.space, self.default)
        self._memory: _Copy | None = None
        trials = loaded.sweep.budget.trials
        if self.search.sampler in ("random", "qmc"):
            self.fill = trials
        else:
            # As many as the first run had: a larger budget later goes to the adaptive sampler.
            noted = ledger.study.user_attrs.get("space_filling_trials")
            self.fill = noted or math.ceil(self.search.space_filling * trials)
        self.listed = {identity(point): point for point in self._listed()}
        """All points of a sampler that has them from the start, by their identity"""

    def search_total(self) -> int:
        """How many search trials the sweep will have."""
        if self.ended_early():
            return len(self.ledger.counted("search"))
        if self.listed:
            return min(len(self.listed), self.loaded.sweep.budget.trials)
        return self.loaded.sweep.budget.trials

    def most_confirmations(self) -> int:
        """The most runs on fresh seeds: of the best, and of the default where there is one."""
        confirm = self.loaded.sweep.confirm
        return (confirm.top + (self.default is not None)) * confirm.seeds if confirm.top else 0

    def most_trials(self) -> int:
        """The most trials that the sweep will have, those on fresh seeds among them."""
        return self.search_total() + self.most_confirmations()

    def is_default(self, point: Point) -> bool:
        """Whether a point is the default configuration, where that is to be tried."""
        return self.default is not None and identity(point) == identity(self.default)

    def next_search(self) -> Proposal | None:
        """The next search trial, None when the budget is used up."""
        done = self.ledger.counted("search")
        if len(done) < self.loaded.sweep.budget.trials and (again := self._again("search")):
            return again
        if len(done) >= self.search_total() or self._ends_now(done):
            return None
        number = len(self.ledger.read_trials())
        seed = self.search.seed + number
        if self.listed:
            tried = {identity(t.params) for t in done}
            point = next(p for its, p in self.listed.items() if its not in tried)
            if self.is_default(point):
                return self._proposal("default", seed, point)
            return self._proposal(ALL_LISTED[self.search.sampler], seed, point)
        if self.default is not None and not _count(done, "default"):
            return self._proposal("default", seed, self.default)
        if self.earlier.winner is not None and not _count(done, LAST_WINNER):
            return self._proposal(LAST_WINNER, seed, self.earlier.winner)
        filled = _count(done, "space-filling", "random")
        if filled < self.fill:
            if self.search.sampler == "random":
                return self._proposal("random", seed, self._random_point(filled))
            return self._proposal("space-filling", seed, self._space_filling_point(filled))
        warm = max(1, self.fill + (self.default is not None))
        counts = FINISHED if self.search.sampler == "tpe" else (TrialState.COMPLETE,)
        # What Optuna's samplers count.
        finished = sum(t.state in counts for t in done) + len(self.earlier.trials)
        chosen_by = "adaptive" if finished >= warm else "random"
        point, notes = self._sampled(self._sampler(number, warm))
        return self._proposal(chosen_by, seed, point, notes)

    def ended_early(self) -> str:
        """Why the search has ended before its budget; empty where it has not."""
        if not self.loaded.sweep.budget.stop_early:
            return ""
        return str((self.ledger.study.user_attrs.get(ENDED) or {}).get("sentence", ""))

    def _ends_now(self, done: list[FrozenTrial]) -> bool:
        """Asks the judge where a trial has ended since it was asked; what it says is the ledger's.

        Of many trials it is asked after every twentieth part more: it takes longer the more there are.
        Whether it is asked is a function of the ledger, as all is that decides on points.
        """
        budget = self.loaded.sweep.budget
        ended = sum(t.state.is_finished() for t in done)
        evenly_spread = math.ceil(self.search.space_filling * budget.trials)
        if (
            not budget.stop_early or self.judge is None or ended == self._judged
            or ended <= evenly_spread or ended % max(1, ended // 20)
        ):  # fmt: skip
            return False
        self._judged = ended
        found = self.judge(self.ledger.study)
        if found is not None:
            self.ledger.set(ENDED, dict(found))
        return found is not None

    def next_confirm(self) -> Proposal | None:
        """The next re-run on a fresh seed, None when each candidate has all of its seeds."""
        if again := self._again("confirm"):
            return again
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
        its = {identity(t.params) for t in default}
        others = (t for t in distinct(best) if identity(t.params) not in its)
        return [*itertools.islice(others, top), *default]

    def _again(self, purpose: Purpose) -> Proposal | None:
        """A run that was cut short for good: a new one takes its place.

        Of a search on AWS it is AMT that chooses what does.
        """
        for trial in self.ledger.interrupted():
            is_amts = purpose == "search" and "training_job" in trial.user_attrs
            if purpose_of(trial) == purpose and not is_amts:
                kept = ("purpose", "chosen_by", "confirms", "seed")
                again = {key: trial.user_attrs[key] for key in kept if key in trial.user_attrs}
                again["continues"] = trial.number
                of_sampler = {  # what a pruner has noted is of that run
                    key: value for key, value in trial.system_attrs.items()
                    if not key.startswith("completed_rung_")
                }  # fmt: skip
                return Proposal(dict(trial.params), trial.user_attrs["seed"], again, of_sampler)
        return None

    def _proposal(
        self, chosen_by: str, seed: int, point: Point, of_sampler: dict[str, Any] | None = None
    ) -> Proposal:
        attributes = {"purpose": "search", "chosen_by": chosen_by, "seed": seed}
        return Proposal(point, seed, attributes, of_sampler or {})

    def _sampled(self, sampler: optuna.samplers.BaseSampler) -> tuple[Point, dict[str, Any]]:
        """A point that the sampler chooses, and its notes.

        It chooses in a copy of the study in memory: asked in the ledger, Optuna would make the trial
        first and its point after, and a process killed in between would leave half a trial.
        """
        trial = self._copy().ask_at(sampler)
        point = self.space.suggest(trial)
        return point, dict(trial.study._storage.get_trial(trial._trial_id).system_attrs)

    def _copy(self) -> "_Copy":
        trials = self.ledger.read_trials()
        prior = self.earlier.as_of_now(trials)
        if (
            self._memory is None or self._memory.prior != prior
            or not self._memory.follow(trials)
        ):  # fmt: skip
            self._memory = _Copy(self.ledger.study.direction, self.space.distributions(), prior)
            self._memory.follow(trials)
        return self._memory

    def _random_point(self, index: int) -> Point:
        rng = np.random.default_rng([self.search.seed, 3, index])
        return self.space.from_unit(rng.random(len(self.space.parameters)).tolist())

    def _space_filling_point(self, index: int) -> Point:
        """Point `index` of a scrambled Sobol sequence (Owen 1998), the same for the same seed."""
        from scipy.stats import qmc  # loads for a second, which `tuner status` does not need

        sobol = qmc.Sobol(len(self.space.parameters), scramble=True, rng=self.search.seed)
        if index:
            sobol.fast_forward(index)
        return self.space.from_unit(sobol.random(1)[0].tolist())

    def _listed(self) -> list[Point]:
        if self.search.sampler == "one_at_a_time" and self.default is not None:
            return [self.default, *self.space.one_change(self.default)]
        if self.search.sampler != "grid":
            return []
        points = self.space.grid()
        order = np.random.default_rng([self.search.seed, 4]).permutation(len(points))
        return sorted((points[i] for i in order), key=lambda point: not self.is_default(point))

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


@dataclass(frozen=True)
class Earlier:
    """What an earlier run found (`tuner run --warm`): its winner, and trials of points in this space.

    `winner` is None where there is none in this space, or where it is the default.
    """

    winner: Point | None
    trials: list[tuple[Point, float]]
    by_kind: dict[str, float]
    """Its score of the default and of its winner, which this run has again"""

    @classmethod
    def of(cls, ledger: Ledger, space: SearchSpace, default: Point | None) -> "Earlier":
        """As the ledger has it."""
        found = ledger.study.user_attrs.get("warm")
        if not isinstance(found, dict):
            return cls(None, [], {})
        inside = [t for t in found["trials"] if space.holds(t["params"])]
        winner = found["winner"]
        if winner is not None and not space.holds(winner):
            winner = None
        by_kind = {}
        for trial in inside:
            if winner is not None and identity(trial["params"]) == identity(winner):
                by_kind[LAST_WINNER] = float(trial["value"])
            if default is not None and identity(trial["params"]) == identity(default):
                by_kind["default"] = float(trial["value"])
        if winner is not None and default is not None and identity(winner) == identity(default):
            winner = None
        trials = [(dict(t["params"]), float(t["value"])) for t in inside]
        return cls(dict(winner) if winner else None, trials, by_kind)

    def as_of_now(self, now: Sequence[FrozenTrial]) -> list[tuple[Point, float]]:
        """Its trials with the scores that they would have today.

        Other data shifts all scores; by how much, the default and the last winner tell, which this
        run has tried as well.
        """
        if not self.trials:
            return []
        shifts = [
            float(t.value) - self.by_kind[kind]
            for t in now
            if t.state == TrialState.COMPLETE and t.value is not None
            and (kind := str(t.user_attrs.get("chosen_by"))) in self.by_kind
        ]  # fmt: skip
        shift = sum(shifts) / len(shifts) if shifts else 0.0
        return [(point, value + shift) for point, value in self.trials]


class _Copy:
    """A study in memory that follows the ledger, so that a sampler sees all trials of it.

    `prior` are trials of an earlier run that it sees before them.
    """

    def __init__(
        self,
        direction: optuna.study.StudyDirection,
        distributions: dict[str, Any],
        prior: list[tuple[Point, float]],
    ) -> None:
        self.study = optuna.create_study(direction=direction, storage=InMemoryStorage())
        self.storage, self.study_id = self.study._storage, self.study._study_id
        self.prior = prior
        for point, value in prior:
            of_point = {name: distributions[name] for name in point}
            template = create_trial(params=dict(point), distributions=of_point, value=value)
            self.storage.create_new_trial(self.study_id, template_trial=template)
        self.open: dict[int, int] = {}
        self.count = 0

    def follow(self, trials: list[FrozenTrial]) -> bool:
        """Takes over what is new; False where the copy has become another than the ledger."""
        if len(trials) < self.count:
            return False
        for number, own in list(self.open.items()):
            now = trials[number]
            if self.storage.get_trial(own).params != now.params:
                return False
            if now.state.is_finished():
                for step, value in now.intermediate_values.items():
                    self.storage.set_trial_intermediate_value(own, step, value)
                self.storage.set_trial_state_values(own, now.state, now.values)
                del self.open[number]
        for trial in trials[self.count :]:
            own = self.storage.create_new_trial(self.study_id, template_trial=trial)
            if not trial.state.is_finished():
                self.open[trial.number] = own
        self.count = len(trials)
        return True

    def ask_at(self, sampler: optuna.samplers.BaseSampler) -> optuna.Trial:
        """A new trial of the copy, for the sampler to choose its point."""
        self.study.sampler = sampler
        own = self.storage.create_new_trial(self.study_id)
        self.open[self.count] = own
        self.count += 1
        self.study._thread_local.cached_all_trials = None
        return optuna.Trial(self.study, own)


class _SearchMedian(optuna.pruners.MedianPruner):
    """The median of the search: runs on fresh seeds are of its best configurations, and would raise it."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """As Optuna's."""
        return super().prune(cast(optuna.Study, _SearchOnly(study)), trial)


@dataclass(frozen=True)
class _SearchOnly:
    """What Optuna's median asks of a study."""

    study: optuna.Study

    @property
    def direction(self) -> optuna.study.StudyDirection:
        return self.study.direction

    def get_trials(self, **asked: Any) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(**asked) if purpose_of(t) == "search"]


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
        return _SearchMedian(n_startup_trials=5, n_warmup_steps=wait, n_min_trials=3)
    if kind == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    if kind == "hyperband":
        most: int | str = "auto" if by_count else 100
        return optuna.pruners.HyperbandPruner(
            min_resource=first, max_resource=most, reduction_factor=2
        )
    return optuna.pruners.NopPruner()
