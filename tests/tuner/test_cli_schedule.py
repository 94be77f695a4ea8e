"""`tuner schedule` and `tuner compare` as a person, a service or a CI job calls them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.cli_schedule import _Files
from tuner.ledger import Ledger
from tuner.schedule.book import Book
from tuner.schedule.times import as_text

SLOTS = ["20260105T0600Z", "20260112T0600Z", "20260119T0600Z"]


@pytest.fixture
def weekly(write_sweep):
    """A scheduled sweep of the toy script, whose seed noise is small; its blocks can be replaced."""

    def write(**blocks):
        return write_sweep(
            name="weekly",
            **{
                "fixed": {"noise": 0.05}, "search": {"pruner": "none"},
                "confirm": {"top": 1, "seeds": 2}, "budget": {"trials": 6, "parallel": 2},
                "schedule": {"cron": "0 6 * * MON", "timezone": "Europe/Berlin"},
            } | blocks,
        )  # fmt: skip

    return write


def trials_of(tmp_path, slot):
    path = tmp_path / "runs/weekly-slots" / slot / "study.db"
    return Ledger.load(f"sqlite:///{path}", f"weekly.{slot}").read_trials()


def test_slots_run_once_start_warm_are_compared_and_told(
    weekly, tuner, tmp_path, webhook, monkeypatch
):
    monkeypatch.setenv("THE_HOOK", webhook.url)
    tell = {"webhook": "$THE_HOOK", "link": "https://example.org/weekly/"}
    path = weekly(schedule={"cron": "0 6 * * MON", "timezone": "Europe/Berlin", "tell": tell})
    first = tuner("schedule", "once", path, "--slot", SLOTS[0])
    assert first.returncode == 0, first.stderr
    again = tuner("schedule", "once", path, "--slot", SLOTS[0])
    assert (again.returncode, again.stdout) == (0, f"slot {SLOTS[0]} of weekly: done: first\n")
    second = tuner("schedule", "once", path, "--slot", SLOTS[1])
    assert second.returncode == 0, second.stderr + second.stdout
    assert f"starts from what the 6 trials of runs/weekly-slots/{SLOTS[0]} found" in second.stdout
    before, now = (trials_of(tmp_path, slot) for slot in SLOTS[:2])
    assert len(before) == len(now) == 10
    assert now[1].user_attrs["chosen_by"] == "last winner"
    summary = json.loads((tmp_path / f"runs/weekly-slots/{SLOTS[1]}/summary.json").read_text())
    assert summary["verdict"] == "same"
    assert summary["changed"] is False
    assert summary["winners"][0]["params"] == now[1].params
    report = json.loads((tmp_path / f"runs/weekly-slots/{SLOTS[1]}/report.json").read_text())
    assert report["sections"]["change"]["sentence"] == summary["sentence"]
    assert "svg" in (tmp_path / "runs/weekly-slots/index.html").read_text()
    # The third slot's data is another: so much worse that everybody sees it.
    assert webhook.got == []  # nothing has changed
    worse = ["--set", "fixed.loss=1.0"]
    third = tuner("schedule", "once", path, "--slot", SLOTS[2], *worse)
    assert third.returncode == 10, third.stderr + third.stdout
    assert "weekly, slot 20260119T0600Z: worse. All scores are worse: -" in third.stdout
    ((_, message),) = webhook.got
    assert message["tuner"] == {"sweep": "weekly", "slot": SLOTS[2], "verdict": "worse"}
    assert message["text"].startswith("*weekly: worse*\nAll scores are worse: -")
    assert message["text"].endswith(f"\nhttps://example.org/weekly/{SLOTS[2]}/report.html")
    for file in (tmp_path / "runs").rglob("*"):
        assert not file.is_file() or b"SECRET" not in file.read_bytes(), file
    listed = tuner("schedule", "list", tmp_path)
    assert "done: worse" in listed.stdout
    assert re.search(r"weekly .*2026-01-19 07:00", listed.stdout)
    runs = tmp_path / "runs/weekly-slots"
    compared = tuner("compare", runs / SLOTS[1], runs / SLOTS[2], "--json", tmp_path / "c.json")
    assert compared.returncode == 10
    assert "differs: fixed.loss was None, is 1.0" in compared.stdout
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == "worse"


@pytest.mark.slow
def test_a_slot_that_fails_is_written_down_and_can_be_run_again(weekly, tuner, tmp_path):
    path = weekly(fixed={"mode": "fails"})
    failed = tuner("schedule", "once", path, "--slot", SLOTS[0])
    assert failed.returncode == 1
    assert "failed: 5 trials failed" in tuner("schedule", "list", tmp_path).stdout
    again = tuner("schedule", "once", path, "--slot", SLOTS[0])
    assert again.returncode == 1
    assert "resumes after" in again.stdout


@pytest.mark.slow
def test_a_slot_that_a_person_stopped_waits_for_a_person(weekly, tuner, tmp_path):
    """And another goal, or a last slot that is gone, costs the comparison and not the slot."""
    path = weekly(
        fixed={"sleep": 0.6, "checkpoint": True}, budget={"trials": 2, "parallel": 1},
        confirm={"top": 0},
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "schedule", "once", str(path), "--slot", SLOTS[0]],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    while "25%" not in (line := process.stdout.readline()):
        assert line
    assert tuner("stop", tmp_path / "runs/weekly-slots" / SLOTS[0]).returncode == 0
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "failed: stopped; `once` resumes it" in tuner("schedule", "list", tmp_path).stdout
    again = tuner("schedule", "once", path, "--slot", SLOTS[0])
    assert again.returncode == 0, again.stderr
    other = tuner(
        "schedule", "once", path, "--slot", SLOTS[1], "--set", "objective.direction=minimize",
        "--set", "fixed.sleep=0.0",
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert "it cannot begin with what that one found" in other.stderr
    assert "cannot tell. the runs do not compare" in other.stdout
    (tmp_path / "runs/weekly-slots" / SLOTS[1] / "study.db").unlink()
    last = tuner("schedule", "once", path, "--slot", SLOTS[2], "--set", "fixed.sleep=0.0")
    assert last.returncode == 0, last.stderr
    assert f"slot {SLOTS[1]} cannot be compared with: there is no ledger at" in last.stderr
    assert f"starts from what the 2 trials of runs/weekly-slots/{SLOTS[0]} found" in last.stdout
    late = tuner("schedule", "once", path, "--slot", "20990101T0000Z")
    assert "slot 20990101T0000Z is still to come" in late.stderr
    warm = tuner(
        "run", path, "--warm", tmp_path / "runs/weekly-slots" / SLOTS[0],
        "--set", "objective.direction=minimize",
    )  # fmt: skip
    assert warm.returncode == 2
    assert "and this sweep to minimize score" in warm.stderr


def test_a_server_runs_what_is_due_and_the_next_one_goes_on_with_it(weekly, tuner, tmp_path):
    """Ended in the middle of a slot by SIGTERM, which the slot's sweep survives in its checkpoint."""
    path = weekly(
        fixed={"sleep": 0.8, "checkpoint": True, "evaluations": 10}, budget={"trials": 2, "parallel": 1},
        confirm={"top": 0}, schedule={"cron": "* * * * *"},
    )  # fmt: skip
    book = Book(f"sqlite:///{tmp_path}/runs/weekly-slots/slots.db", "weekly")
    now = datetime.now(UTC)
    book.began(now - timedelta(minutes=3))
    due = as_text(now.replace(second=0, microsecond=0))
    path.with_name("other.yaml").write_text("name: [")

    def serve():
        return subprocess.Popen(
            [sys.executable, "-m", "tuner.cli", "schedule", "run", str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    server, said = serve(), ""
    while "trial   0     10%" not in said:
        line = server.stdout.readline()
        assert line, said
        said += line
    server.send_signal(signal.SIGTERM)
    said += server.communicate(timeout=PATIENCE)[0]
    assert server.returncode == 143, said
    assert "other.yaml is left out" in said
    states = {as_text(e.slot): e.state for e in book.entries()}
    running = [slot for slot, state in states.items() if state == "running"]
    assert len(running) == 1
    assert running[0] >= due
    earlier = [state for slot, state in states.items() if slot < running[0]]
    assert len(earlier) >= 2
    assert set(earlier) == {"skipped"}
    server, said = serve(), ""
    while f"slot {running[0]} ended with status 0" not in said:
        line = server.stdout.readline()
        assert line, said
        said += line
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=PATIENCE)
    assert server.returncode == 130
    assert {as_text(e.slot): e.state for e in book.entries()}[running[0]] == "done"
    book.close()
    trials = trials_of(tmp_path, running[0])
    assert [t.state.name for t in trials] == ["COMPLETE"] * 2
    assert trials[0].user_attrs["attempts"] == 2


def test_wrong_words_are_one_sentence_each(weekly, tuner, tmp_path):
    path = weekly()
    assert "is no slot; write one such as" in tuner("schedule", "once", path, "--slot", "x").stderr
    assert "is no folder" in tuner("schedule", "run", path).stderr
    (tmp_path / "empty").mkdir()
    assert "has a `schedule:`" in tuner("schedule", "list", tmp_path / "empty").stderr
    assert "there is no run at" in tuner("compare", "a", "b").stderr


def test_each_file_that_is_left_out_is_looked_at_again_and_said_once(
    write_sweep, tmp_path, monkeypatch, capsys
):
    """One stays wrong; the other one's script comes later, its file as it was."""
    monkeypatch.setattr("tuner.cli_schedule.RETRY_SECONDS", 0.0)
    schedule = {"cron": "0 6 * * MON"}
    folder = tmp_path / "sweeps"
    folder.mkdir()
    (folder / "a.yaml").write_text("space: {}\n")
    good = write_sweep(schedule=schedule, script=str(folder / "later.py"))
    good.rename(folder / "b.yaml")
    files = _Files(folder)
    for _ in range(3):
        assert files.served() == []
    said = capsys.readouterr().out
    assert said.count("a.yaml is left out") == said.count("b.yaml is left out") == 1
    shutil.copy(ROOT / "tests/toy.py", folder / "later.py")
    (served,) = files.served()
    assert served.path == folder / "b.yaml"


def test_of_two_files_with_one_name_the_second_is_left_out_and_that_is_said(
    write_sweep, tmp_path, capsys
):
    """A slot is known by the sweep's name: they would take each other's."""
    folder = tmp_path / "sweeps"
    folder.mkdir()
    for file, cron in (("a.yaml", "0 6 * * MON"), ("b.yaml", "0 7 * * MON")):
        write_sweep(schedule={"cron": cron}).rename(folder / file)
    files = _Files(folder)
    for _ in range(2):
        assert [served.path.name for served in files.served()] == ["a.yaml"]
    assert capsys.readouterr().out.count("b.yaml is left out: its name toy is that of") == 1
    (folder / "a.yaml").unlink()
    assert [served.path.name for served in files.served()] == ["b.yaml"]
