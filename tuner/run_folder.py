"""A run's folder: its ledger, its data, its trials and its lock.

runs/NAME/  sweep.json  study.db  data/  tokens/  trials/0007/{stdout.log, stderr.log, model/, output/, checkpoint/}
            report.html  report.json  server.log  run.lock  study.db.turn  storage.url (where the ledger is elsewhere)
"""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from train_script.tasks import Splits, fingerprint, write_prepared
from train_script.tasks.prepared import is_prepared
from tuner.errors import RunFolderError
from tuner.storage import masked
from tuner.sweep import LoadedSweep, load_whole
from tuner.yaml_lines import parse_yaml, read_file

RUNS = Path("runs")
SWEEP_FILE = "sweep.json"
LEFT_ALONE = (SWEEP_FILE, "run.lock", "study.db.turn", "study.db", "storage.url")
NOT_IN_AN_ADDRESS = "?%{}"
"""SQLAlchemy and Optuna read these as something else"""
LOOKS_AT_LOCK = 5


class RunFolder:
    """The paths of one run, and the rule that one `tuner run` at a time has it (workers join without it)."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.shown = path
        self._lock: IO[str] | None = None

    @property
    def sweep_file(self) -> Path:
        """What the folder belongs to: the sweep's name and identity."""
        return self.path / SWEEP_FILE

    @property
    def data(self) -> Path:
        """The prepared splits that every trial reads."""
        return self.path / "data"

    def trial(self, number: int) -> Path:
        """The folder of one trial."""
        return self.path / "trials" / f"{number:04d}"

    def ledger_url(self) -> str:
        """Where the ledger is, in SQLAlchemy's form; it may hold a password."""
        with suppress(OSError):
            return (self.path / "storage.url").read_text().strip()
        return f"sqlite:///{self.path / 'study.db'}"

    def read_identity(self) -> dict[str, Any]:
        """The contents of sweep.json; RunFolderError where it is not a run folder."""
        try:
            identity: dict[str, Any] = json.loads(self.sweep_file.read_text())
            if not {"name", "sweep"} <= set(identity):
                raise RunFolderError(f"{self.sweep_file} is not what `tuner run` writes")
            return identity
        except FileNotFoundError as exc:
            raise RunFolderError(f"{self.shown} is not a run folder (no sweep.json)") from exc
        except (OSError, json.JSONDecodeError) as exc:
            raise RunFolderError(f"{self.sweep_file} cannot be read: {exc}") from exc

    def claim(self, loaded: LoadedSweep) -> None:
        """Makes or checks the folder for this sweep; RunFolderError where it belongs to another."""
        self.claim_as(loaded.sweep.name, loaded.identity())
        storage, before = loaded.sweep.storage, self.ledger_url()
        if storage and storage != before:
            has_one = (self.path / "study.db").exists() or (self.path / "storage.url").exists()
            if has_one and masked(storage) != masked(before):  # a new password is no other database
                raise RunFolderError(
                    f"the ledger of {self.shown} is {masked(before)}, not {masked(storage)}; "
                    "choose another folder with --out"
                )
            write_private(self.path / "storage.url", storage + "\n")
        elif not storage and (self.path / "storage.url").exists():
            raise RunFolderError(
                f"the ledger of {self.shown} is {masked(before)}, and the sweep names no storage; "
                f"choose another folder with --out"
            )

    def keep_sweep(self, loaded: LoadedSweep) -> None:
        """Writes down the whole sweep, so that `tuner worker RUN` needs no file; no password."""
        identity = self.read_identity() | {"whole": loaded.whole(), "base": str(loaded.folder)}
        write_private(self.sweep_file, json.dumps(identity, indent=2) + "\n")

    def load_sweep(self) -> LoadedSweep:
        """The sweep that `keep_sweep` wrote; RunFolderError where there is none."""
        identity = self.read_identity()
        if "whole" not in identity:
            raise RunFolderError(f"{self.shown} was not made by `tuner run`; name the sweep file")
        loaded = load_whole(identity["whole"], Path(identity["base"]), str(self.sweep_file))
        url = self.ledger_url()
        if (self.path / "storage.url").exists():
            sweep = loaded.sweep.model_copy(update={"storage": url})
            loaded = replace(loaded, sweep=sweep)
        return loaded

    def claim_as(self, name: str, identity: dict[str, Any]) -> None:
        """Makes or checks the folder for what `identity` says, a sweep or the source of an import.

        Other processes may do the same at this moment.
        """
        if unfit := sorted({*NOT_IN_AN_ADDRESS} & {*str(self.path)}):
            raise RunFolderError(
                f"run folder {self.path} has {' and '.join(unfit)} in its path, which a database's address "
                "cannot hold; choose another with --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path, prefix=f".{SWEEP_FILE}."):
                pass
        except OSError as exc:
            raise RunFolderError(
                f"run folder {self.shown} is not writable ({exc.strerror}); choose another with --out"
            ) from exc
        others = [
            p.name for p in self.path.iterdir()
            if p.name not in LEFT_ALONE and not p.name.startswith(f".{SWEEP_FILE}.")
        ]  # fmt: skip
        if self.sweep_file.exists():
            found = list(differences(self.read_identity()["sweep"], identity))
            if found:
                raise RunFolderError(
                    f"run folder {self.shown} belongs to another sweep: {'; '.join(found)}. "
                    "Choose another folder with --out, or another name"
                )
            return
        if others:
            raise RunFolderError(
                f"{self.shown} is not empty and not a run folder (it has {others[0]}); "
                "choose another with --out"
            )
        text = json.dumps({"schema": 1, "name": name, "sweep": identity}, indent=2) + "\n"
        write_private(self.sweep_file, text)

    def prepare_data(self, splits: Splits | None) -> dict[str, Any] | None:
        """Writes the splits once; the facts about them. RunFolderError where the data has changed."""
        if splits is None:
            return None
        if is_prepared(str(self.data)):
            before = fingerprint(self.data)
            with tempfile.TemporaryDirectory() as elsewhere:
                now = write_prepared(splits, Path(elsewhere) / "data")
            if now != before:
                raise RunFolderError(
                    f"the data of {self.shown} has changed since its first trial "
                    f"({splits.source}); choose another folder with --out"
                )
        else:
            now = write_prepared(splits, self.data)
        assert splits.validation is not None
        return {
            "sha256": now, "source": splits.source, "split": splits.split,
            "training_examples": len(splits.train),
            "validation_examples": len(splits.validation),
        }  # fmt: skip

    def lock(self) -> None:
        """Takes the run for this process; RunFolderError names the process that has it."""
        file = (self.path / "run.lock").open("a+")
        # Not at the first refusal: who only looks who has it (`holder`) has it for a moment.
        if not any(_taken(file) for _ in range(LOOKS_AT_LOCK)):
            holder = self.holder()
            file.close()
            raise RunFolderError(
                f"{self.shown} is being run by process {holder}; see it with "
                f"`tuner status {self.shown}`, end it with `tuner stop {self.shown}`, "
                "help it with `tuner worker` and the same sweep"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Gives the run back."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def holder(self) -> int | None:
        """The process that runs this sweep now, or None."""
        path = self.path / "run.lock"
        if not path.exists():
            return None
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0) or None
        return None


def _taken(file: IO[str]) -> bool:
    """Whether the lock is ours now; waits a moment where it is not."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, at no moment anybody else."""
    # mkstemp: nobody else's name, and readable by its owner alone.
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w") as file:
            file.write(text)
        os.replace(part, path)
    except BaseException:  # Ctrl-C among them: no half file stays behind; raised again
        with suppress(OSError):
            os.unlink(part)
        raise


def find_run(name: str) -> RunFolder:
    """A run folder by its path, by its name under runs/, or by its sweep file."""
    path = by_name = Path(name)
    try:
        by_name = RUNS / (_name_in(path) if path.is_file() else name)
        for candidate in (path, by_name):
            if (candidate / "sweep.json").is_file():
                return RunFolder(candidate)
    except PermissionError as exc:
        raise RunFolderError(f"{exc.filename} cannot be read: {exc.strerror}") from exc
    except OSError:  # a name too long for the system
        pass
    near = get_close_matches(path.name, [p.parent.name for p in RUNS.glob(f"*/{SWEEP_FILE}")], n=1)
    perhaps = f"did you mean {near[0]}?" if near else "`tuner run` makes one"
    raise RunFolderError(f"there is no run at {name} or {by_name}; {perhaps}")


def _name_in(sweep_file: Path) -> str:
    """The name that a sweep file gives its run: its `name:`, else the file's own."""
    data, _ = parse_yaml(read_file(sweep_file), str(sweep_file))
    named = data.get("name") if isinstance(data, dict) else None
    return str(named or sweep_file.stem)


def differences(before: dict[str, Any], now: dict[str, Any], place: str = "") -> Iterator[str]:
    """Every key whose value is another, as a sentence."""
    for key in sorted(set(before) | set(now)):
        a, b = before.get(key), now.get(key)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{place}{key}.")
        else:
            shown = [("not set" if v is None else json.dumps(v)) for v in (a, b)]
            yield f"{place}{key} was {shown[0]}, is {shown[1]}"
