"""What is wrong with a run folder, and what would be done about it. Looks, and changes nothing."""

import getpass
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial

from train_script.tasks import fingerprint
from train_script.tasks.prepared import is_prepared
from tuner.errors import TunerError
from tuner.ledger import Ledger, is_interrupted
from tuner.machine import code_hash
from tuner.processes import processes_by_trial
from tuner.run_folder import RunFolder
from tuner.storage import masked
from tuner.workers import at_work_here, is_here, workers_of

OK, NOTE, FAULT = "ok", "note", "fault"


@dataclass(frozen=True)
class Finding:
    """One sentence: `ok`, a `note` that needs nothing, or a `fault` with what mends it."""

    kind: str
    text: str


def examine(folder: RunFolder) -> Iterator[Finding]:
    """Every finding about a run folder, from the ground up; ends where nothing more can be read."""
    identity = folder.read_identity()
    yield from _whole_file(folder)
    try:
        ledger = Ledger.load(folder.ledger_url(), identity["name"])
        ledger.patience.seconds = 5.0
        trials = ledger.read_trials()
    except TunerError as exc:
        yield Finding(FAULT, f"{exc}. Without it only the models and logs in trials/ are left")
        return
    states = [f"{sum(t.state.name == s for t in trials)} {s.lower()}" for s in _states(trials)]
    place = masked(folder.ledger_url())
    yield Finding(OK, f"the ledger {place} holds {len(trials)} trials ({', '.join(states) or '-'})")
    here = at_work_here(ledger)
    for name, pid in here.items():
        yield Finding(OK, f"process {pid} is at work ({name})")
    yield from _trials(folder, ledger, here)
    yield from _data(folder, ledger)
    yield from _script(ledger)
    yield from _modes(folder)


def _states(trials: list[FrozenTrial]) -> list[str]:
    return list(dict.fromkeys(t.state.name for t in trials))


def _whole_file(folder: RunFolder) -> Iterator[Finding]:
    """SQLite's own check of its file."""
    path = folder.path / "study.db"
    if not path.is_file():
        return
    if path.with_name("study.db-journal").exists():
        yield Finding(
            NOTE,
            f"{path} is being written to, or its last write was cut off, which whoever opens it next "
            "takes back; so it was not checked as a whole",
        )
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            said = [row[0] for row in database.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as exc:
        if "locked" in str(exc):
            yield Finding(NOTE, f"{path} is being written to, so it was not checked as a whole")
            return
        if "unable to open" in str(exc):
            yield Finding(FAULT, f"{path} cannot be opened: may {getpass.getuser()} read it?")
            return
        said = [str(exc)]
    except sqlite3.Error as exc:
        said = [str(exc)]
    if said != ["ok"]:
        text = f"{path} is damaged ({'; '.join(said)}); restore a copy of it"
        yield Finding(FAULT, f"{text}, or let `sqlite3 study.db .recover` save what it can")


def _trials(folder: RunFolder, ledger: Ledger, here: dict[str, int]) -> Iterator[Finding]:
    """Trials in flight: whose, with which checkpoint, and what runs without anybody."""
    elsewhere = {n for n, record in workers_of(ledger).items() if not is_here(record)}
    resumes = f"`tuner run` with the sweep resumes {{}} ({folder.shown})"
    for t in ledger.in_flight():
        if "training_job" in t.user_attrs:
            yield Finding(OK, f"trial {t.number} is job {t.user_attrs['training_job']} on AWS")
            continue
        worker = str(t.user_attrs.get("worker", ""))
        if not is_interrupted(t) and worker in here:
            yield Finding(OK, f"trial {t.number} runs under process {here[worker]}")
        elif not is_interrupted(t) and worker in elsewhere:
            yield Finding(NOTE, f"trial {t.number} is of {worker}, which cannot be seen from here")
        else:
            checkpoint = folder.trial(t.number) / "checkpoint"
            kept = (
                "its checkpoint" if _has_files(checkpoint) else "no checkpoint here: it begins anew"
            )
            yield Finding(NOTE, f"trial {t.number} was cut off ({kept}); {resumes.format('it')}")
    running = {t.number for t in ledger.in_flight() if t.user_attrs.get("worker") in here}
    at_work = processes_by_trial()
    for place in sorted((folder.path / "trials").glob("[0-9]*")):
        if not place.name.isdigit() or int(place.name) in running:
            continue
        for process in at_work.get(str(place / "checkpoint"), []):
            yield Finding(
                FAULT,
                f"process {process.pid} of trial {int(place.name)} runs without a tuner; the next "
                f"`tuner run` ends it first, or: kill {process.pid}",
            )
    known = {t.number for t in ledger.read_trials()}
    for place in sorted((folder.path / "trials").glob("[0-9]*")):
        if place.name.isdigit() and int(place.name) not in known:
            yield Finding(NOTE, f"{place} belongs to no trial of the ledger; it can be deleted")


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _data(folder: RunFolder, ledger: Ledger) -> Iterator[Finding]:
    facts = ledger.study.user_attrs.get("data")
    if not isinstance(facts, dict):
        return
    if not is_prepared(str(folder.data)):
        yield Finding(NOTE, f"{folder.data} is gone; the next `tuner run` makes it again, the same")
    elif fingerprint(folder.data) != facts.get("sha256"):
        yield Finding(
            FAULT, f"{folder.data} is not what the trials had; delete it, and the next run makes it"
        )
    else:
        yield Finding(OK, "the data is what the trials had")


def _script(ledger: Ledger) -> Iterator[Finding]:
    attributes = ledger.study.user_attrs
    script = Path(str(attributes.get("script", "")))
    if "code_sha256" not in attributes:
        return
    if not script.is_file():
        yield Finding(FAULT, f"the script {script} is gone; restore it to resume")
    elif code_hash(script) != attributes["code_sha256"]:
        yield Finding(
            FAULT,
            f"{script} (or a file of its package) has changed since the first trial: the sweep "
            "cannot be resumed here; restore it, or choose another folder with --out",
        )
    else:
        yield Finding(OK, "the script is what the trials ran")


def _modes(folder: RunFolder) -> Iterator[Finding]:
    open_ = [
        path for path in (folder.path / "trials", folder.path / "storage.url")
        if path.exists() and path.stat().st_mode & 0o077
    ]  # fmt: skip
    for path in open_:
        yield Finding(NOTE, f"others on this machine can read {path}; chmod go= {path}")
