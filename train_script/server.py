"""Runs of train.py (and probe.py) without their start: this process imports and loads once, then forks for each run.

`python server.py DESCRIPTOR` answers client.py on the listening socket that it inherited, until its stdin
ends. A run is still a process of its own, so a crash or a kill touches nothing else. What it is given
(arguments, environment, folder, stdout, stderr) is the client's, and so is its end: where the client is
killed, so is the run; where this server is, its runs get SIGTERM and save. Linux only (pidfd, prctl).
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: make `train_script` importable, and not its parts
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from train_script.contract import OF_TRIAL, STOPPED, Clock
from train_script.imports import kept_for_good

PDEATHSIG = 1
ENVIRONMENT_START = 50
"""The number of that field in /proc/PID/stat, the end follows; see proc(5)"""
MOST_BYTES = 64_000_000
LEFT_OR_NONE_OF_OURS = OSError, ValueError, KeyError, TypeError, struct.error
"""What comes of reading a client that went away, or that speaks something else"""


@dataclass
class Asked:
    """A run that a client asked for."""

    script: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    streams: list[int]
    began: float
    """When its client did, on the system's monotonic clock"""


class Server:
    """Forks; and tells each client its run's process, then its end."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._begin)
        self.selector.register(sys.stdin, selectors.EVENT_READ, self._end)
        self.runs: dict[socket.socket, tuple[int, int]] = {}
        """Each client's run: its process and the descriptor of that"""

    def serve(self) -> None:
        """Until stdin ends."""
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def _end(self, _: Any) -> None:
        if not os.read(0, 1024):
            os._exit(0)  # runs that are left get SIGTERM by this

    def _begin(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # no descriptor is left; the client waits for one
            time.sleep(0.1)
            return
        try:
            asked = receive(client)
        except LEFT_OR_NONE_OF_OURS:
            client.close()
            return
        warm(asked)
        if has_left(client):  # while this was busy; whoever stands for the run now asks anew
            client.close()
            for stream in asked.streams:
                os.close(stream)
            return
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # the machine has no room for one more process: those that run go on
            client.close()
            for stream in asked.streams:
                os.close(stream)
            return
        if pid == 0:
            self.selector.close()
            self.listener.close()
            for other in (client, *self.runs):
                other.close()
            become(asked, own)  # never comes back
        for stream in asked.streams:
            os.close(stream)
        process = os.pidfd_open(pid)
        self.runs[client] = pid, process
        self.selector.register(client, selectors.EVENT_READ, self._client_left)
        self.selector.register(process, selectors.EVENT_READ, lambda _: self._run_ended(client))
        with suppress(OSError):
            client.sendall(f"{pid}\n".encode())

    def _client_left(self, client: socket.socket) -> None:
        """Its run is of no use any more; unless that ended just now."""
        if client not in self.runs:
            return
        self.selector.unregister(client)
        pid, _ = self.runs[client]
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # it may not have made its group yet
            os.kill(pid, signal.SIGKILL)

    def _run_ended(self, client: socket.socket) -> None:
        pid, process = self.runs.pop(client)
        self.selector.unregister(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):
            client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        with suppress(KeyError, ValueError):
            self.selector.unregister(client)
        client.close()


def receive(client: socket.socket) -> Asked:
    """What a client asks for: a length and its streams, then so many bytes of JSON."""
    client.settimeout(10)
    head, streams, _, _ = socket.recv_fds(client, 4, 2)
    with ExitStack() as unwanted:  # later runs would inherit them, and keep their readers waiting
        for stream in streams:
            unwanted.callback(os.close, stream)
        (size,) = struct.unpack("!I", head)
        if size > MOST_BYTES or len(streams) != 2:
            raise ValueError(size)
        text = bytearray()
        while len(text) < size:
            part = client.recv(size - len(text))
            if not part:
                raise ValueError(text)
            text += part
        client.settimeout(None)
        told = json.loads(text)
        asked = Asked(
            told["script"], told["arguments"], told["environment"], told["folder"], streams, told["began"]
        )  # fmt: skip
        unwanted.pop_all()
    return asked


def has_left(client: socket.socket) -> bool:
    """Whether it has closed its end; after its request it sends nothing."""
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def warm(asked: Asked) -> None:
    """Makes what this run will need, where no run before has made it; its faults are the run's to tell."""
    from train_script.config import parse_arguments
    from train_script.kept import kept
    from train_script.model import load_model, load_tokenizer
    from train_script.prepared import encoded, splits_of
    from train_script.pretrained import locate_model

    with suppress(Exception, SystemExit):  # the latter: --help
        before = os.getcwd()
        os.chdir(asked.folder)
        try:
            config = parse_arguments(asked.arguments, asked.environment)
            splits, place = splits_of(config), locate_model(config.model)
            load_tokenizer(place, config.max_length)
            if not kept(("weights", place)):
                load_model(place, splits.labels, (0.1, 0.1, 0.1))
            for examples in (splits.train, splits.validation):
                if examples is not None:
                    encoded(place, config.max_length, examples)
        finally:
            os.chdir(before)


def become(asked: Asked, parent: int) -> None:
    """In the forked process: the run that was asked for, to its end."""
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it is gone already
            os._exit(STOPPED)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for theirs, mine in zip((nothing, *asked.streams), range(3), strict=True):
            os.dup2(theirs, mine)
            os.close(theirs)
        os.chdir(asked.folder)
        os.environ.clear()
        os.environ.update(asked.environment)
        show_environment(asked.environment)
        import torch

        from train_script import probe, train

        Clock.began = asked.began
        threads = asked.environment.get("OMP_NUM_THREADS", "")
        torch.set_num_threads(int(threads) if threads.isdigit() else len(os.sched_getaffinity(0)))
        main = probe.main if asked.script == "probe.py" else train.main
        status = main(asked.arguments)
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (a run never comes back to the server's loop)
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def show_environment(environment: Mapping[str, str]) -> None:
    """Has /proc tell this run's environment, as far as there is room, in place of the server's.

    By it a run is found that lost its tuner. Linux shows the memory in which the process was given its
    own at the start, where nothing is read any more.
    """
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = (int(field) for field in fields[ENVIRONMENT_START - 3 : ENVIRONMENT_START - 1])
    shown = b""
    for name in sorted(environment, key=lambda name: name != OF_TRIAL):
        pair = os.fsencode(f"{name}={environment[name]}") + b"\0"
        if len(shown) + len(pair) < end - start:
            shown += pair
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def main() -> None:
    """Imports, then serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads do not survive a fork
    with kept_for_good():
        import torch

        import train_script.fit  # noqa: F401 (for the runs)
        from train_script.kept import Keeping
        from train_script.model import quiet_libraries

    torch.set_num_threads(1)
    quiet_libraries()
    Keeping.on = True
    server.serve()


if __name__ == "__main__":
    main()
