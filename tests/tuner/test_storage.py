"""Databases that are away, full or gone: waited for, or said in a sentence."""

import threading
import time

import optuna
import pytest

from tuner.errors import LedgerLost, RunFolderError
from tuner.ledger import Ledger
from tuner.storage import Patience, Turn, masked


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


def test_a_locked_database_is_waited_for(tmp_path):
    import sqlite3

    ledger = Ledger.create(f"sqlite:///{tmp_path}/study.db", "toy", "maximize")
    other = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(1.0, other.commit).start()
    began = time.monotonic()
    ledger.set("metric", "score")
    assert time.monotonic() - began > 0.8
    assert ledger.study.user_attrs["metric"] == "score"


def test_a_database_that_went_away_and_came_back_is_waited_for(postgres):
    ledger = Ledger.create(postgres.url, "away", "maximize")
    said = []
    ledger.patience.say = said.append
    postgres.stop()
    threading.Timer(2.5, postgres.start).start()
    ledger.set("metric", "score")
    assert "does not answer" in said[0]
    assert "answers again" in said[1]
    assert "secret" not in "".join(said)


def test_a_database_that_stays_away_is_given_up_with_a_sentence(postgres):
    ledger = Ledger.create(postgres.url, "gone", "maximize")
    ledger.patience.seconds = 1.0
    postgres.stop()
    try:
        with pytest.raises(LedgerLost, match="has not answered") as caught:
            ledger.set("metric", "score")
        assert "secret" not in str(caught.value)
        ledger.patience.seconds, ledger.patience.stop = 600, lambda: True
        with pytest.raises(LedgerLost, match="does not answer"):
            ledger.set("metric", "score")
    finally:
        postgres.start()


def test_a_wrong_address_is_said_without_its_password():
    with pytest.raises(RunFolderError) as caught:
        Ledger.create("postgresql://me:hidden-word@127.0.0.1:1/x", "toy", "maximize")
    assert "127.0.0.1" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_worker_at_a_time_has_the_turn(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/study.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").url
    order = []

    def work(name):
        turn = Turn(url, "toy", tmp_path, Patience())
        for _ in range(5):
            with turn.taken():
                order.append(f"{name} in")
                time.sleep(0.01)
                order.append(f"{name} out")

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
    distributions = {"a": optuna.distributions.FloatDistribution(0, 1)}
    trial = ledger.start_at({"a": 0.5}, distributions, {"arguments": []})
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE)
    ledger.finish(trial, 0.5, optuna.trial.TrialState.COMPLETE)
    with pytest.raises(ValueError, match="Cannot tell"):
        ledger.finish(trial, None, optuna.trial.TrialState.FAIL)
