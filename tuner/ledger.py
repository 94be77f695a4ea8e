"""The ledger: one Optuna study holds every trial of a run, whichever backend ran it.

So optuna-dashboard opens it and anybody's study can be reported on. What Optuna has no column for
is a user attribute; `docs/ledger.md` lists them all.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.errors import LedgerAway, RunFolderError
from tuner.space import Point
from tuner.storage import Patience, PatientStorage, masked

SCHEMA = 1
Purpose = Literal["search", "confirm"]
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
ON_AWS = ("training_job", "tuning_job")
TRIES = 5


class Ledger:
    """A study with this project's meaning of its attributes."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._seen: dict[str, list[FrozenTrial]] | None = None
        """Within a glance the answers so far, by question"""

    @classmethod
    def create(cls, url: str, name: str, direction: Literal["maximize", "minimize"]) -> "Ledger":
        """The ledger at `url` (SQLAlchemy's form), made where there is none."""
        study = _opened(url, "opened", lambda: optuna.create_study(
            storage=PatientStorage(url), study_name=name, direction=direction, load_if_exists=True,
        ))  # fmt: skip
        if not study.get_trials(deepcopy=False):  # else it is made, or somebody else's
            study.set_user_attr("schema", SCHEMA)
        return cls(study)

    @classmethod
    def load(cls, url: str, name: str | None = None) -> "Ledger":
        """An existing ledger; `name` may be left out where the database holds one study only."""
        path = url.removeprefix("sqlite:///")
        if url.startswith("sqlite:///") and not Path(path).is_file():
            raise RunFolderError(f"there is no ledger at {path}")
        return cls(
            _opened(
                url, "read", lambda: optuna.load_study(storage=PatientStorage(url), study_name=name)
            )
        )

    @property
    def maximize(self) -> bool:
        """Whether a higher objective is better."""
        return self.study.direction == optuna.study.StudyDirection.MAXIMIZE

    def read_trials(self, purpose: Purpose | None = None) -> list[FrozenTrial]:
        """Every trial, by number; of one purpose only where it is given."""
        if purpose is None:
            return self._once("all", lambda: self.study.get_trials(deepcopy=False))
        return self._once(
            purpose, lambda: [t for t in self.read_trials() if purpose_of(t) == purpose]
        )

    def _once(self, question: str, answer: Callable[[], list[FrozenTrial]]) -> list[FrozenTrial]:
        """What `answer` gives; within a glance it is asked once."""
        if self._seen is None:
            return answer()
        if question not in self._seen:
            self._seen[question] = answer()
        return list(self._seen[question])

    @contextmanager
    def glance(self) -> Iterator[None]:
        """Within it all questions about trials are answered by one reading of the database.

        For a decision that asks many; what is written meanwhile is not seen.
        """
        before = self._seen
        self._seen = {} if before is None else before
        try:
            self.read_trials()
            yield
        finally:
            self._seen = before

    def counted(self, purpose: Purpose) -> list[FrozenTrial]:
        """The trials that count towards the budget: all but interrupted and waiting ones."""
        return self._once(f"counted {purpose}", lambda: [
            t for t in self.read_trials(purpose)
            if t.state in FINISHED or not (is_interrupted(t) or t.state == TrialState.WAITING)
        ])  # fmt: skip

    def start_at(
        self,
        point: Point,
        distributions: Mapping[str, Any],
        attributes: Mapping[str, Any],
        of_sampler: Mapping[str, Any] | None = None,
    ) -> optuna.Trial:
        """A new running trial at this point, with all its attributes in one transaction.

        So a process killed at any moment leaves either no trial or one that can be run again.
        `of_sampler` is what Optuna's sampler wants to find there later. LedgerAway where the
        database does not answer: then the trial may be there or not.
        """
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions={name: distributions[name] for name in point},
            user_attrs=dict(attributes),
            system_attrs=dict(of_sampler or {}),
        )
        template.datetime_start = datetime.now()
        with self.patience.none():  # made twice, it would be one trial too many
            number = self.study._storage.create_new_trial(self.study._study_id, template)
        return self._handle(number)

    def start_job(
        self, point: Point, distributions: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> FrozenTrial:
        """As `start_at`, for a trial with a `training_job`: waits while the database is away.

        A job is one trial, so it is looked for before it is written down again.
        """
        name = attributes["training_job"]
        while True:
            for trial in reversed(self.read_trials()):
                if trial.user_attrs.get("training_job") == name:
                    return trial
            try:
                number = self.start_at(point, distributions, attributes).number
            except LedgerAway:
                time.sleep(0.2)
            else:
                return self.read_trials()[number]

    def _handle(self, trial_id: int) -> optuna.Trial:
        self.study.sampler = optuna.samplers.RandomSampler()  # nothing is left to be sampled
        self.study._thread_local.cached_all_trials = None
        return optuna.Trial(self.study, trial_id)

    def finish(
        self,
        trial: optuna.Trial,
        value: float | None,
        state: TrialState,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Records the end of a trial, its facts with it: all of it, or nothing.

        As Optuna does, a pruned trial keeps its last report as its value.
        """
        if self._backend is None:  # in memory
            for key, each in (facts or {}).items():
                trial.set_user_attr(key, each)
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
            return
        if state == TrialState.PRUNED:
            reports = self.study._storage.get_trial(trial._trial_id).intermediate_values
            last = reports[max(reports)] if reports else math.nan
            value = None if math.isnan(last) else last
        elif state != TrialState.COMPLETE:
            value = None
        try:
            self._backend.end_trial(trial._trial_id, state, value, facts or {})
        except optuna.exceptions.UpdateFinishedTrialError:
            # Ended already, and the database's answer was lost: so it was asked for again.
            if self.study._storage.get_trial(trial._trial_id).state != state:
                raise

    # A trial that was cut off keeps its number: its next worker resumes it.

    def orphans(self, nobodys: Callable[[FrozenTrial], bool]) -> list[FrozenTrial]:
        """Trials that were released, and running ones that `nobodys` is true of; oldest first."""
        return [
            t for t in self.in_flight()
            if not set(ON_AWS) & set(t.user_attrs)
            and (is_interrupted(t) if t.state == TrialState.WAITING else nobodys(t))
        ]  # fmt: skip

    def in_flight(self) -> list[FrozenTrial]:
        """Trials that run, here or elsewhere, and released ones; not what others have enqueued."""
        return [
            t for t in self.read_trials()
            if not t.state.is_finished() and "arguments" in t.user_attrs
        ]  # fmt: skip

    def take(self, orphan: FrozenTrial, worker: str) -> optuna.Trial:
        """The orphan as a running trial of this worker."""
        if orphan.state == TrialState.WAITING:
            self.study._storage.set_trial_state_values(orphan._trial_id, TrialState.RUNNING)
        trial = self._handle(orphan._trial_id)
        trial.set_user_attr("worker", worker)
        trial.set_user_attr("outcome", "running")
        trial.set_user_attr("attempts", int(orphan.user_attrs.get("attempts", 1)) + 1)
        return trial

    def release(self, trial: optuna.Trial) -> None:
        """Gives a trial that was cut short back, to be resumed."""
        trial.set_user_attr("outcome", "interrupted")
        self.study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def owner(self, trial: optuna.Trial) -> str | None:
        """The worker that runs the trial; None once it has ended."""
        assert self._backend is not None, "nobody else works on a study in memory"
        return self._backend.worker_of(trial._trial_id)

    def failed(self) -> list[FrozenTrial]:
        """Trials that a process of ours ran and that failed."""
        return [
            t for t in self.read_trials()
            if t.state == TrialState.FAIL and not is_interrupted(t) and "arguments" in t.user_attrs
        ]  # fmt: skip

    def set_failed_aside(self) -> int:
        """Makes trials that failed here ones that were cut short, so that new ones take their places; how many.

        Whoever has read them has to open the ledger anew.
        """
        if failed := self.failed():
            assert self._backend is not None, "a study in memory has no trials of a process"
            self._backend.note_of_ended([t._trial_id for t in failed], {"outcome": "interrupted"})
        return len(failed)

    def interrupted(self) -> list[FrozenTrial]:
        """Trials that were cut short for good (on AWS, or failed and set aside), and that no later one continues."""
        continued = {t.user_attrs.get("continues") for t in self.read_trials()}
        return [
            t for t in self.read_trials()
            if is_interrupted(t) and t.state == TrialState.FAIL
            and "arguments" in t.user_attrs and t.number not in continued
        ]  # fmt: skip

    def best_first(self) -> list[FrozenTrial]:
        """Completed search trials, best objective first; equal ones by number."""
        return self._once("best first", self._sorted)

    def _sorted(self) -> list[FrozenTrial]:
        done = [t for t in self.read_trials("search") if t.state == TrialState.COMPLETE]
        sign = -1.0 if self.maximize else 1.0
        return sorted(done, key=lambda t: (sign * float(t.value or 0.0), t.number))

    @property
    def _backend(self) -> PatientStorage | None:
        """Our storage, behind Optuna's cache; None for a study in memory, as of a CSV file."""
        backend = getattr(self.study._storage, "_backend", None)
        return backend if isinstance(backend, PatientStorage) else None

    @property
    def patience(self) -> Patience:
        """How long the database may be away; set what it says and what ends the waiting."""
        return self._backend.patience if self._backend is not None else Patience()

    def close(self) -> None:
        """Gives the database's connections back."""
        if self._backend is not None:
            self._backend.close()

    def set(self, key: str, value: Any) -> None:
        """A fact about the whole run."""
        self.study.set_user_attr(key, value)


def purpose_of(trial: FrozenTrial) -> Purpose:
    """`search`, or `confirm` for a re-run on a fresh seed; other people's trials are searches."""
    return "confirm" if trial.user_attrs.get("purpose") == "confirm" else "search"


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether the trial was cut short by the sweep's own end, not by its configuration."""
    cut_short = trial.state in (TrialState.FAIL, TrialState.WAITING)
    return cut_short and trial.user_attrs.get("outcome") == "interrupted"


def identity(point: Mapping[str, Any]) -> str:
    """What points of one configuration have in common, and no others."""
    return json.dumps(dict(point), sort_keys=True)


def distinct(trials: Iterable[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The first trial of every configuration, looked for as far as the caller reads."""
    seen: set[str] = set()
    for trial in trials:
        if (its := identity(trial.params)) not in seen:
            seen.add(its)
            yield trial


def _opened(url: str, how: str, call: Callable[[], optuna.Study]) -> optuna.Study:
    """The study that `call` gives; tried again where other processes make or hold the same tables."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except Exception as exc:  # each database has errors of its own
            if attempt == TRIES or not _is_a_race(exc):
                raise RunFolderError(
                    f"ledger {masked(url)} cannot be {how}: {_first_line(exc)}"
                ) from exc
        time.sleep(0.3 * attempt)
    raise AssertionError("the last try returns or raises")


def _is_a_race(exc: BaseException) -> bool:
    """Whether another process was faster at making the same table, row or study, or holds it."""
    words = f"{exc} {exc.__cause__ or ''}".lower()
    return any(sign in words for sign in ("already exists", "unique", "locked", "duplicate"))


def _first_line(exc: Exception) -> str:
    text = str(exc).strip().splitlines()
    return text[0] if text else type(exc).__name__
