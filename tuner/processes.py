"""One trial process: started under the training contract, followed line by line, stopped.

Two threads per process copy its output into log files and into one queue. Whoever owns the queue
sees every event in order and in one thread.
"""

import codecs
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

TAIL_LINES = 20
LINE_LIMIT = 1_000_000
KILL_AFTER_SECONDS = 30.0
NUMBER = r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|-?[Ii]nf(?:inity)?|[Nn]a[Nn])"


@cache
def metric_pattern(metric: str) -> re.Pattern[str]:
    """The regex that reads a metric from a line: the same here and in SageMaker."""
    return re.compile(rf'"{re.escape(metric)}":\s*{NUMBER}')


@dataclass(frozen=True)
class Event:
    """A line on stdout, or (with `line` None) the end of a process."""

    number: int
    line: str | None = None
    exit_status: int | None = None


@dataclass
class TrialProcess:
    """A running training script. `stop()` asks it to end, `kill()` does not ask."""

    number: int
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    events: "queue.Queue[Event]"
    stderr_tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    stop_asked_at: float | None = None

    def start(self) -> "TrialProcess":
        """Starts the process in a session of its own, so that a Ctrl-C here does not reach it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*_dies_with_us(), *self.command], cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout
        assert self.process.stderr
        readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, "stdout.log", True)),
            threading.Thread(target=self._read, args=(self.process.stderr, "stderr.log", False)),
        ]
        for reader in readers:
            reader.daemon = True
            reader.start()
        waiter = threading.Thread(target=self._wait, args=(readers,), daemon=True)
        waiter.start()
        return self

    def stop(self) -> None:
        """SIGTERM, so that the script writes its checkpoint; asked again, nothing more happens."""
        if self.stop_asked_at is None:
            self.stop_asked_at = time.monotonic()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the script and its children."""
        self._signal(signal.SIGKILL)

    def kill_if_deaf(self) -> None:
        """SIGKILL for a script that has not ended long after SIGTERM."""
        asked = self.stop_asked_at
        if asked is not None and time.monotonic() - asked > KILL_AFTER_SECONDS:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        # It may have ended by itself; then the exit event is on its way.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def _read(self, stream: IO[bytes], log: str, is_stdout: bool) -> None:
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        with stream, (self.folder / log).open("ab") as file:
            within = False  # inside a line too long to be an evaluation
            while chunk := stream.readline(LINE_LIMIT):
                file.write(chunk)
                file.flush()
                whole = chunk.endswith(b"\n") or len(chunk) < LINE_LIMIT
                skip, within = within or not whole, not whole
                if skip:
                    continue
                line = decode(chunk).rstrip("\r\n")
                if is_stdout:
                    self.events.put(Event(self.number, line=line))
                elif line.strip():
                    self.stderr_tail.append(line)

    def _wait(self, readers: Sequence[threading.Thread]) -> None:
        status = self.process.wait()
        self._signal(signal.SIGKILL)  # children that it left behind
        for reader in readers:
            reader.join(timeout=5)
        self.events.put(Event(self.number, exit_status=status))


@cache
def _dies_with_us() -> tuple[str, ...]:
    """A prefix by which Linux sends a trial SIGTERM when this process is killed; empty elsewhere."""
    setpriv = shutil.which("setpriv")
    if not setpriv:
        return ()
    prefix = (setpriv, "--pdeathsig", "TERM", "--")
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works else ()


def describe_exit(status: int, stderr_tail: Sequence[str]) -> str:
    """Why a process failed, in one line: its own last words, or the signal that ended it."""
    last = next((line for line in reversed(stderr_tail) if line.strip()), "")
    words = last.removeprefix("error: ")
    if status == -signal.SIGKILL:
        return "killed from outside by SIGKILL (often the system's answer to memory running out)"
    if status < 0:
        known = {-s for s in signal.Signals}
        name = signal.Signals(-status).name if status in known else f"signal {-status}"
        return f"ended by {name}" + (f": {words}" if words else "")
    return words or f"ended with status {status} and no message"
