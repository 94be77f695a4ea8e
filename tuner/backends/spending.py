"""What a local sweep has used of its budget: time on the clock and money; and which cap ends it."""

import time
from dataclasses import dataclass

from tuner.backends.base import CAPS, Outcome
from tuner.ledger import Ledger
from tuner.processes import KILL_AFTER_SECONDS
from tuner.sweep_file import Budget
from tuner.workers import Others, Workers

ENDING_SECONDS = 0.25
"""What it takes until killed trials have ended and the ledger has it; costs time and money too"""


@dataclass(frozen=True)
class Cap:
    """A hard cap: before it is reached trials are asked to save, when it is they are killed."""

    name: str
    seconds_left: float
    """Until trials are killed, at the present pace"""
    seconds: float
    """In all"""

    @property
    def outcome(self) -> Outcome:
        """How the sweep ends by it."""
        return CAPS[self.name]

    @property
    def reserve(self) -> float:
        """The time that trials get to save."""
        return min(KILL_AFTER_SECONDS, 0.05 * self.seconds)


class Spending:
    """The hours and dollars of one sweep: those of its earlier calls and other workers among them."""

    def __init__(self, budget: Budget, ledger: Ledger, workers: Workers) -> None:
        self.budget, self.ledger, self.workers = budget, ledger, workers
        self.before = float(ledger.study.user_attrs.get("elapsed_seconds", 0.0))
        self.started = self.noted = time.monotonic()
        self.others = Others()

    def elapsed(self) -> float:
        """Seconds on the clock."""
        return round(self.before + time.monotonic() - self.started, 3)

    def note(self, every: float = 0.0) -> None:
        """The time on the clock, so that a killed sweep does not get it back.

        Only where it was noted longer than `every` seconds ago: each is a transaction.
        """
        if time.monotonic() - self.noted >= every:
            self.noted = time.monotonic()
            self.ledger.set("elapsed_seconds", self.elapsed())

    def look_at_others(self) -> None:
        """What the other workers have cost by now."""
        self.others = self.workers.others()

    def caps(self) -> list[Cap]:
        """What ends the sweep, and when."""
        caps = []
        if self.budget.hours:
            most = self.budget.hours * 3600
            caps.append(Cap("budget.hours", most - self.elapsed() - ENDING_SECONDS, most))
        if self.budget.usd and (price := self.workers.price):
            left = self.budget.usd - self.others.usd - self.workers.usd
            an_hour = self.workers.usd_per_hour + self.others.usd_per_hour or price
            most = self.budget.usd * 3600 / price
            caps.append(Cap("budget.usd", left * 3600 / an_hour - ENDING_SECONDS, most))
        return caps

    def reached(self) -> Cap | None:
        """The cap that leaves trials no more than the time to save."""
        return next((cap for cap in self.caps() if cap.seconds_left <= cap.reserve), None)
