"""The server that forks trials: each is a process of its own, found, signalled and ended as any other."""

import json
import os
import queue
import signal
import sys
import tempfile
import time

import pytest

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.processes import TrialProcess, is_there, processes_of
from tuner.warm import MOST_STARTS, WarmServer

SCRIPT = ROOT / "train_script/train.py"
# Elsewhere trials are plain processes, which tests/contracts covers.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server is Linux's")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = WarmServer(SCRIPT, tmp_path_factory.mktemp("server") / "server.log")
    yield server
    server.close()


@pytest.fixture
def begin(server, tiny_bert, tmp_path):
    """Starts a trial through the server; its events in `begin.events`."""
    events, server.starts = queue.Queue(), 0

    def start(number=0, *words, **environment):
        folder = tmp_path / f"trial{number}"
        given = os.environ | {
            "CHECKPOINT_DIR": str(folder / "checkpoint"), "OMP_NUM_THREADS": "1",
            "SM_MODEL_DIR": str(folder / "model"), "SM_NUM_GPUS": "0",
            "SM_OUTPUT_DATA_DIR": str(folder / "output"),
        } | environment  # fmt: skip
        arguments = [
            "--task", "demo", "--model", tiny_bert, "--train_limit", "48", "--max_length", "48",
            "--batch_size", "16", *words,
        ]  # fmt: skip
        command = server.command(list(map(str, arguments)), given)
        return TrialProcess(number, command, given, folder, events, marker='"eval_f1"').start()

    start.events = events
    return start


LONG = ("--epochs", "400", "--evaluations", "40")


def until_evaluated(begin, *numbers):
    """Each of these trials, or any one where none is named."""
    left = set(numbers)
    while True:
        event = begin.events.get(timeout=PATIENCE)
        assert event.line is not None, event
        left.discard(event.number)
        if not left:
            break


def ended(begin):
    """The exit status, and the lines before it."""
    lines = []
    while (event := begin.events.get(timeout=PATIENCE)).line is not None:
        lines.append(json.loads(event.line))
    return event.exit_status, lines


def test_one_server_serves_all_trials_and_each_has_its_own_numbers(begin, server, tmp_path):
    server.close()
    first = begin(0, "--seed", 1)
    assert str(SCRIPT.with_name("client.py")) in first.command
    assert first.process.args[-1] == "1"
    status, one = ended(begin)
    assert status == 0, first.stderr_tail
    assert any("1 thread" in line for line in first.stderr_tail)
    second = begin(1, "--seed", 2, OMP_NUM_THREADS="2")
    _, two = ended(begin)
    assert any("2 threads" in line for line in second.stderr_tail)
    assert one[0]["eval_loss"] != two[0]["eval_loss"]
    begin(2, "--seed", 1)
    _, again = ended(begin)
    assert [e["eval_loss"] for e in again] == [e["eval_loss"] for e in one]
    assert server.starts == 1
    assert (tmp_path / "trial2/model/model.safetensors").is_file()
    assert server.log.read_text() == ""


def test_sigterm_reaches_the_run_which_saves(begin, tmp_path):
    trial = begin(0, *LONG)
    until_evaluated(begin)
    trial.stop()
    status, _ = ended(begin)
    assert status == 143
    assert "stopped by SIGTERM after step" in trial.stderr_tail[-1]
    assert (tmp_path / "trial0/checkpoint/state.safetensors").is_file()


def test_a_killed_trial_is_gone_whole_and_others_go_on(begin, server, tmp_path):
    killed, other = begin(0, *LONG), begin(1, *LONG)
    until_evaluated(begin, 0, 1)
    here = processes_of(str(tmp_path / "trial0/checkpoint"))
    assert {p.ppid() for p in here} == {os.getpid(), server.process.pid}, (
        "who stands for the run, and the run, which the server has forked"
    )
    killed.kill()
    while begin.events.get(timeout=PATIENCE).exit_status is None:
        pass
    assert not any(map(is_there, here))
    until_evaluated(begin)
    assert other.is_running
    other.kill()


def test_a_run_that_the_system_kills_ends_as_such(begin, tmp_path):
    trial = begin(0, *LONG)
    until_evaluated(begin)
    run = next(
        p for p in processes_of(str(tmp_path / "trial0/checkpoint")) if p.pid != trial.process.pid
    )
    run.send_signal(signal.SIGSEGV)
    status, _ = ended(begin)
    assert status == -signal.SIGSEGV


def test_without_its_server_a_trial_saves_and_is_taken_for_killed(begin, server, tmp_path):
    trial = begin(0, *LONG)
    until_evaluated(begin)
    here = processes_of(str(tmp_path / "trial0/checkpoint"))
    before = server.starts
    server.process.kill()
    status, _ = ended(begin)
    assert status == -signal.SIGKILL
    assert not any(map(is_there, here))
    assert "stopped by SIGTERM after step" in trial.stderr_tail[-1]
    again = begin(0, *LONG)  # a new server, the old checkpoint
    event = begin.events.get(timeout=PATIENCE)
    assert json.loads(event.line)["fraction"] == 1 / 40
    until = time.monotonic() + PATIENCE
    while not any("resumes from step" in line for line in list(again.stderr_tail)):
        assert time.monotonic() < until
        assert again.is_running
        time.sleep(0.05)
    assert server.starts == before + 1


def test_where_no_server_stays_alive_trials_start_by_themselves(tmp_path):
    server = WarmServer(SCRIPT, tmp_path / "server.log")
    server.starts = MOST_STARTS
    assert server.command(["--epochs", "1"], {}) == [sys.executable, str(SCRIPT), "--epochs", "1"]


def test_a_server_that_is_gone_when_asked_is_no_fault_of_the_trial(begin, server, monkeypatch):
    begin(0)
    assert ended(begin)[0] == 0
    server.process.kill()
    server.process.wait()
    with monkeypatch.context() as unaware:
        unaware.setattr(server.process, "poll", lambda: None)
        begin(1)
    assert ended(begin)[0] == 0


def test_a_bad_configuration_is_told_by_the_trial(begin):
    trial = begin(0, "--frozen_layers", 9)
    status, _ = ended(begin)
    assert status == 2
    assert "frozen_layers 9 is more than the 2 layers" in trial.stderr_tail[-1]


def test_a_folder_too_long_for_a_socket_costs_only_the_server(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    server = WarmServer(SCRIPT, tmp_path / "server.log")
    assert server.command(["--task", "demo"], {}) == [sys.executable, str(SCRIPT), "--task", "demo"]
    assert list(long.iterdir()) == []
