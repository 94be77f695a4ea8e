"""One trial process: started under the training contract, followed line by line, stopped.

Two threads per process copy its output into log files, and what may be an evaluation into one queue.
Whoever owns the queue sees every event in order and in one thread.
"""

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

import psutil

from train_script.contract import OF_TRIAL

TAIL_LINES = 20
LONGEST_TAIL_LINE = 2_000
LINE_LIMIT = 1_000_000
READ_BYTES = 65_536
KILL_AFTER_SECONDS = 30.0
LOG_LIMIT = 50_000_000
SECRET = re.compile(
    r"TOKEN(_|$)|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(^|_|PG)PASS(_|$)|(^|_)PWD$"
    r"|(^|_|API|ACCESS|PRIVATE)KEY(_|$)", re.IGNORECASE
)  # fmt: skip
PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^\s@]+)@")
NO_SECRET = frozenset({"PWD", "OLDPWD"})
SHORTEST_SECRET = 6
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
    marker: str = ""
    """What a line needs to hold to be worth an event; a script may print a million others"""
    stderr_tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    stop_asked_at: float | None = None
    spoke_at: float = field(default_factory=time.monotonic)
    log_fault: str = ""
    """Why its log is not whole"""

    def start(self) -> "TrialProcess":
        """Starts the process in a session of its own, so that a Ctrl-C here does not reach it."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.secrets = secrets_in(self.environment)
        self.process = subprocess.Popen(
            [*dies_with_us(), *self.command], cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL,
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

    @property
    def is_running(self) -> bool:
        """Whether the script itself has not ended."""
        return self.process.poll() is None

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
        masker, lines = Masker(self.secrets), _Lines(overwrites=not is_stdout)
        with stream, _Log(self, log) as file:
            # As it comes, not line by line: a progress bar that never ends its line is alive.
            while chunk := stream.read1(READ_BYTES):  # type: ignore[attr-defined]
                self.spoke_at = time.monotonic()
                self._take(masker.feed(chunk), file, lines, is_stdout)
            self._take(masker.rest(), file, lines, is_stdout)
            self._take(b"\n" if lines.is_within else b"", None, lines, is_stdout)

    def _take(self, text: bytes, file: "_Log | None", lines: "_Lines", is_stdout: bool) -> None:
        """Some output without secrets: into the log, its whole lines to whom they concern."""
        if file is not None:
            file.write(text)
        for line in lines.feed(text):
            if not is_stdout:
                if line.strip():
                    self.stderr_tail.append(line[:LONGEST_TAIL_LINE])
            elif self.marker in line:
                self.events.put(Event(self.number, line=line))

    def _wait(self, readers: Sequence[threading.Thread]) -> None:
        status = self.process.wait()
        self._signal(signal.SIGKILL)  # children that it left behind
        left = processes_of(self.environment.get(OF_TRIAL, ""))  # in sessions of their own
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        until = time.monotonic() + 5.0
        while any(map(is_there, left)) and time.monotonic() < until:
            time.sleep(0.01)  # whoever goes on with this trial is alone
        for reader in readers:
            reader.join(timeout=5)
        self.events.put(Event(self.number, exit_status=status))


class _Log:
    """A log file that stays below a limit, and whose disk may be full: the trial goes on without it."""

    def __init__(self, owner: TrialProcess, name: str) -> None:
        self.owner, self.name, self.left = owner, name, LOG_LIMIT
        self.file: IO[bytes] | None = None

    def __enter__(self) -> "_Log":
        try:
            path = self.owner.folder / self.name
            self.file = path.open("ab")
            self.left -= path.stat().st_size
        except OSError as exc:
            self._end(f"{self.name} cannot be written ({exc.strerror})")
        return self

    def write(self, chunk: bytes) -> None:
        """Writes, or drops what is too much."""
        if self.file is None:
            return
        self.left -= len(chunk)
        try:
            if self.left < 0:
                self.file.write(f"\n[cut off by tuner after {LOG_LIMIT:,} bytes]\n".encode())
                self._end(f"{self.name} was cut off after {LOG_LIMIT / 1e6:.0f} MB")
                return
            self.file.write(chunk)
            self.file.flush()
        except OSError as exc:
            self._end(f"{self.name} is not whole ({exc.strerror})")

    def _end(self, fault: str) -> None:
        self.owner.log_fault = fault
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            with suppress(OSError):
                self.file.close()
            self.file = None


def processes_of(checkpoint_dir: str) -> list[psutil.Process]:
    """The processes of a trial that are still there, of this run of it or of one before."""
    return processes_by_trial().get(checkpoint_dir, []) if checkpoint_dir else []


def processes_by_trial() -> dict[str, list[psutil.Process]]:
    """The processes of all trials on this machine, by the trial's checkpoint folder."""
    found: dict[str, list[psutil.Process]] = {}
    # Not process_iter: it remembers processes, and one whose number is another's now cannot be killed.
    for number in psutil.pids():
        with suppress(psutil.Error, OSError):
            process = psutil.Process(number)
            if of_trial := process.environ().get(OF_TRIAL):
                found.setdefault(of_trial, []).append(process)
    return found


class Leftover:
    """What a worker that is gone left running of a trial: asked to save, and killed if it does not.

    Nothing here waits; whoever needs the trial's folder calls `reap` until it is gone.
    """

    def __init__(self, checkpoint_dir: str) -> None:
        self.processes = processes_of(checkpoint_dir)
        self.found = bool(self.processes)
        self.asked_at = time.monotonic()
        for process in self.processes:
            with suppress(psutil.Error):
                process.terminate()

    def reap(self) -> bool:
        """Kills what had its time to save; whether nothing is left."""
        self.processes = [p for p in self.processes if is_there(p)]
        if self.processes and time.monotonic() - self.asked_at > KILL_AFTER_SECONDS:
            self.kill()
        return not self.processes

    def kill(self) -> None:
        """SIGKILL, now."""
        for process in self.processes:
            with suppress(psutil.Error):
                process.kill()


def is_there(process: psutil.Process) -> bool:
    """Whether it runs; what is past its last instruction does not, waited for or not.

    Such a process has no memory any more. Its status says so only later, and its environment, by which
    `processes_of` finds it, is gone at once.
    """
    with suppress(psutil.Error):
        return process.is_running() and bool(process.memory_info().vms)
    return False


class Masker:
    """Replaces secrets in a stream of bytes, also where one is cut by the end of a chunk."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        whole = b"|".join(map(re.escape, longest_first))
        self._pattern = re.compile(whole) if secrets else None
        self.longest = max(map(len, secrets), default=1)
        self._kept = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be shown so far; the beginning of what may become a secret is kept back."""
        if self._pattern is None:
            return chunk
        text, shown, at = self._kept + chunk, [], 0
        # What begins before this is told: a secret has no line break within, and a longer one would
        # have ended by now.
        whole = max(text.rfind(b"\n") + 1, len(text) - self.longest + 1, 0)
        for found in self._pattern.finditer(text):
            if found.start() >= whole:
                break
            shown += [text[at : found.start()], b"***"]
            at = found.end()
        end = max(at, whole)
        self._kept = text[end:]
        return b"".join([*shown, text[at:end]])

    def rest(self) -> bytes:
        """What was kept back, at the end of the stream."""
        kept, self._kept = self._kept, b""
        return kept if self._pattern is None else self._pattern.sub(b"***", kept)


class _Lines:
    """Cuts a stream into lines; one too long to be an evaluation is left out.

    With `overwrites` a line begins anew at each carriage return, as on a terminal: of a progress bar the last
    state is left.
    """

    def __init__(self, overwrites: bool = False) -> None:
        self.overwrites = overwrites
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_within(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._size > 0

    def feed(self, text: bytes) -> list[str]:
        """The lines that this ends."""
        found = []
        *ended, rest = text.split(b"\n")
        for piece in ended:
            self._add(piece)
            if self._size <= LINE_LIMIT:
                found.append(b"".join(self._parts).decode("utf-8", "replace").rstrip("\r"))
            self._parts, self._size = [], 0
        self._add(rest)
        return found

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        if self.overwrites:
            *before, piece = re.split(rb"\r(?!\r*$)", piece)
            has_returned = bool(self._parts) and self._parts[-1].endswith(b"\r")
            if before or (has_returned and piece.strip(b"\r")):
                self._parts, self._size = [], 0
        self._size += len(piece)
        if self._size <= LINE_LIMIT:
            self._parts.append(piece)
        else:
            self._parts = []


def secrets_in(environment: Mapping[str, str]) -> list[bytes]:
    """The values that must not be written anywhere: those of variables that are named like secrets.

    Of one with several lines, as a private key has, each line is one. So is a password in an address.
    """
    found = set()
    for name, value in environment.items():
        words = PASSWORD_IN_ADDRESS.findall(value)
        if SECRET.search(name) and name not in NO_SECRET:
            words += [line.strip() for line in value.splitlines()]
        found |= {w.encode("utf-8", "surrogateescape") for w in words if len(w) >= SHORTEST_SECRET}
    return sorted(found, key=len, reverse=True)


@cache
def dies_with_us() -> tuple[str, ...]:
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
