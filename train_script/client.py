"""Stands for a run that the server forks: `python -I -S client.py SOCKET train.py ARGUMENTS...`

Started, signalled, followed and killed in place of train.py (or probe.py); its end is the run's. Where
no server answers it becomes that script itself. Standard library only, so that it starts in some 20 ms.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import time

PATIENCE_SECONDS = 30.0


def main() -> None:
    """Asks for the run, waits for its end, and ends alike."""
    run, asked_to_stop = 0, False

    def on_term(*_: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True
        if run:
            send(run, signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_term)
    _, address, script, *arguments = sys.argv
    words = {
        "script": os.path.basename(script), "arguments": arguments,
        "environment": dict(os.environ), "folder": os.getcwd(), "began": time.monotonic(),
    }  # fmt: skip
    message = json.dumps(words).encode()
    status = b""
    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
        server.connect(address)
        socket.send_fds(server, [struct.pack("!I", len(message))], [1, 2])
        server.sendall(message)
        answers = server.makefile("rb")
        run = int(answers.readline() or 0)
        if asked_to_stop and run:
            send(run, signal.SIGTERM)
        status = answers.readline()
    if status:
        end_as(int(status))
    if not run:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if asked_to_stop:
            end_as(-signal.SIGTERM)
        os.execv(sys.executable, [sys.executable, script, *arguments])  # noqa: S606
    wait_for(run)
    end_as(-signal.SIGKILL)  # the server is gone, and its run was cut off


def send(run: int, number: signal.Signals) -> None:
    """A signal to the run, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(run, number)


def wait_for(run: int) -> None:
    """Until the run has saved and ended, so that whoever goes on with it is alone."""
    until = time.monotonic() + PATIENCE_SECONDS
    while is_there(run):
        if time.monotonic() > until:
            send(run, signal.SIGKILL)
        time.sleep(0.05)


def is_there(run: int) -> bool:
    """Whether the process lives."""
    try:
        with open(f"/proc/{run}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end_as(status: int) -> None:
    """Ends with this status, or by this signal."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 1)


if __name__ == "__main__":
    main()
