"""Who works on a ledger, and who is gone: by process here, by a counter elsewhere, never by a clock."""

import os
import subprocess
import time

import optuna
import pytest

from tuner import workers
from tuner.ledger import Ledger
from tuner.workers import PREFIX, Workers, at_work_here, started_at


@pytest.fixture
def ledger(tmp_path):
    return Ledger.create(f"sqlite:///{tmp_path}/study.db", "toy", "maximize")


def test_a_worker_of_this_machine_is_gone_when_its_process_is(ledger):
    child = subprocess.Popen(["sleep", "60"])
    record = {"machine": workers.machine(), "pid": child.pid, "started": started_at(child.pid)}
    ledger.set(PREFIX + "other", record)
    mine = Workers(ledger)
    mine.join()
    assert at_work_here(ledger) == {"other": child.pid, mine.me: os.getpid()}
    assert not mine.gone("other")
    child.kill()
    child.wait()
    assert mine.gone("other")


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(ledger):
    mine = Workers(ledger)
    before = started_at(os.getpid()) - 1
    ledger.set(
        PREFIX + "old", {"machine": workers.machine(), "pid": os.getpid(), "started": before}
    )
    assert mine.gone("old")


def test_a_worker_elsewhere_is_gone_when_its_counter_has_stood_still(ledger):
    mine = Workers(ledger, grace_seconds=0.4)
    record = {"machine": "another", "pid": 1, "started": 5.0}
    for beat in range(6):
        ledger.set(PREFIX + "far", record | {"beat": beat})
        time.sleep(0.09)
        assert not mine.gone("far")
    deadline = time.monotonic() + 5
    while not mine.gone("far"):
        time.sleep(0.05)
        assert time.monotonic() < deadline


def test_what_nobody_looked_at_proves_nothing(ledger):
    """While the database is away, or this machine sleeps, the other worker cannot be seen to count."""
    mine = Workers(ledger, grace_seconds=0.4)
    ledger.set(PREFIX + "far", {"machine": "another", "pid": 1, "started": 5.0, "beat": 1})
    assert not mine.gone("far")
    time.sleep(0.6)
    assert not mine.gone("far")


def test_who_has_left_or_was_never_there_is_gone(ledger):
    mine = Workers(ledger)
    mine.join()
    mine.leave()
    other = Workers(ledger)
    assert other.gone(mine.me)
    assert other.gone("nobody")
    assert not other.gone(other.me)
    assert at_work_here(ledger) == {}


def test_a_stop_that_was_asked_for_before_is_none(ledger):
    workers.stop_all(ledger)
    mine = Workers(ledger)
    mine.join()
    assert not mine.stop_asked()
    ledger.set("stops_asked", 2)
    assert mine.stop_asked()


def test_nobody_takes_over_the_trial_of_a_living_worker(ledger):
    mine, other = Workers(ledger), Workers(ledger)
    mine.join()
    attributes = {"arguments": [], "seed": 0, "purpose": "search", "worker": mine.me}
    distributions = {"a": optuna.distributions.FloatDistribution(0, 1)}
    trial = ledger.start_at({"a": 0.5}, distributions, attributes)
    assert ledger.orphans(other.gone) == []
    ledger.release(trial)
    assert [t.number for t in ledger.orphans(other.gone)] == [0]
