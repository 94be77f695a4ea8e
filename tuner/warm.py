"""Trials of our own script without their start: a server that has imported and loaded once forks each.

See train_script/server.py. Where it cannot work the trials are started as they are for any script.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tuner.processes import dies_with_us

MOST_STARTS = 3
ROOM = "x" * 8192
"""For the environment that /proc shows of a run, in the memory of the server's own"""


class WarmServer:
    """The server of one sweep on this machine, started with the first run that is asked of it."""

    def __init__(self, script: Path, log: Path) -> None:
        self.script, self.log = script, log
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.place = ""

    def command(
        self, arguments: Sequence[str], environment: Mapping[str, str], script: str = ""
    ) -> list[str]:
        """The command that runs the script, or the one of that name beside it, with these arguments."""
        plain = [sys.executable, str(self.script.with_name(script or self.script.name)), *arguments]
        if not sys.platform.startswith("linux"):
            return plain
        if self.process is None or self.process.poll() is not None:
            self.close()
            if self.starts == MOST_STARTS:  # something kills it again and again
                return plain
            try:
                self._start(environment)
            except OSError:  # such as a TMPDIR that is too long for a socket's address
                self.starts = MOST_STARTS
                self.close()
                return plain
        client = str(self.script.parent / "client.py")
        return [sys.executable, "-I", "-S", client, f"{self.place}/socket", *plain[1:]]

    def _start(self, environment: Mapping[str, str]) -> None:
        self.starts += 1
        self.place = tempfile.mkdtemp(prefix="tuner-")
        own = {k: v for k, v in environment.items() if not k.startswith(("SM_", "CHECKPOINT_"))}
        with socket.socket(socket.AF_UNIX) as listener, self._opened() as log:
            listener.bind(f"{self.place}/socket")
            listener.listen(64)
            self.process = subprocess.Popen(
                [*dies_with_us(), sys.executable, str(self.script.parent / "server.py"),
                 str(listener.fileno())],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[listener.fileno()],
                env=own | {"TUNER_ROOM": ROOM}, start_new_session=True,
            )  # fmt: skip

    def _opened(self) -> IO[bytes]:
        """What the server itself says, which is nothing unless something is wrong."""
        return open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def close(self) -> None:
        """Ends the server; what it still runs gets SIGTERM by that."""
        if self.process is not None:
            assert self.process.stdin
            with suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        shutil.rmtree(self.place, ignore_errors=True)
