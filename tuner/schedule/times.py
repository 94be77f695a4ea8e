"""When the slots of a schedule are. Plain time: no clock is read here, and nothing is written.

A slot is named by the instant at which it was due, in UTC; so it is one slot on every machine, whatever
the time zone does. Source of the rules around daylight saving: Debian's cron, as cronsim follows it.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from tuner.sweep_file import Schedule

MOST_SLOTS = 100_000
"""So many are looked at; a schedule of every minute, off for two months"""


def slots_between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """The slots later than `after` and not later than `until`, oldest first, in UTC."""
    zone = ZoneInfo(schedule.timezone)
    moments = CronSim(schedule.cron, after.astimezone(zone).replace(microsecond=0))
    for _, moment in zip(range(MOST_SLOTS), moments, strict=False):
        slot = moment.astimezone(UTC)
        if slot > until:
            return
        if slot > after:
            yield slot


def next_slot(schedule: Schedule, after: datetime) -> datetime | None:
    """The first slot later than `after`; None where the expression names a day that never comes."""
    return next(slots_between(schedule, after, datetime.max.replace(tzinfo=UTC)), None)


def starts_at(schedule: Schedule, name: str, slot: datetime) -> datetime:
    """When a slot's sweep starts: the slot, and a delay that every scheduler draws alike."""
    if not schedule.jitter_minutes:
        return slot
    digest = hashlib.sha256(f"{name} {as_text(slot)}".encode()).digest()
    share = int.from_bytes(digest[:8]) / 2**64
    return slot + timedelta(minutes=share * schedule.jitter_minutes)


def as_text(slot: datetime) -> str:
    """A slot's name: sorts by time, and can be part of a folder's and a study's name."""
    return slot.astimezone(UTC).strftime("%Y%m%dT%H%MZ")


def from_text(text: str) -> datetime:
    """The slot of a name that `as_text` gave; ValueError for another."""
    return datetime.strptime(text, "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
