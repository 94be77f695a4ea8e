"""What can go wrong, as a person sees it: one sentence each, never a traceback.

TunerError               the exit status is 2 where the user can mend it, else 1
├── SweepError           faults in a sweep file, all at once, each with its line
├── RunFolderError       a run folder that cannot be used
├── SweepFailed          the sweep ran and has no result
└── LedgerLost           the ledger's database is away, full or damaged
    └── LedgerAway       it was away at a call that must not be made twice
"""

from collections.abc import Iterable


class TunerError(Exception):
    """An error whose text is all that a person needs."""

    exit_status = 2


class SweepError(TunerError):
    """The faults of a sweep file; `faults` has one sentence each, with file and line."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


class RunFolderError(TunerError):
    """A run folder that is in use, not writable, or of another sweep."""


class SweepFailed(TunerError):
    """The sweep ended without one finished trial."""

    exit_status = 1


class LedgerLost(TunerError):
    """The ledger's database does not answer any more; what it holds is safe."""

    exit_status = 1


class LedgerAway(LedgerLost):
    """The database did not answer, and whether it did what it was asked to has to be looked up."""
