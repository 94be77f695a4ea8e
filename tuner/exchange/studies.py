"""Anybody's Optuna study, copied into a run folder."""

from collections.abc import Mapping
from typing import Any

from tuner.errors import TunerError
from tuner.ledger import Ledger
from tuner.workers import PREFIX

OF_ITS_RUN = frozenset({"importing", "stop_asked", "stop_asked_at", "stops_asked", "tuning_jobs"})
"""Attributes that tell, as those of its workers do, what runs of a study, and not of its trials"""


def bring_in(source: Ledger, target: Ledger) -> int:
    """Copies the trials and the study's attributes; how many trials there were.

    Waiting and running trials stay behind: they are no results. TunerError for several objectives.
    """
    study = source.study
    if len(study.directions) != 1:
        raise TunerError(
            f"study {study.study_name} has {len(study.directions)} objectives; "
            "a report compares trials by one"
        )
    for key, value in study.user_attrs.items():
        if not key.startswith(PREFIX) and key not in OF_ITS_RUN:
            target.set(key, value)
    finished = [t for t in study.get_trials() if t.state.is_finished()]
    numbers = {trial.number: index for index, trial in enumerate(finished)}
    for trial in finished:
        if "schema" in study.user_attrs:
            trial.user_attrs = renumbered(trial.user_attrs, numbers)
        elif trial.intermediate_values:  # others report at steps of their own
            trial.user_attrs = trial.user_attrs | {"steps": "evaluations"}
        target.study.add_trial(trial)
    return len(finished)


def renumbered(attributes: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """A trial's attributes where all trials have got new numbers; KeyError for a number that has none."""
    links = {
        key: numbers[number] for key in ("confirms", "continues")
        if isinstance(number := attributes.get(key), int)
    }  # fmt: skip
    return dict(attributes) | links


def direction_of(ledger: Ledger) -> str:
    """`maximize` or `minimize`, as Optuna writes it."""
    return str(ledger.study.directions[0].name).lower()
