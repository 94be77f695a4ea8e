"""Anybody's Optuna study, copied into a run folder."""

from tuner.errors import TunerError
from tuner.ledger import Ledger


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
        target.set(key, value)
    finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    for trial in finished:
        target.study.add_trial(trial)
    return len(finished)


def direction_of(ledger: Ledger) -> str:
    """`maximize` or `minimize`, as Optuna writes it."""
    return str(ledger.study.directions[0].name).lower()
