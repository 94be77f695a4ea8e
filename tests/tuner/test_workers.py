"""Who works on a ledger, and who is gone: by process here, by a counter elsewhere, never by a clock."""

import os
import subprocess
import time

import optuna
import pytest

from tests import PATIENCE
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
    deadline = time.monotonic() + PATIENCE
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

    def nobodys(t):
        return other.gone(t.user_attrs["worker"])

    assert ledger.orphans(nobodys) == []
    ledger.release(trial)
    assert [t.number for t in ledger.orphans(nobodys)] == [0]
    ledger.study.enqueue_trial({"a": 0.1})  # by other people's code: nothing here waits for it
    assert [t.number for t in ledger.in_flight()] == [0]


def test_money_is_that_of_all_workers_each_at_its_own_price(ledger, monkeypatch):
    """One that is dead elsewhere does not spend, long before its trial may be taken over."""
    monkeypatch.setattr(workers, "QUIET_SECONDS", 0.4)
    mine, began = Workers(ledger, price=3600.0), time.monotonic()
    mine.join()
    assert mine.others() == workers.Others(0.0, 0.0)
    record = {"machine": "another", "pid": 1, "started": 5.0}
    far = record | {"usd": 2.5, "usd_per_hour": 7200.0}
    ledger.set(PREFIX + "far", far | {"beat": 1})
    ledger.set(PREFIX + "done", record | {"usd": 1.0, "usd_per_hour": 10.0, "left": True})
    assert mine.others() == workers.Others(3.5, 7200.0)
    time.sleep(0.5)
    assert mine.others() == workers.Others(3.5, 0.0)
    assert not mine.gone("far")
    ledger.set(PREFIX + "far", far | {"beat": 2})
    assert mine.others() == workers.Others(3.5, 7200.0)
    assert mine.usd == pytest.approx(time.monotonic() - began, rel=0.1)


def test_of_two_processes_of_a_machine_the_older_one_counts_its_price(ledger, monkeypatch):
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.0)
    mine = Workers(ledger, price=3600.0)
    helper = subprocess.Popen(["sleep", "60"])
    me = workers.identity()
    older = me | {"pid": 1, "started": workers.started_at(1)}
    younger = me | {"pid": helper.pid, "started": workers.started_at(helper.pid)}
    ledger.set(PREFIX + "younger", younger | {"price": 3600.0, "usd": 0.0, "usd_per_hour": 0.0})
    mine.join()
    assert (mine.here, mine.usd_per_hour) == (2, 3600.0)
    ledger.set(PREFIX + "older", older | {"price": 3600.0, "usd": 2.0, "usd_per_hour": 3600.0})
    mine.beat()
    counted = mine.usd
    time.sleep(0.2)
    assert (mine.here, mine.usd_per_hour, mine.usd) == (3, 0.0, counted)
    assert mine.others() == workers.Others(2.0, 3600.0)
    ledger.set(PREFIX + "older", older | {"price": 3600.0, "usd": 2.0, "left": True})
    mine.beat()
    assert mine.usd_per_hour == 3600.0
    helper.kill()
    helper.wait()


def test_a_sweep_on_postgresql_is_run_shown_and_reported_and_hides_its_password(
    write_sweep, tmp_path, tuner_process, postgres
):
    path = write_sweep(storage=postgres.url, name="shown", budget={"trials": 3, "parallel": 1})
    done = tuner_process("run", path, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    said = [done.stdout, tuner_process("status", tmp_path / "one").stdout]
    said.append(tuner_process("doctor", tmp_path / "one").stdout)
    assert "postgresql://me:***@127.0.0.1" in said[-1]
    assert "holds 3 trials (3 complete)" in said[-1]
    helped = tuner_process(
        "worker", path, "--out", tmp_path / "two"
    )  # another machine comes too late
    assert helped.returncode == 0, helped.stderr
    changed = tuner_process(
        "worker", path, "--out", tmp_path / "three", "--set", "search.seed=5"
    )  # another sweep of the same name
    assert changed.returncode == 2
    assert 'belongs to another sweep: search was not set, is {"seed": 5}' in changed.stderr
    elsewhere = tuner_process("run", write_sweep(name="shown"), "--out", tmp_path / "one")
    assert elsewhere.returncode == 2
    assert "the sweep names no storage" in elsewhere.stderr
    said += [helped.stdout, changed.stderr, elsewhere.stderr]
    assert "secret-word" not in "".join(said)
    for file in (tmp_path / "one").rglob("*"):
        if file.is_file() and file.name != "storage.url":
            assert b"secret-word" not in file.read_bytes(), file
    assert (tmp_path / "one" / "storage.url").stat().st_mode & 0o077 == 0
    # A new password is no other database: it is taken over.
    new = postgres.url.replace("a-secret-word", "another-one")
    refused = tuner_process(
        "run", write_sweep(storage=new, name="shown"), "--out", tmp_path / "one"
    )
    assert "password authentication failed" in refused.stderr
    assert (tmp_path / "one" / "storage.url").read_text().strip() == new


def test_an_address_that_is_none_is_refused_without_its_password(write_sweep, tuner):
    done = tuner("plan", write_sweep(storage="mysql://me:hidden-word@db/x"))
    assert done.returncode == 2
    assert "storage 'mysql://me:***@db/x' is neither postgresql://USER@HOST/NAME" in done.stderr
    assert "hidden-word" not in done.stdout + done.stderr
