"""`tuner schedule`: sweeps that run by themselves, and what came of each slot."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from tuner.cli_run import check_all, load, program, work
from tuner.errors import SweepError, TunerError

if TYPE_CHECKING:
    from tuner.run_folder import RunFolder
    from tuner.schedule.book import Book
    from tuner.schedule.server import Served
    from tuner.sweep import LoadedSweep

schedule = typer.Typer(
    no_args_is_help=True,
    help="Run sweeps by themselves: a slot of a schedule runs once, whoever serves it.",
)
Folder = Annotated[Path, typer.Argument(help="A folder of sweep files with a `schedule:`.")]
CHANGED = 10
LOOK_SECONDS = 5.0
SECONDS_TO_END = 120.0


@schedule.command()
def run(folder: Folder) -> None:
    """Serve all sweep files of a folder until Ctrl-C or SIGTERM, as a service or a container would.

    Each slot runs as a `tuner schedule once` of its own; one at a time on this machine. Files may be
    added and changed meanwhile. Sweeps that run when this ends save, and the next server goes on.

    Example:
      tuner schedule run sweeps/
    """
    from tuner.schedule.server import Server
    from tuner.signals import listening

    _need_folder(folder)
    files = _Files(folder)
    with listening() as asked:
        server = Server(files.served, _start, _say)
        _say(f"serves {folder}: {len(files.served())} sweeps with a schedule")
        while not asked.times:
            server.look(datetime.now(UTC))
            time.sleep(min(LOOK_SECONDS, 1.0 if server.running else LOOK_SECONDS))
        server.end(SECONDS_TO_END)
        raise typer.Exit(128 + asked.by)


@schedule.command("list")
def list_slots(folder: Folder) -> None:
    """Show the sweeps of a folder with a schedule: the last slot, what came of it, and the next.

    Example:
      tuner schedule list sweeps/
    """
    from cronsim import CronSim
    from rich.console import Console
    from rich.table import Table

    from tuner.schedule.times import next_slot

    _need_folder(folder)
    files, table = _Files(folder), Table(box=None, pad_edge=False)
    for column in ("sweep", "when", "last slot", "what came of it", "next slot"):
        table.add_column(column)
    now = datetime.now(UTC)
    for each in files.served():
        when = CronSim(each.schedule.cron, now).explain()
        entries = each.book.entries()
        last = entries[-1] if entries else None
        upcoming = next_slot(each.schedule, now)
        table.add_row(
            each.name, f"{when} ({each.schedule.timezone})",
            _local(last.slot, each.schedule.timezone) if last else "none yet",
            ("cut off: it is gone on with" if last.is_orphan else _outcome(last.state, last.said))
            if last else "",
            _local(upcoming, each.schedule.timezone) if upcoming else "never",
        )  # fmt: skip
    for fault in files.faults.values():
        print(f"error: {fault}", file=sys.stderr)
    if not table.rows:
        raise TunerError(f"no sweep file in {folder} has a `schedule:`")
    Console(highlight=False, soft_wrap=True).print(table)


@schedule.command()
def once(
    sweep: Annotated[Path, typer.Argument(help="The sweep file.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in `tuner run`.")
    ] = None,
    slot: Annotated[
        str | None,
        typer.Option(metavar="20260105T0600Z", help="Which slot; left out: the last that was due."),
    ] = None,
) -> None:
    """Run one slot, as your own cron or CI would: the sweep on today's data, compared with the last.

    Writes runs/NAME-slots/SLOT/ (a run folder, with summary.json) and a page over all slots. A slot
    that is done is not run again; one that was cut off goes on. Without a `schedule:` each call is a
    slot of its own.

    Exit status: 0 nothing has changed (or there is nothing to compare with), 10 something has, 1 it
    failed, 2 bad input, 130 or 143 stopped: the same command goes on.

    Example:
      tuner schedule once sweeps/mrpc.yaml
    """
    from tuner.schedule.book import DONE, FAILED
    from tuner.schedule.times import as_text

    loaded, now = load(sweep, settings), datetime.now(UTC)
    moment = _slot(loaded, slot, now)
    book, home = _book(loaded), _home(loaded)
    if not book.claim(moment, now):
        entry = book.entry(moment)
        assert entry is not None
        print(f"slot {as_text(moment)} of {loaded.sweep.name}: {_outcome(entry.state, entry.said)}")
        return
    before = [e for e in book.entries() if e.state == DONE and e.slot < moment]
    last = home / as_text(before[-1].slot) if before else None
    words = f"schedule once {sweep} --slot {as_text(moment)}"
    try:
        said = _run_slot(loaded, moment, last, words)
    except typer.Exit as exc:
        if exc.exit_code < 128:  # else it was stopped: whoever comes next goes on
            said = {"error": "no trial finished"}
            book.end(moment, FAILED, datetime.now(UTC), said)
            _tell(loaded, moment, said)
        raise
    except Exception as exc:  # also one that nobody foresaw: it would come again at every try
        said = {"error": str(exc) or type(exc).__name__}
        book.end(moment, FAILED, datetime.now(UTC), said)
        _tell(loaded, moment, said)
        raise
    book.end(moment, DONE, datetime.now(UTC), said)
    _tell(loaded, moment, said)
    if said["changed"]:
        raise typer.Exit(CHANGED)


def _run_slot(
    loaded: "LoadedSweep", slot: datetime, last: Path | None, again: str
) -> dict[str, Any]:
    """Runs the slot's sweep in a folder of its own, compares it; the summary that it writes."""
    from dataclasses import replace

    from reports.index import write_index
    from tuner.run_folder import RunFolder, write_private
    from tuner.schedule.times import as_text

    home = _home(loaded)
    name = f"{loaded.sweep.name[:46]}.{as_text(slot)}"
    of_slot = replace(loaded, sweep=loaded.sweep.model_copy(update={"name": name}))
    folder = RunFolder(home / as_text(slot))
    previous = _finished(last) if last is not None else None
    warm = previous if loaded.sweep.schedule is None or loaded.sweep.schedule.warm else None
    splits = check_all(of_slot)
    folder.claim(of_slot)
    folder.lock()
    try:
        work(of_slot, splits, folder, again, warm)
    finally:
        folder.unlock()
    said: dict[str, Any] = {"verdict": "first", "sentence": "the first slot", "changed": False}
    if previous is not None:
        from tuner.cli_compare import compare_runs

        said = compare_runs(previous, folder)
    said |= {
        "sweep": loaded.sweep.name,
        "slot": as_text(slot),
        "report": str(folder.shown / "report.html"),
    }
    write_private(folder.path / "summary.json", json.dumps(said, indent=2) + "\n")
    write_index(home)
    print(f"{loaded.sweep.name}, slot {as_text(slot)}: {said['verdict']}. {said['sentence']}")
    return said


def _finished(path: Path) -> "RunFolder | None":
    """The run folder of an earlier slot; None where it was deleted."""
    from tuner.run_folder import RunFolder

    return RunFolder(path) if (path / "sweep.json").is_file() else None


def _tell(loaded: "LoadedSweep", slot: datetime, said: dict[str, Any]) -> None:
    """Tells whom the sweep names; what could not be told is said here, and fails nothing."""
    from tuner.schedule.tell import tell
    from tuner.schedule.times import as_text

    if loaded.sweep.schedule is None:
        return
    block, failed = loaded.sweep.schedule.tell, "error" in said
    if block.when == "change" and not failed and not said["changed"]:
        return
    verdict = "failed" if failed else said["verdict"]
    text = str(said.get("error") or said["sentence"])
    if block.link and not failed:
        text += f"\n{block.link.rstrip('/')}/{as_text(slot)}/report.html"
    facts = {"sweep": loaded.sweep.name, "slot": as_text(slot), "verdict": verdict}
    for fault in tell(block, f"{loaded.sweep.name}: {verdict}", text, facts):
        print(f"warning: {fault}", file=sys.stderr)


def _slot(loaded: "LoadedSweep", text: str | None, now: datetime) -> datetime:
    """The slot that is meant: the one named, the last that was due, or this minute."""
    from datetime import timedelta

    from tuner.schedule.times import from_text, slots_between

    if text is not None:
        try:
            return from_text(text)
        except ValueError as exc:
            raise TunerError(f"--slot {text} is no slot; write one such as 20260105T0600Z") from exc
    schedule = loaded.sweep.schedule
    if schedule is None:
        return now.replace(second=0, microsecond=0)
    for days in (8, 40, 1500):
        if found := list(slots_between(schedule, now - timedelta(days=days), now)):
            return found[-1]
    raise TunerError(f"no slot of schedule.cron {schedule.cron!r} was ever due")


def _home(loaded: "LoadedSweep") -> Path:
    """Where the run folders of a sweep's slots are."""
    from tuner.run_folder import RUNS

    return RUNS / f"{loaded.sweep.name}-slots"


def _book(loaded: "LoadedSweep") -> "Book":
    from tuner.schedule.book import Book

    file = (_home(loaded) / "slots.db").resolve()
    return Book(loaded.sweep.storage or f"sqlite:///{file}", loaded.sweep.name)


class _Files:
    """The sweep files of a folder, read again where they have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[Path, str] = {}
        self._read: dict[Path, tuple[float, Served | None]] = {}

    def served(self) -> "list[Served]":
        """Those with a schedule; what is wrong with others is said once, and kept in `faults`."""
        found = {
            path: path.stat().st_mtime
            for pattern in ("*.yaml", "*.yml") for path in sorted(self.folder.glob(pattern))
            if path.is_file()
        }  # fmt: skip
        for gone in set(self._read) - set(found):
            del self._read[gone]
        for path, changed in found.items():
            if path not in self._read or self._read[path][0] != changed:
                self._read[path] = (changed, self._load(path))
        return [served for _, served in self._read.values() if served is not None]

    def _load(self, path: Path) -> "Served | None":
        from tuner.schedule.server import Served

        self.faults.pop(path, None)
        try:
            loaded = load(path, None)
        except SweepError as exc:
            self.faults[path] = str(exc)
            _say(f"{path} is left out: {exc}")
            return None
        if loaded.sweep.schedule is None:
            return None
        return Served(path, loaded.sweep.name, loaded.sweep.schedule, _book(loaded))


def _start(each: "Served", slot: datetime) -> subprocess.Popen[bytes]:
    from tuner.schedule.times import as_text

    words = ["schedule", "once", str(each.path), "--slot", as_text(slot)]
    return subprocess.Popen([sys.executable, "-m", "tuner.cli", *words])


def _say(text: str) -> None:
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}", flush=True)


def _need_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TunerError(
            f"{folder} is no folder; for one sweep: `{program()} schedule once {folder}`"
        )


def _local(slot: datetime, zone: str) -> str:
    return f"{slot.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _outcome(state: str, said: Any) -> str:
    """What is known of a slot, in a few words."""
    for key in ("why", "error", "verdict"):
        if key in said:
            return f"{state}: {said[key]}"
    return state
