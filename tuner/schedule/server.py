"""Serves sweep files: looks at the clock, and starts each slot's sweep in a process of its own.

The server only decides; what may run is settled by the book (book.py), so any number of servers may
look at one book, and one that is killed leaves nothing undone that the next does not find.
"""

import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from tuner.errors import TunerError
from tuner.schedule.book import FAILED, QUEUED, RUNNING, Book, Entry
from tuner.schedule.times import as_text, slots_between, starts_at
from tuner.sweep_file import Schedule

LATE = timedelta(minutes=5)
"""A slot that nobody has started for so long was missed"""
TRY_AGAIN = timedelta(minutes=1)
MOST_TRIES = 3
"""A sweep whose process ends before it takes its slot, as where its script is gone, is tried so often"""
MOST_BEGINNINGS = 20
"""A slot whose process is killed again and again is left to `tuner schedule once`"""


@dataclass(frozen=True)
class Served:
    """A sweep file with a schedule, and its book."""

    path: Path
    name: str
    schedule: Schedule
    book: Book


@dataclass(frozen=True)
class Due:
    """What is to be done about a sweep now."""

    run: datetime | None = None
    skip: list[tuple[datetime, str]] = field(default_factory=list)


class Run(Protocol):
    """A slot's sweep that was started."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        ...


def due(served: Served, began: datetime, entries: Iterable[Entry], now: datetime) -> Due:
    """Which slot is to run now, and which are not to: of several, the newest stands for all."""
    entries = list(entries)
    for entry in entries:
        if entry.is_orphan(now) and entry.beginnings < MOST_BEGINNINGS:
            return Due(entry.slot)
    is_busy = any(e.state == RUNNING and not e.is_orphan(now) for e in entries)
    waiting = [e.slot for e in entries if e.state == QUEUED]
    known = max([began, *(e.slot for e in entries if e.slot <= now)])
    passed = list(slots_between(served.schedule, known, now))
    started = [s for s in passed if starts_at(served.schedule, served.name, s) <= now]
    # With a long jitter a later slot may start first; the ones before it then do not start any more.
    new = [slot for slot in passed if started and slot <= max(started)]
    if not waiting and not new:
        return Due()
    *older, newest = [*waiting, *new]
    skip = [(slot, f"slot {as_text(newest)} stands for it") for slot in older]
    if is_busy and served.schedule.overlap == "skip":
        return Due(None, [*skip, (newest, "the sweep before was still running")])
    late = newest not in waiting and now - starts_at(served.schedule, served.name, newest) > LATE
    if late and served.schedule.missed == "skip":
        return Due(None, [*skip, (newest, "nobody was there at its time")])
    return Due(newest, skip)


class Server:
    """Looks at all sweep files again and again; `start` runs a slot's sweep, `say` goes to the log.

    `tell_of_failure` tells people of a slot whose sweep could not, and why.
    """

    def __init__(
        self,
        served: Callable[[], list[Served]],
        start: Callable[[Served, datetime], Run],
        say: Callable[[str], None],
        tell_of_failure: Callable[[Served, datetime, str], None],
    ) -> None:
        self.served, self.start, self.say = served, start, say
        self.tell_of_failure = tell_of_failure
        self.running: dict[tuple[str, datetime], Run] = {}
        self.tries: dict[tuple[str, datetime], tuple[int, datetime]] = {}
        """How often a slot ended before it began, and until when it is left alone"""
        self.told: dict[str, str] = {}

    def look(self, now: datetime) -> None:
        """One look at the clock: starts what is due, writes down what is not to run."""
        ended = {key: s for key, run in self.running.items() if (s := run.poll()) is not None}
        for (name, slot), status in ended.items():
            del self.running[name, slot]
            self.say(f"{name}: slot {as_text(slot)} ended with status {status}")
        for each in self.served():
            try:
                for (name, slot), status in ended.items():
                    if name == each.name:
                        self._check_that_it_began(each, slot, status, now)
                self._look_at(each, now)
                self.told.pop(each.name, None)
            except (TunerError, OSError) as exc:  # its ledger is away; the others' need not be
                if self.told.get(each.name) != str(exc):
                    self.say(f"{each.name}: {exc}")
                self.told[each.name] = str(exc)

    def _check_that_it_began(
        self, each: Served, slot: datetime, status: int, now: datetime
    ) -> None:
        """Where it did not, it is tried again in a while, and given up after a few times."""
        entry = each.book.entry(slot)
        if entry is not None and entry.state != QUEUED:
            self.tries.pop((each.name, slot), None)
            return
        tries, _ = self.tries.get((each.name, slot), (0, now))
        self.tries[each.name, slot] = tries + 1, now + TRY_AGAIN
        if tries + 1 == MOST_TRIES and each.book.claim(slot, now):
            why = f"it ended with status {status} before it began, {MOST_TRIES} times"
            each.book.end(slot, FAILED, now, {"error": why})
            self.say(
                f"{each.name}: slot {as_text(slot)} has failed: {why}; `tuner plan {each.path}` may say why"
            )
            self.tell_of_failure(each, slot, why)

    def _look_at(self, each: Served, now: datetime) -> None:
        schedule = f"{each.schedule.cron} {each.schedule.timezone}"
        began, entries = each.book.began(now, schedule), each.book.that_decide(now)
        found = due(each, began, entries, now)
        for slot, why in found.skip:
            if each.book.drop(slot, now, why) or each.book.skip(slot, now, why):
                self.say(f"{each.name}: slot {as_text(slot)} is left out: {why}")
        if found.run is None or (each.name, found.run) in self.running:
            return
        if now < self.tries.get((each.name, found.run), (0, now))[1]:
            return
        busy = any(e.state == RUNNING and not e.is_orphan(now) for e in entries)
        if busy or self.running:
            if each.book.queue(found.run, now):
                self.say(f"{each.name}: slot {as_text(found.run)} waits for its turn")
            return
        self.say(f"{each.name}: slot {as_text(found.run)} starts")
        self.running[each.name, found.run] = self.start(each, found.run)

    def end(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Lets the sweeps that run save and end; in a hurry they are told a second time."""
        processes = [run for run in self.running.values() if isinstance(run, subprocess.Popen)]
        for process in processes:
            process.terminate()
        deadline, told = time.monotonic() + seconds, False
        while any(process.poll() is None for process in processes):
            if hurry() and not told:
                told = True
                for process in processes:
                    process.terminate()
            if time.monotonic() > deadline:
                for process in processes:
                    process.kill()
            time.sleep(0.1)
