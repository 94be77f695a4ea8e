"""Who works on a ledger: every `tuner run` and `tuner worker` under a name of its own, and who is gone.

A worker of this machine is gone when its process is. One of another machine is gone when its counter
has stood still for a while by our own clock: no two clocks have to agree, and none may be set back.
"""

import math
import os
import platform
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tuner.ledger import Ledger

BEAT_SECONDS = 5.0
GRACE_SECONDS = 60.0
QUIET_SECONDS = 15.0
"""Who has not counted on for so long is not thought to spend money; that decides nothing else"""
PREFIX = "worker:"


@dataclass(frozen=True)
class Others:
    """What the other workers have cost, and cost now."""

    usd: float = 0.0
    usd_per_hour: float = 0.0


class Workers:
    """Our place among those that work on a ledger. `price` is what an hour of this machine costs.

    Of several processes of one machine the one that began first counts it.
    """

    def __init__(
        self, ledger: Ledger, price: float = 0.0, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.ledger, self.price, self.grace_seconds = ledger, price, grace_seconds
        self.here = 1
        """How many processes of this machine are at work, this one among them"""
        self._pays, self._counted, self._usd = True, time.monotonic(), 0.0
        self.me = f"{platform.node() or 'here'}-{os.getpid()}-{secrets.token_hex(3)}"
        self._beats = 0
        self._beaten_at = -BEAT_SECONDS
        self._stops = 0
        self._watched: dict[str, tuple[int, float, float]] = {}

    def join(self) -> None:
        """Says that this process is at work."""
        self._counted = time.monotonic()
        self._stops = int(self.ledger.study.user_attrs.get("stops_asked", 0))
        self.beat()

    def beat(self) -> bool:
        """Counts on, every few seconds; whether it did."""
        now = time.monotonic()
        if now - self._beaten_at < BEAT_SECONDS:
            return False
        self._beaten_at, self._beats = now, self._beats + 1
        self._look_around()
        self.ledger.set(PREFIX + self.me, self._record())
        return True

    @property
    def usd(self) -> float:
        """What this machine has cost while this process counted it."""
        return self._usd + (time.monotonic() - self._counted) / 3600 * self.usd_per_hour

    @property
    def usd_per_hour(self) -> float:
        """What this process counts now."""
        return self.price if self._pays else 0.0

    def _look_around(self) -> None:
        """Who else is at work on this machine, and so who counts its price from now on."""
        self._usd, self._counted = self.usd, time.monotonic()
        me = identity()
        others = [r for name, r in _living_here(self.ledger).items() if name != self.me]
        self.here = 1 + len(others)
        self._pays = not any(
            float(r.get("price", 0)) > 0 and (r["started"], r["pid"]) < (me["started"], me["pid"])
            for r in others
        )

    def others(self) -> Others:
        """What all other workers there ever were have cost, and those at work cost an hour."""
        records = {
            key.removeprefix(PREFIX): value
            for key, value in self.ledger.study.user_attrs.items()
            if key.startswith(PREFIX) and isinstance(value, dict)
        }
        records.pop(self.me, None)
        rates = [
            float(record.get("usd_per_hour", 0.0))
            for name, record in records.items()
            if not self._is_gone(name, record) and self._counted_lately(name)
        ]
        return Others(sum(float(r.get("usd", 0.0)) for r in records.values()), sum(rates))

    def _counted_lately(self, name: str) -> bool:
        """False for one elsewhere that stands still: it may have been dead for long."""
        _, since, _ = self._watched.get(name, (0, math.inf, 0.0))
        return time.monotonic() - since < QUIET_SECONDS

    def leave(self) -> None:
        """Says that this process is done."""
        self.ledger.set(PREFIX + self.me, self._record() | {"left": True})

    def _record(self) -> dict[str, Any]:
        return identity() | {
            "beat": self._beats, "price": self.price, "usd": round(self.usd, 6),
            "usd_per_hour": self.usd_per_hour,
        }  # fmt: skip

    def stop_asked(self) -> bool:
        """Whether somebody has asked all workers to end since this one joined."""
        return int(self.ledger.study.user_attrs.get("stops_asked", 0)) > self._stops

    def gone(self, name: str) -> bool:
        """Whether a worker is surely not at work any more; False while that is being found out."""
        return name != self.me and self._is_gone(
            name, self.ledger.study.user_attrs.get(PREFIX + name)
        )

    def _is_gone(self, name: str, record: object) -> bool:
        if not isinstance(record, Mapping) or record.get("left"):
            return True
        if is_here(record):
            return not is_alive(record)
        now, beat = time.monotonic(), int(record.get("beat", 0))
        before, since, looked = self._watched.get(name, (-1, now, now))
        # While we did not look (the database was away, this machine slept) nothing was found out.
        if beat != before or now - looked > self.grace_seconds / 4:
            since = now
        self._watched[name] = (beat, since, now)
        return now - since > self.grace_seconds


def workers_of(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The records of all that have not said that they are done, by name."""
    return {
        key.removeprefix(PREFIX): dict(value)
        for key, value in ledger.study.user_attrs.items()
        if key.startswith(PREFIX) and isinstance(value, dict) and not value.get("left")
    }


def at_work_here(ledger: Ledger) -> dict[str, int]:
    """The process ids of the workers that are alive on this machine, by name."""
    return {name: int(record["pid"]) for name, record in _living_here(ledger).items()}


def _living_here(ledger: Ledger) -> dict[str, dict[str, Any]]:
    return {
        name: record
        for name, record in workers_of(ledger).items()
        if is_here(record) and is_alive(record)
    }


def stop_all(ledger: Ledger, seconds: float = 60.0) -> tuple[list[int], list[int]]:
    """Asks every worker to end; those of this machine that ended and those that did not in time.

    Workers of other machines see it at their next beat.
    """
    found = at_work_here(ledger)
    ledger.set("stops_asked", int(ledger.study.user_attrs.get("stops_asked", 0)) + 1)
    for pid in found.values():
        with suppress(ProcessLookupError, PermissionError):  # another user's sees it in the ledger
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while at_work_here(ledger) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = set(at_work_here(ledger).values())
    return [pid for pid in found.values() if pid not in left], sorted(left)


def is_here(record: Mapping[str, Any]) -> bool:
    """Whether a worker's process would be seen from here."""
    return record.get("machine") == machine()


def is_alive(record: Mapping[str, Any]) -> bool:
    """Whether the very process of a record still is; another one may have its number by now."""
    started = started_at(int(record.get("pid", -1)))
    return started is not None and started == record.get("started")


def identity() -> dict[str, Any]:
    """Our process, in words by which everybody can tell whether it still is."""
    return {"machine": machine(), "pid": os.getpid(), "started": started_at(os.getpid())}


def machine() -> str:
    """The machine and its boot, and in a container the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def started_at(pid: int) -> float | None:
    """When a process began, in clock ticks since boot where the system tells; None where it is gone.

    Ticks since boot do not move when the clock is set; psutil's time, used elsewhere, may.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    try:
        return psutil.Process(pid).create_time() if pid > 0 else None
    except psutil.Error:
        return None
