"""The database of a ledger: patient with what passes, clear about what does not, one turn at a time."""

import fcntl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tuner.errors import LedgerLost

T = TypeVar("T")
PATIENCE_SECONDS = 600.0
SQLITE_WAIT_SECONDS = 30.0
SCHEMES = ("sqlite:///", "postgresql://")
HOPELESS = {
    "disk is full": "the disk is full; free some space",
    "readonly database": "it can only be read; make its folder writable",
    "unable to open database file": "it cannot be opened: its folder is gone or not writable",
    "no such table": "its tables are gone; restore the file",
    "malformed": "the file is damaged; restore a copy of it",
    "not a database": "the file is damaged; restore a copy of it",
    "disk i/o error": "the disk does not take or give data",
    "password authentication failed": "the database refuses the password",
}
"""What waiting does not mend, as SQLite and PostgreSQL say it, and what a person can do."""


@dataclass
class Patience:
    """How long a database may be away. `stop` ends the waiting early."""

    seconds: float = PATIENCE_SECONDS
    say: Callable[[str], None] = lambda text: None
    stop: Callable[[], bool] = lambda: False

    def through(self, name: str, call: Callable[[], T]) -> T:
        """What `call` returns, tried again while its database is away; LedgerLost where that lasts."""
        began, pause, told = time.monotonic(), 0.2, False
        while True:
            try:
                result = call()
            except (StorageInternalError, SQLAlchemyError) as exc:
                words = _words(exc)
                lost = next((why for sign, why in HOPELESS.items() if sign in words.lower()), None)
                if lost is None and self.stop():
                    lost = f"it does not answer ({words})"
                if lost is None and time.monotonic() - began > self.seconds:
                    lost = f"it has not answered for {self.seconds / 60:.0f} min ({words})"
                if lost is not None:
                    raise LedgerLost(
                        f"the ledger {name} is lost to this process: {lost}. "
                        "Nothing that it holds is lost; the same command goes on"
                    ) from exc
                if not told and time.monotonic() - began > 1.0:
                    told = True
                    self.say(
                        f"the ledger does not answer; trials run on and it is waited for: {words}"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
                continue
            if told:
                self.say("the ledger answers again")
            return result


class PatientStorage(RDBStorage):
    """Optuna's storage; every call of it waits while the database is away.

    A call whose answer was lost is made again, and so may happen twice. That is harmless: a trial
    that ended twice has one end (`Ledger.finish`), one that was made twice is an orphan and runs.
    """

    def __init__(self, url: str) -> None:
        self.shown = masked(url)
        self.patience = Patience()
        if url.startswith("sqlite"):
            options: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}}
        else:
            options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
        super().__init__(driver_url(url), engine_kwargs=options)


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.patience.through(self.shown, lambda: method(self, *args, **kwargs))

    call.__name__, call.__doc__ = name, method.__doc__
    return call


for _name in sorted(BaseStorage.__abstractmethods__):
    setattr(PatientStorage, _name, _patient(_name))


class Turn:
    """One worker at a time decides what to run next; a dead worker's turn ends with it."""

    def __init__(self, url: str, study: str, folder: Path, patience: Patience) -> None:
        self.url, self.folder, self.patience = url, folder, patience
        self.key = zlib.crc32(f"tuner {study}".encode())
        self.engine = None
        if not url.startswith("sqlite"):
            self.engine = sqlalchemy.create_engine(driver_url(url), poolclass=NullPool)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for the turn and holds it."""
        if self.engine is None:
            with (self.folder / "turn.lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        connection = self.patience.through(masked(self.url), self._lock)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the lock goes with the connection
                connection.close()

    def _lock(self) -> sqlalchemy.Connection:
        assert self.engine is not None
        connection = self.engine.connect()
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": self.key})
        return connection


def driver_url(url: str) -> str:
    """The address with the driver that is installed here."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def masked(url: str) -> str:
    """A database address without its password, in whichever place it stands."""
    scheme, slashes, rest = url.partition("://")
    if slashes and "@" in rest:
        user, _, host = rest.rpartition("@")
        rest = f"{user.split(':')[0]}{':***' if ':' in user else ''}@{host}"
    before, mark, query = rest.partition("?")
    parts = [
        f"{key}=***" if equals and "pass" in key.lower() else part
        for part in query.split("&")
        for key, equals, _ in [part.partition("=")]
    ]
    return f"{scheme}{slashes}{before}{mark}{'&'.join(parts)}"


def _words(exc: BaseException) -> str:
    """The database's own first words."""
    cause = exc.__cause__ if isinstance(exc, StorageInternalError) else exc
    text = str(getattr(cause, "orig", None) or cause or exc).strip()
    return text.splitlines()[0] if text else type(exc).__name__
