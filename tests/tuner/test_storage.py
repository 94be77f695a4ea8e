"""Databases that are away, full or gone: waited for, or said in a sentence."""

import inspect
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage, _CachedStorage
from sqlalchemy import event

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.errors import LedgerAway, LedgerLost, RunFolderError
from tuner.ledger import Ledger
from tuner.storage import (
    WAITING,
    Busy,
    Patience,
    PatientStorage,
    Turn,
    driver_url,
    engine_options,
    masked,
)

DISTRIBUTIONS = {"a": optuna.distributions.FloatDistribution(0, 1)}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A database of each kind."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres").url
    return f"sqlite:///{tmp_path}/a.db"


@pytest.fixture
def make_ledger():
    """A ledger that gives its connections back when the test ends."""
    made = []

    def make(url, name="toy"):
        made.append(Ledger.create(url, name, "maximize"))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pa@ss@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
        ("postgresql://db/x?user=me&password=word", "postgresql://db/x?user=me&password=***"),
        ("sqlite:////home/me/study.db", "sqlite:////home/me/study.db"),
    ],
)
def test_a_password_is_masked_wherever_it_stands(url, shown):
    assert masked(url) == shown


@contextmanager
def away_until_said(patience, go, come_back):
    """The database goes, and comes back when it was said that it does not answer; what was said."""
    said, told = [], threading.Event()

    def say(sentence):
        said.append(sentence)
        told.set()

    def wait_and_come_back():
        told.wait(PATIENCE)
        come_back()

    patience.say = say
    go()
    back = threading.Thread(target=wait_and_come_back)
    back.start()
    try:
        yield said
    finally:
        told.set()
        back.join()


def test_a_locked_database_is_waited_for_longer_than_sqlite_does(
    tmp_path, make_ledger, monkeypatch
):
    monkeypatch.setattr("tuner.storage.SQLITE_WAIT_SECONDS", 0.1)
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    other = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    with away_until_said(
        ledger.patience, lambda: other.execute("BEGIN EXCLUSIVE"), other.commit
    ) as said:
        ledger.set("metric", "score")
    other.close()
    assert "does not answer" in said[0]
    assert "answers again" in said[1]
    assert ledger.study.user_attrs["metric"] == "score"


def test_every_call_that_optunas_cache_makes_is_one_that_waits():
    """Optuna's cache calls methods of the database's storage that are not public."""
    called = set(re.findall(r"_backend\.(\w+)", inspect.getsource(_CachedStorage)))
    assert called
    assert {name for name in called if "heartbeat" not in name and "stale" not in name} <= set(
        WAITING
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda ledger, trial: ledger.set("metric", "score"),
        lambda ledger, trial: ledger.read_trials(),
        lambda ledger, trial: ledger.owner(trial),
        lambda ledger, trial: trial.report(0.5, 1),
        lambda ledger, trial: ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE),
        lambda ledger, trial: ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, {"a": 1}),
        lambda ledger, trial: ledger.start_job({"a": 0.1}, DISTRIBUTIONS, {"training_job": "one"}),
    ],
    ids=["set", "read", "owner", "report", "finish", "finish with facts", "start_job"],
)  # fmt: skip
def test_a_database_that_went_away_and_came_back_is_waited_for(
    postgres, make_ledger, call, request
):
    ledger = make_ledger(postgres.url, request.node.name)
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    with away_until_said(ledger.patience, postgres.stop, postgres.start) as said:
        call(ledger, trial)
    assert "does not answer" in said[0]
    assert "answers again" in said[1]
    assert "secret" not in "".join(said)


def test_a_database_that_stays_away_is_given_up_with_a_sentence(postgres, make_ledger):
    ledger = make_ledger(postgres.url, "gone")
    ledger.patience.seconds = 1.0
    postgres.stop()
    try:
        with pytest.raises(LedgerLost, match="has not answered") as caught:
            ledger.set("metric", "score")
        assert "secret" not in str(caught.value)
        ledger.patience.seconds, ledger.patience.stop = 600, lambda: True
        ledger.patience.seconds_to_stop = 0.5
        with pytest.raises(LedgerLost, match="does not answer"):
            ledger.set("metric", "score")
    finally:
        postgres.start()


def test_a_statement_that_the_database_refuses_is_not_waited_for(postgres, make_ledger):
    ledger = make_ledger(postgres.url, "refused")
    engine = ledger.study._storage._backend.engine

    asked = []

    def ask():
        asked.append(1)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT nothing_of_the_kind"))

    with pytest.raises(LedgerLost, match="refuses what it was asked .*nothing_of_the_kind"):
        ledger.patience.through("it", ask)
    assert len(asked) == 1


def test_tables_of_another_version_are_a_sentence(tmp_path, make_ledger):
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    with sqlite3.connect(tmp_path / "study.db") as other:
        other.execute("ALTER TABLE trials DROP COLUMN datetime_complete")
    with pytest.raises(LedgerLost, match="another version of Optuna"):
        ledger.read_trials()


def test_a_trial_is_not_made_twice_where_the_answer_was_lost(postgres, make_ledger):
    """Whether it was made has to be looked up, so the call does not wait and does not repeat."""
    ledger = make_ledger(postgres.url, "once")
    postgres.stop()
    began = time.monotonic()
    try:
        with pytest.raises(LedgerAway):
            ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
        assert time.monotonic() - began < 60  # patience would be ten minutes
    finally:
        postgres.start()
    assert ledger.read_trials() == []


def test_a_turn_that_a_restart_of_the_database_ended_is_noticed(postgres, make_ledger):
    make_ledger(postgres.url, "turn")
    turn = Turn(postgres.url, "turn", Patience())
    with turn.taken():
        turn.check()
        postgres.stop()
        postgres.start()
        with pytest.raises(LedgerAway):
            turn.check()
    with turn.taken():
        turn.check()


def test_workers_that_begin_at_the_same_moment_make_one_ledger(tmp_path):
    code = (
        "import sys; from tuner.ledger import Ledger; Ledger.create(sys.argv[1], 'toy', 'maximize')"
    )
    url = f"sqlite:///{tmp_path}/study.db"
    made = [
        subprocess.Popen(
            [sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in made]
    assert [process.returncode for process in made] == [0] * 4, said


def test_a_wrong_address_is_said_without_its_password():
    with pytest.raises(RunFolderError) as caught:
        Ledger.create("postgresql://me:hidden-word@127.0.0.1:1/x", "toy", "maximize")
    assert "127.0.0.1" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


def test_one_worker_at_a_time_has_the_turn(url):
    order = []

    def work(name):
        turn, done = Turn(url, "toy", Patience()), 0
        while done < 5:
            try:
                with turn.taken():
                    order.append(f"{name} in")
                    time.sleep(0.01)
                    order.append(f"{name} out")
                    done += 1
            except Busy:
                time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(order) == 30
    assert all(a.split()[0] == b.split()[0] for a, b in zip(order[::2], order[1::2], strict=True))


def test_an_end_that_was_told_twice_is_one_end(tmp_path):
    """The database's answer may be lost; then the call is made again."""
    ledger = Ledger.create(f"sqlite:///{tmp_path}/study.db", "toy", "maximize")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE)
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        ledger.finish(trial, None, optuna.trial.TrialState.FAIL)
    waiting = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    ledger.release(waiting)
    with pytest.raises(ValueError, match="WAITING cannot end"):
        ledger.finish(waiting, 0.5, optuna.trial.TrialState.COMPLETE)


def test_an_end_is_written_whole_or_not_at_all(tmp_path, make_ledger, monkeypatch):
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RDBStorage, "_set_trial_value_without_commit", dies)
        with pytest.raises(KeyboardInterrupt):
            ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, {"outcome": "finished"})
    (read,) = ledger.read_trials()
    assert read.state == optuna.trial.TrialState.RUNNING
    assert read.user_attrs == {"arguments": []}
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, {"outcome": "finished"})
    (read,) = ledger.read_trials()
    assert (read.value, read.user_attrs["outcome"]) == (0.5, "finished")
    assert read.datetime_complete > read.datetime_start


def test_an_end_that_comes_after_another_ones_changes_nothing(tmp_path, make_ledger, monkeypatch):
    """Also in SQLite, which locks nothing for who only reads."""
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    other = Ledger.load(f"sqlite:///{tmp_path}/study.db", "toy")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    write = PatientStorage._write_user_attrs
    told = []

    def late(self, *args):
        if not told:
            told.append("other")
            other.patience.seconds = 0.0
            with pytest.raises(LedgerLost):  # it is locked by now
                other.finish(trial, 0.9, optuna.trial.TrialState.COMPLETE)
        write(self, *args)

    monkeypatch.setattr(PatientStorage, "_write_user_attrs", late)
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, {"outcome": "finished"})
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        other.finish(trial, None, optuna.trial.TrialState.FAIL, {"outcome": "failed"})
    (read,) = ledger.read_trials()
    assert (read.value, read.user_attrs["outcome"]) == (0.5, "finished")
    other.close()


@pytest.mark.parametrize("value", [None, float("nan")])
def test_no_trial_is_complete_without_a_score(value, tmp_path, make_ledger):
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    with pytest.raises(ValueError, match="cannot be complete"):
        ledger.finish(trial, value, optuna.trial.TrialState.COMPLETE)
    assert [t.state for t in ledger.read_trials()] == [optuna.trial.TrialState.RUNNING]


def test_a_trial_that_is_gone_is_not_waited_for(tmp_path, make_ledger):
    ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(KeyError, match="gone"):
        ledger.study._storage._backend.worker_of(77)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_pruned_trial_keeps_its_last_report_as_its_value(where, tmp_path, make_ledger):
    if where == "file":
        ledger = make_ledger(f"sqlite:///{tmp_path}/study.db")
    else:
        ledger = Ledger(optuna.create_study(direction="maximize"))
    for reports in ({}, {50: 0.7, 25: 0.6}):
        trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
        for step, value in reports.items():
            trial.report(value, step)
        ledger.finish(trial, 0.9, optuna.trial.TrialState.PRUNED, {"outcome": "pruned"})
    assert [t.value for t in ledger.read_trials()] == [None, 0.7]
    assert {t.state for t in ledger.read_trials()} == {optuna.trial.TrialState.PRUNED}


def test_the_facts_of_an_end_are_written_together(url, make_ledger):
    """As Optuna writes one: new ones and changed ones, read by a study that knows nothing of us."""
    ledger = make_ledger(url, "facts")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": [], "seed": 3})
    facts = {"seed": 4, "text": "it's", "nested": {"x": [1, None, 0.1]}, "umlaut": "für"}
    commits = []
    event.listen(ledger.study._storage._backend.engine, "commit", commits.append)
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, facts)
    assert len(commits) == 1
    theirs = RDBStorage(driver_url(url))
    (read,) = optuna.load_study(study_name="facts", storage=theirs).trials
    theirs.remove_session()
    theirs.engine.dispose()
    assert read.user_attrs == facts | {"arguments": []}
    assert read.value == 0.5


def test_more_facts_take_no_more_statements(url, make_ledger):
    ledger, statements = make_ledger(url, "few"), []
    event.listen(
        ledger.study._storage._backend.engine, "before_cursor_execute",
        lambda *told: statements.append(told[2]),
    )  # fmt: skip
    taken = []
    for count in (1, 20):
        statements.clear()
        facts = {f"fact {i}": i for i in range(count)}
        trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, facts | {"arguments": []})
        ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE, facts)
        taken.append(len(statements))
    assert taken[1] == taken[0] < 40


def test_a_glance_is_one_reading(tmp_path, make_ledger):
    ledger = make_ledger(f"sqlite:///{tmp_path}/a.db", "glance")
    trial = ledger.start_at({"a": 0.5}, DISTRIBUTIONS, {"arguments": []})
    with ledger.glance():
        ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE)
        with ledger.glance():
            assert not ledger.best_first()
        assert len(ledger.in_flight()) == 1
    assert len(ledger.best_first()) == 1


def test_only_postgresql_is_told_in_its_own_words():
    assert "keepalives_idle" in engine_options("postgresql://h/x")["connect_args"]
    assert "connect_args" not in engine_options("mysql+pymysql://h/x")
