"""The ledger: one Optuna study holds every trial of a run, whichever backend ran it.

So optuna-dashboard opens it and anybody's study can be reported on. What Optuna has no column for
is a user attribute; `docs/ledger.md` lists them all.
"""

import json
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.errors import RunFolderError
from tuner.space import Point

SCHEMA = 1
Purpose = Literal["search", "confirm"]
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Ledger:
    """A study with this project's meaning of its attributes."""

    def __init__(self, study: Study) -> None:
        self.study = study

    @classmethod
    def create(cls, url: str, name: str, direction: Literal["maximize", "minimize"]) -> "Ledger":
        """The ledger at `url` (SQLAlchemy's form), made where there is none."""
        try:
            study = optuna.create_study(
                storage=url, study_name=name, direction=direction, load_if_exists=True
            )
        except Exception as exc:  # each database has errors of its own
            raise RunFolderError(
                f"ledger {masked(url)} cannot be opened: {_first_line(exc)}"
            ) from exc
        study.set_user_attr("schema", SCHEMA)
        return cls(study)

    @classmethod
    def load(cls, url: str, name: str | None = None) -> "Ledger":
        """An existing ledger; `name` may be left out where the database holds one study only."""
        path = url.removeprefix("sqlite:///")
        if url.startswith("sqlite:///") and not Path(path).is_file():
            raise RunFolderError(f"there is no ledger at {path}")
        try:
            return cls(optuna.load_study(storage=url, study_name=name))
        except Exception as exc:
            raise RunFolderError(
                f"ledger {masked(url)} cannot be read: {_first_line(exc)}"
            ) from exc

    @property
    def maximize(self) -> bool:
        """Whether a higher objective is better."""
        return self.study.direction == optuna.study.StudyDirection.MAXIMIZE

    def read_trials(self, purpose: Purpose | None = None) -> list[FrozenTrial]:
        """Every trial, by number; of one purpose only where it is given."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if purpose is None or purpose_of(t) == purpose]

    def counted(self, purpose: Purpose) -> list[FrozenTrial]:
        """The trials that count towards the budget: all but interrupted and waiting ones."""
        return [
            t for t in self.read_trials(purpose)
            if not is_interrupted(t) and t.state != TrialState.WAITING
        ]  # fmt: skip

    def start_at(
        self, point: Point, distributions: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> optuna.Trial:
        """A new running trial at this point, with all its attributes in one transaction.

        So a process killed at any moment leaves either no trial or one that can be run again.
        """
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions={name: distributions[name] for name in point},
            user_attrs=dict(attributes),
        )
        template.datetime_start = datetime.now()
        self.study.sampler = optuna.samplers.RandomSampler()  # nothing is left to be sampled
        return optuna.Trial(
            self.study, self.study._storage.create_new_trial(self.study._study_id, template)
        )

    def ask(self, sampler: optuna.samplers.BaseSampler) -> optuna.Trial:
        """A new running trial whose point the sampler will choose; `describe` it next."""
        self.study.sampler = sampler
        return self.study.ask()

    def describe(self, trial: optuna.Trial, attributes: Mapping[str, Any]) -> None:
        """Sets the attributes of an asked trial; `arguments` last, as the sign that it is whole."""
        for key in sorted(attributes, key=lambda key: key == "arguments"):
            trial.set_user_attr(key, attributes[key])

    def finish(self, trial: optuna.Trial, value: float | None, state: TrialState) -> None:
        """Records the end of a trial. Optuna keeps a pruned trial's last report as its value."""
        self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)

    def interrupted(self) -> list[FrozenTrial]:
        """Interrupted trials that no later trial continues, oldest first.

        One that was cut off before it knew its arguments had not begun; its place is filled anew.
        """
        continued = {t.user_attrs.get("continues") for t in self.read_trials()}
        return [
            t for t in self.read_trials()
            if is_interrupted(t) and "arguments" in t.user_attrs and t.number not in continued
        ]  # fmt: skip

    def close_stale(self) -> int:
        """Marks trials left running by a process that is gone; only the run's lock holder may ask.

        Training jobs on AWS run on without us; their backend looks after them.
        """
        stale = [
            t for t in self.read_trials()
            if t.state == TrialState.RUNNING and "training_job" not in t.user_attrs
        ]  # fmt: skip
        self.study.sampler = optuna.samplers.RandomSampler()
        for frozen in stale:
            trial = optuna.Trial(self.study, frozen._trial_id)
            trial.set_user_attr("outcome", "interrupted")
            trial.set_user_attr("failure", "the process that ran this sweep ended")
            self.finish(trial, None, TrialState.FAIL)
        return len(stale)

    def best_first(self, purpose: Purpose = "search") -> list[FrozenTrial]:
        """Completed trials, best objective first; equal ones by number."""
        done = [t for t in self.read_trials(purpose) if t.state == TrialState.COMPLETE]
        sign = -1.0 if self.maximize else 1.0
        return sorted(done, key=lambda t: (sign * float(t.value or 0.0), t.number))

    def set(self, key: str, value: Any) -> None:
        """A fact about the whole run."""
        self.study.set_user_attr(key, value)


def purpose_of(trial: FrozenTrial) -> Purpose:
    """`search`, or `confirm` for a re-run on a fresh seed; other people's trials are searches."""
    return "confirm" if trial.user_attrs.get("purpose") == "confirm" else "search"


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether the trial was cut short by the sweep's own end, not by its configuration."""
    return trial.user_attrs.get("outcome") == "interrupted"


def same_point(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two points are one configuration."""
    return json.dumps(dict(a), sort_keys=True) == json.dumps(dict(b), sort_keys=True)


def distinct(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The first trial of every configuration."""
    kept: dict[str, FrozenTrial] = {}
    for trial in trials:
        kept.setdefault(json.dumps(trial.params, sort_keys=True), trial)
    return list(kept.values())


def masked(url: str) -> str:
    """A database address without its password."""
    scheme, slashes, rest = url.partition("://")
    if "@" not in rest:
        return url
    user, _, host = rest.rpartition("@")
    return f"{scheme}{slashes}{user.split(':')[0]}:***@{host}"


def _first_line(exc: Exception) -> str:
    text = str(exc).strip().splitlines()
    return text[0] if text else type(exc).__name__
