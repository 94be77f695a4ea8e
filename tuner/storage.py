"""The database of a ledger: patient with what passes, clear about what does not, one turn at a time."""

import copy
import fcntl
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    CompileError,
    DataError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tuner.errors import LedgerAway, LedgerLost

T = TypeVar("T")
TRIALS = cast(sqlalchemy.Table, TrialModel.__table__)
PATIENCE_SECONDS = 600.0
SQLITE_WAIT_SECONDS = 2.0
"""What SQLite waits by itself for a lock; then patience, which can be stopped, waits on"""
SILENCE = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}  # fmt: skip
"""So that a PostgreSQL whose machine has vanished is noticed within half a minute"""
HOPELESS = {
    "disk is full": "the disk is full; free some space",
    "readonly database": "it can only be read; make its folder writable",
    "unable to open database file": "it cannot be opened: its folder is gone or not writable",
    "no such table": "its tables are gone; restore the file",
    "no such column": "its tables are of another version of Optuna; `optuna storage upgrade` mends an older one's",
    "malformed": "the file is damaged; restore a copy of it",
    "not a database": "the file is damaged; restore a copy of it",
    "disk i/o error": "the disk does not take or give data",
    "password authentication failed": "the database refuses the password",
}
"""What waiting does not mend, as SQLite and PostgreSQL say it, and what a person can do."""
REFUSED = (ArgumentError, CompileError, DataError, NotSupportedError, ProgrammingError)
"""Nor does it mend a statement that the database does not take."""


@dataclass
class Patience:
    """How long a database may be away. `stop` ends the waiting early."""

    seconds: float = PATIENCE_SECONDS
    say: Callable[[str], None] = lambda text: None
    stop: Callable[[], bool] = lambda: False
    seconds_to_stop: float = 5.0
    """For so long it is waited all the same, for what passes while the last things are written"""
    waits: bool = True

    @contextmanager
    def none(self) -> Iterator[None]:
        """For what must not be done twice: LedgerAway at once, and the caller finds out what is."""
        before, self.waits = self.waits, False
        try:
            yield
        finally:
            self.waits = before

    def through(self, name: str, call: Callable[[], T]) -> T:
        """What `call` returns, tried again while its database is away; LedgerLost where that lasts."""
        began, pause, told = time.monotonic(), 0.2, False
        while True:
            try:
                result = call()
            except (StorageInternalError, SQLAlchemyError) as exc:
                words = _words(exc)
                lost = next((why for sign, why in HOPELESS.items() if sign in words.lower()), None)
                is_refused = isinstance(_cause(exc), REFUSED)
                if lost is None and is_refused:
                    lost = f"it refuses what it was asked ({words})"
                waited = time.monotonic() - began
                if lost is None and waited >= self.seconds_to_stop and self.stop():
                    lost = f"it does not answer ({words})"
                if lost is None and waited > self.seconds:
                    lost = f"it has not answered for {self.seconds / 60:.0f} min ({words})"
                if lost is not None:
                    resumes = "" if is_refused else "; the same command resumes the sweep"
                    raise LedgerLost(
                        f"the ledger {name} is lost to this process: {lost}. "
                        f"Nothing that it holds is lost{resumes}"
                    ) from exc
                if not self.waits:
                    raise LedgerAway(f"the ledger {name} does not answer: {words}") from exc
                if not told and waited > 1.0:
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

    A call whose answer was lost is made again, and so may happen twice. That is harmless for all
    but making a trial (see `Patience.none`): a trial that ended twice has one end (`Ledger.finish`).
    """

    def __init__(self, url: str) -> None:
        self.shown = masked(url)
        self.patience = Patience()
        super().__init__(driver_url(url), engine_kwargs=engine_options(url))

    def end_trial(
        self, trial_id: int, state: TrialState, value: float | None, facts: Mapping[str, Any]
    ) -> None:
        """Its user attributes, value and state in one transaction, where Optuna has many.

        Raises UpdateFinishedTrialError where it has ended already, ValueError where it does not run.
        """
        if state == TrialState.COMPLETE and (value is None or math.isnan(value)):
            raise ValueError(f"trial {trial_id} cannot be complete with the value {value}")

        def write() -> None:
            with _create_scoped_session(self.scoped_session) as session:
                # Written first, so that SQLite too locks before it looks.
                runs = sqlalchemy.update(TRIALS).values(state=TrialState.RUNNING)
                runs = runs.where(
                    TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.RUNNING
                )
                is_running = session.connection().execute(runs).rowcount
                trial = TrialModel.find_or_raise_by_id(trial_id, session)
                if not is_running:
                    before = cast(TrialState, trial.state)
                    self.check_trial_is_updatable(trial_id, before)
                    raise ValueError(f"a trial that is {before.name} cannot end")
                self._write_user_attrs(session, trial_id, facts)
                if value is not None:
                    self._set_trial_value_without_commit(session, trial, 0, value)
                trial.state, trial.datetime_complete = state, datetime.now()

        self.patience.through(self.shown, write)

    def note_of_ended(self, trial_ids: Sequence[int], facts: Mapping[str, Any]) -> None:
        """User attributes of trials that have ended, which Optuna leaves as they are.

        Optuna's cache keeps what it has read of such a trial: open the ledger anew to see them.
        """

        def write() -> None:
            with _create_scoped_session(self.scoped_session) as session:
                for trial_id in trial_ids:
                    self._write_user_attrs(session, trial_id, facts)

        self.patience.through(self.shown, write)

    def worker_of(self, trial_id: int) -> str | None:
        """Who runs the trial, by one statement; None once it has ended."""

        def read() -> str | None:
            with _create_scoped_session(self.scoped_session) as session:
                worker = TrialUserAttributeModel
                is_its = (worker.trial_id == TrialModel.trial_id) & (worker.key == "worker")
                state, told = session.execute(
                    sqlalchemy.select(TrialModel.state, worker.value_json)
                    .outerjoin(worker, is_its)
                    .where(TrialModel.trial_id == trial_id)
                ).one_or_none() or (None, None)
            if state is None:
                raise KeyError(f"trial {trial_id} is gone")
            return None if state.is_finished() else json.loads(told) if told else ""

        return self.patience.through(self.shown, read)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> TrialModel:
        """As Optuna's, with all user attributes in one statement; within the caller's transaction."""
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, None, session)
        bare = copy.copy(template_trial)
        bare.user_attrs = {}
        trial = super()._get_prepared_new_trial(study_id, bare, session)
        self._write_user_attrs(session, cast(int, trial.trial_id), template_trial.user_attrs)
        return trial

    def _write_user_attrs(
        self, session: Session, trial_id: int, attributes: Mapping[str, Any]
    ) -> None:
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in attributes.items()
        ]
        if not rows:
            return
        kind = postgresql if self.engine.name == "postgresql" else sqlite
        new = kind.insert(TrialUserAttributeModel)
        session.execute(
            new.on_conflict_do_update(
                index_elements=["trial_id", "key"], set_={"value_json": new.excluded.value_json}
            ),
            rows,
        )

    def close(self) -> None:
        """Gives the connections back; the storage opens new ones where it is used again."""
        self.remove_session()
        self.engine.dispose()


def _patient(name: str) -> Callable[..., Any]:
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        method = getattr(super(PatientStorage, self), name)
        return self.patience.through(self.shown, lambda: method(*args, **kwargs))

    call.__name__, call.__doc__ = name, getattr(RDBStorage, name).__doc__
    return call


WAITING = sorted(
    BaseStorage.__abstractmethods__
    | {"_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param"}
    | {"get_trial_id_from_study_id_trial_number"}
)
"""What waits: all that a storage has, and what Optuna's cache in front of it calls instead"""
for _name in WAITING:
    setattr(PatientStorage, _name, _patient(_name))


class Busy(Exception):
    """Another worker has the turn; it is soon free."""


class Turn:
    """One worker at a time decides what to run next; a dead worker's turn ends with it.

    The lock lies beside an SQLite file, whoever uses it; in PostgreSQL it is the database's own.
    """

    def __init__(self, url: str, study: str, patience: Patience) -> None:
        self.url, self.patience = url, patience
        self.key = zlib.crc32(f"tuner {study}".encode())
        self.engine: sqlalchemy.Engine | None = None
        self.connection: sqlalchemy.Connection | None = None
        if url.startswith("sqlite"):
            self.file = Path(url.removeprefix("sqlite:///") + ".turn")
        else:
            options = engine_options(url) | {"pool_pre_ping": False}
            self.engine = sqlalchemy.create_engine(driver_url(url), poolclass=NullPool, **options)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds the turn; Busy where another worker has it. Never waits for one."""
        if self.engine is None:
            with self._lock_file():
                yield
            return
        self.connection = self.patience.through(masked(self.url), self._lock)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the lock goes with the connection
                self.connection.close()
            self.connection = None

    def check(self) -> None:
        """LedgerAway where the turn was lost, as when the database was started anew meanwhile."""
        if self.connection is not None:
            try:
                self.connection.execute(sqlalchemy.text("SELECT 1"))
            except SQLAlchemyError as exc:
                raise LedgerAway(f"{masked(self.url)} does not answer: {_words(exc)}") from exc

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        try:
            file = self.file.open("a")
        except OSError as exc:
            raise LedgerLost(
                f"{self.file} cannot be opened ({exc.strerror}), so the ledger is lost to this process"
            ) from exc
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise Busy from exc
            yield

    def _lock(self) -> sqlalchemy.Connection:
        assert self.engine is not None
        connection = self.engine.connect()
        try:
            ask = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
            mine = connection.execute(ask, {"key": self.key}).scalar()
        except BaseException:  # Ctrl-C among them: the connection may hold the lock; raised again
            connection.close()
            raise
        if not mine:
            connection.close()
            raise Busy
        return connection


def engine_options(url: str) -> dict[str, Any]:
    """What SQLAlchemy is told of the database: how long it may be silent."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": SQLITE_WAIT_SECONDS}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgresql"):  # others' drivers do not know these words
        options["connect_args"] = dict(SILENCE)
    return options


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


def _cause(exc: BaseException) -> BaseException:
    """SQLAlchemy's error, which Optuna hides behind one of its own."""
    return (exc.__cause__ if isinstance(exc, StorageInternalError) else None) or exc


def _words(exc: BaseException) -> str:
    """The database's own first words."""
    cause = _cause(exc)
    text = str(getattr(cause, "orig", None) or cause).strip()
    return text.splitlines()[0] if text else type(exc).__name__
