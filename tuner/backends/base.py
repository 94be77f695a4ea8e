"""The seam between the orchestrator and whatever runs the trials.

The seam is a whole sweep, not a trial: SageMaker's tuner chooses its own points.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from tuner.ledger import Ledger
from tuner.points import Judge
from tuner.progress import Totals, View, shown_score
from tuner.run_folder import RunFolder
from tuner.sweep import LoadedSweep


class Outcome(Enum):
    """How a sweep ended."""

    FINISHED = "finished"
    OUT_OF_HOURS = "stopped: budget.hours is used up"
    OUT_OF_MONEY = "stopped: budget.usd is used up"
    STOPPED = "stopped"
    DETACHED = "no longer followed; its jobs keep running in AWS and cost money"


CAPS = {"budget.hours": Outcome.OUT_OF_HOURS, "budget.usd": Outcome.OUT_OF_MONEY}
"""How a sweep ends that has used one of them up"""


class Backend(Protocol):
    """Runs a sweep's trials into a ledger."""

    stopped_by: int
    """The signal that ended the last `run`, where one did"""

    def __init__(self, loaded: LoadedSweep, judge: Judge | None = None) -> None: ...

    def problems(self) -> list[str]:
        """What stands in the way, one sentence each, before anything is spent."""
        ...

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Runs what the ledger still lacks; run again, it resumes. SweepFailed: no trial worked."""
        ...

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Ends what runs, wherever it runs; the sentence that says what was done."""
        ...


def totals_of(loaded: LoadedSweep, ledger: Ledger, most: int, durations: Sequence[float]) -> Totals:
    """Planned, done, best and the time left at the pace so far, of `most` trials.

    `durations` are the seconds of the trials that have ended well.
    """
    sweep = loaded.sweep
    counted = ledger.counted("search") + ledger.counted("confirm")
    done = sum(t.state.is_finished() for t in counted)
    planned = max(most, len(counted))
    best = ledger.best_first()
    left = None
    if durations and planned > done:
        pace = sum(durations) / len(durations)
        left = pace * (planned - done) / min(sweep.budget.at_once, planned - done)
    label = f"{shown_score(best[0].value)} (trial {best[0].number})" if best else "none yet"
    return Totals(sweep.objective.metric, planned, done, label, left)
