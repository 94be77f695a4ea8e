"""A real PostgreSQL of the distribution, started for a test, that can be stopped and started again."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import PATIENCE


class Postgres:
    """A server on a free port of this machine; `url` is its database."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        # Its own user has to get there, and pytest's folders are closed to others.
        self.folder = Path(tempfile.mkdtemp(prefix="tuner-postgres-"))
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
        (self.folder / "password").write_text("a-secret-word\n")
        self._call(
            "initdb", "-D", self.folder / "data", "-U", "me", "-A", "scram-sha-256",
            "--pwfile", self.folder / "password", "--no-sync",
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @classmethod
    def installed(cls) -> "Postgres":
        """A new server of the programs that are here; FileNotFoundError where there are none."""
        homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        found = shutil.which("pg_ctl")
        if not homes and not found:
            raise FileNotFoundError("no PostgreSQL here: apt-get install postgresql")
        return cls(homes[0] if homes else Path(os.path.realpath(str(found))).parent)

    @property
    def url(self) -> str:
        """The address, password and all."""
        return f"postgresql://me:a-secret-word@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        log = self.folder / "log"
        self._call(
            "pg_ctl",
            "-D",
            self.folder / "data",
            "-l",
            log,
            "-o",
            options,
            "-w",
            "-t",
            int(PATIENCE),
            "start",
        )

    def stop(self) -> None:
        """Ends it at once, as a crash would: no connection is asked."""
        self._call(
            "pg_ctl",
            "-D",
            self.folder / "data",
            "-m",
            "immediate",
            "-w",
            "-t",
            int(PATIENCE),
            "stop",
        )

    def remove(self) -> None:
        """Stops it and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *words: object) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_user, self.programs / program, *map(str, words)],
            # Not a pipe: the server would hold it open.
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
            timeout=PATIENCE, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {words}: see {self.folder / 'log'}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL; `make test` installs it where there is apt."""
    try:
        server = Postgres.installed()
    except FileNotFoundError as exc:
        # The rest of the suite runs without it; SQLite keeps the same contract.
        pytest.skip(str(exc))
    yield server
    server.remove()
