"""The seam between the orchestrator and whatever runs the trials.

The seam is a whole sweep, not a trial: SageMaker's tuner chooses its own points.
"""

from enum import Enum
from typing import Protocol

from tuner.ledger import Ledger
from tuner.progress import View
from tuner.run_folder import RunFolder
from tuner.sweep import LoadedSweep


class Outcome(Enum):
    """How a sweep ended."""

    FINISHED = "finished"
    OUT_OF_HOURS = "stopped: budget.hours is used up"
    STOPPED = "stopped"
    DETACHED = "no longer followed; its jobs go on in AWS and cost money"


class Backend(Protocol):
    """Runs a sweep's trials into a ledger."""

    def __init__(self, loaded: LoadedSweep) -> None: ...

    def problems(self) -> list[str]:
        """What stands in the way, one sentence each, before anything is spent."""
        ...

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Runs what the ledger still lacks; run again, it goes on. SweepFailed: no trial worked."""
        ...

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Ends what runs, wherever it runs; the sentence that says what was done."""
        ...
