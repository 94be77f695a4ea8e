"""The book of slots: one row for each, in the ledger's database or a file, so that each runs once.

A slot belongs to whoever writes its row first; the database lets one do it. A row whose process is gone
is taken over by one update that names the process it was of, and so by one only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Column, MetaData, String, Table, Text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from tuner.errors import RunFolderError
from tuner.schedule.times import as_text, from_text
from tuner.storage import driver_url, engine_options, masked
from tuner.workers import identity, is_alive, is_here

QUEUED, RUNNING, DONE, FAILED, SKIPPED = "queued", "running", "done", "failed", "skipped"
SILENT = timedelta(minutes=15)
"""A slot's process says every minute that it is at work; beyond this, one elsewhere is gone"""
BEGAN = "began"
"""The row that says since when a schedule is served: no slot before it was missed"""

_TABLE = Table(
    "tuner_slots", MetaData(),
    Column("sweep", String(80), primary_key=True),
    Column("slot", String(20), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("worker", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("said", Text, nullable=False),
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A slot of a sweep: its state, who runs it, when that was written (UTC), and what came of it."""

    slot: datetime
    state: str
    worker: Mapping[str, Any]
    at: datetime
    said: Mapping[str, Any]

    @property
    def beginnings(self) -> int:
        """How often the slot was begun."""
        return int(self.said.get("begun", 1))

    def is_orphan(self, now: datetime) -> bool:
        """Whether its process is gone: seen so on this machine (and boot), else silent for long."""
        if self.state != RUNNING:
            return False
        if is_here(self.worker):
            return not is_alive(self.worker)
        return now - self.at > SILENT


class Book:
    """The slots of one sweep. `now` is the clock; RunFolderError where the database does not answer."""

    def __init__(self, url: str, sweep: str) -> None:
        self.url, self.sweep = url, sweep
        try:
            if url.startswith("sqlite:///"):
                folder = Path(url.removeprefix("sqlite:///")).parent
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.engine = sqlalchemy.create_engine(driver_url(url), **engine_options(url))
        except (OSError, ValueError, SQLAlchemyError) as exc:
            raise self._away(exc) from exc
        try:
            _TABLE.create(self.engine, checkfirst=True)
        except (OperationalError, ProgrammingError, IntegrityError):  # the latter two: a race
            self._ask(sqlalchemy.select(_TABLE.c.slot).limit(1))
        except SQLAlchemyError as exc:
            raise self._away(exc) from exc

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()

    def began(self, now: datetime, schedule: str = "") -> datetime:
        """Since when this schedule is served; now, and written down, where none was, or another one."""
        query = sqlalchemy.select(_TABLE.c.at, _TABLE.c.said).where(self._is(BEGAN))
        said = {"schedule": schedule}
        if not (found := self._ask(query)):
            self._insert(BEGAN, SKIPPED, now, said)
            found = self._ask(query)
        since, before = datetime.fromisoformat(found[0][0]), json.loads(found[0][1]).get("schedule")
        if schedule in ("", before):
            return since
        since = now if before else since
        values = {"at": since.astimezone(UTC).isoformat(), "said": json.dumps(said)}
        self._write(_TABLE.update().where(self._is(BEGAN)).values(values))
        return since

    def entries(self) -> list[Entry]:
        """Every slot that anything is known of, oldest first."""
        return sorted(self._read(_TABLE.c.slot != BEGAN), key=lambda entry: entry.slot)

    def that_decide(self, now: datetime) -> list[Entry]:
        """What the next slot depends on, oldest first: the slots that run or wait, and the newest until now."""
        until_now = (_TABLE.c.sweep == self.sweep) & (_TABLE.c.slot <= as_text(now))
        newest = sqlalchemy.select(sqlalchemy.func.max(_TABLE.c.slot)).where(
            until_now, _TABLE.c.slot != BEGAN
        )
        is_open = _TABLE.c.state.in_((RUNNING, QUEUED))
        found = self._read(is_open | (_TABLE.c.slot == newest.scalar_subquery()))
        return sorted(found, key=lambda entry: entry.slot)

    def entry(self, slot: datetime) -> Entry | None:
        """One slot's; None where nothing is known of it."""
        return next(iter(self._read(_TABLE.c.slot == as_text(slot))), None)

    def _read(self, which: sqlalchemy.ColumnElement[bool]) -> list[Entry]:
        query = sqlalchemy.select(_TABLE).where(_TABLE.c.sweep == self.sweep, which)
        return [
            Entry(
                from_text(row.slot), row.state, json.loads(row.worker),
                datetime.fromisoformat(row.at), json.loads(row.said),
            )
            for row in self._ask(query)
        ]  # fmt: skip

    def claim(self, slot: datetime, now: datetime) -> bool:
        """Whether this process is the one that runs the slot.

        It is where the slot is new, was queued, has failed, or its process is gone.
        """
        if self._insert(as_text(slot), RUNNING, now, {}):
            return True
        before = self.entry(slot)
        if before is None or not (before.is_orphan(now) or before.state in (QUEUED, FAILED)):
            return False
        again = {"begun": before.beginnings + 1} if before.is_orphan(now) else {}
        return self._change(
            before, replace(before, state=RUNNING, worker=identity(), at=now, said=again)
        )

    def skip(self, slot: datetime, now: datetime, why: str) -> bool:
        """Writes down that a slot does not run; False where it has a row already."""
        return self._insert(as_text(slot), SKIPPED, now, {"why": why})

    def queue(self, slot: datetime, now: datetime) -> bool:
        """Writes down that a slot is due and waits; False where it has a row already."""
        return self._insert(as_text(slot), QUEUED, now, {})

    def drop(self, slot: datetime, now: datetime, why: str) -> bool:
        """Takes a queued slot out again; False where it has begun meanwhile."""
        before = self.entry(slot)
        if before is None or before.state != QUEUED:
            return False
        return self._change(before, replace(before, state=SKIPPED, at=now, said={"why": why}))

    def beat(self, slot: datetime, now: datetime) -> None:
        """Says that a slot of ours is at work."""
        before = self.entry(slot)
        if before is not None and before.state == RUNNING and before.worker == identity():
            self._change(before, replace(before, at=now))

    def end(self, slot: datetime, state: str, now: datetime, said: Mapping[str, Any]) -> None:
        """Writes down what came of a slot of ours."""
        before = self.entry(slot)
        assert before is not None
        self._change(before, replace(before, state=state, at=now, said=said))

    def _insert(self, slot: str, state: str, now: datetime, said: Mapping[str, Any]) -> bool:
        row = {
            "sweep": self.sweep, "slot": slot, "state": state, "worker": json.dumps(identity()),
            "at": now.astimezone(UTC).isoformat(), "said": json.dumps(said),
        }  # fmt: skip
        try:
            with self.engine.begin() as connection:
                connection.execute(_TABLE.insert().values(row))
        except IntegrityError:
            return False
        except SQLAlchemyError as exc:
            raise self._away(exc) from exc
        return True

    def _change(self, before: Entry, after: Entry) -> bool:
        change = (
            _TABLE.update()
            .where(self._is(as_text(before.slot)))
            .where(_TABLE.c.state == before.state)
            .where(_TABLE.c.worker == json.dumps(before.worker))
            .values(
                state=after.state, worker=json.dumps(after.worker),
                at=after.at.astimezone(UTC).isoformat(), said=json.dumps(after.said),
            )
        )  # fmt: skip
        return self._write(change) == 1

    def _write(self, change: Any) -> int:
        """How many rows it changed."""
        try:
            with self.engine.begin() as connection:
                return int(connection.execute(change).rowcount)
        except SQLAlchemyError as exc:
            raise self._away(exc) from exc

    def _is(self, slot: str) -> Any:
        return sqlalchemy.and_(_TABLE.c.sweep == self.sweep, _TABLE.c.slot == slot)

    def _ask(self, query: Any) -> list[Any]:
        try:
            with self.engine.connect() as connection:
                return list(connection.execute(query))
        except SQLAlchemyError as exc:
            raise self._away(exc) from exc

    def _away(self, exc: Exception) -> RunFolderError:
        words = str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]
        return RunFolderError(f"the book of slots {masked(self.url)} cannot be used: {words}")
