"""The server that forks runs outlives clients that come and go at bad moments."""

import errno
import os
import socket
import struct
import sys

import pytest

from train_script import kept as memory
from train_script import model
from train_script.model import load_model
from train_script.server import Asked, Server, receive, warm


@pytest.fixture
def server(monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield Server(listener)
    os.close(writing)
    listener.close()


def test_a_client_that_leaves_at_once_is_forgotten(server):
    socket.create_connection(server.listener.getsockname()).close()
    server._begin(server.listener)
    assert server.runs == {}


def test_a_client_whose_run_ended_in_the_same_moment_may_leave(server):
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    server._client_left(ours)


def test_the_streams_of_a_request_that_cannot_be_read_are_closed():
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as one, open(os.devnull) as two:
        socket.send_fds(theirs, [struct.pack("!I", 7)], [one.fileno(), two.fileno()])
        theirs.sendall(b"no JSON")
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match="Expecting value"):
            receive(ours)
        assert set(os.listdir("/proc/self/fd")) == before


def test_where_no_process_can_be_forked_the_server_and_its_runs_go_on(
    server, monkeypatch, tmp_path
):
    def no_room():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    stream = os.open(os.devnull, os.O_RDONLY)
    asked = Asked("train.py", [], {}, str(tmp_path), [stream], 0.0)
    monkeypatch.setattr("train_script.server.receive", lambda _: asked)
    monkeypatch.setattr("train_script.server.warm", lambda _: None)
    monkeypatch.setattr(os, "fork", no_room)
    with socket.create_connection(server.listener.getsockname()) as client:
        server._begin(server.listener)
        assert client.recv(1) == b"", "then it starts by itself"
    assert server.runs == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stream)


def test_for_a_client_that_left_while_the_server_was_busy_nothing_is_forked(
    server, monkeypatch, tmp_path
):
    """Its tuner begins the trial anew, in the same folder."""
    stream = os.open(os.devnull, os.O_RDONLY)
    asked = Asked("train.py", [], {}, str(tmp_path), [stream], 0.0)
    client = socket.create_connection(server.listener.getsockname())
    monkeypatch.setattr("train_script.server.receive", lambda _: asked)
    monkeypatch.setattr("train_script.server.warm", lambda _: client.close())
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it was"))
    server._begin(server.listener)
    assert server.runs == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stream)


def test_help_does_not_end_the_server(tmp_path):
    """argparse's SystemExit is no Exception."""
    warm(Asked("train.py", ["--help"], {}, str(tmp_path), [], 0.0))


def test_what_was_used_last_is_kept_longest(monkeypatch):
    monkeypatch.setattr(memory, "_kept", {})
    monkeypatch.setattr(memory.Keeping, "on", True)
    for key in range(memory.MOST_KEPT):
        memory.keep(key, str(key))
    assert memory.kept(0) == "0"
    memory.keep("new", "")
    assert memory.kept(0) == "0"
    assert memory.kept(1) is None


def test_a_model_is_read_for_the_first_run_alone(tiny_bert, tmp_path, monkeypatch):
    """What the server makes for a run, all others wait for."""
    made = []
    monkeypatch.setattr(memory, "_kept", {})
    monkeypatch.setattr(memory.Keeping, "on", True)
    monkeypatch.setattr(model, "load_model", lambda *words: made.append(load_model(*words)))
    words = [
        "--task",
        "demo",
        "--model",
        str(tiny_bert),
        "--train_limit",
        "32",
        "--max_length",
        "48",
    ]
    for _ in range(2):
        warm(Asked("train.py", words, {}, str(tmp_path), [], 0.0))
    assert len(made) == 1
