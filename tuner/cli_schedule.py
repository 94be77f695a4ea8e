"""`tuner schedule`: sweeps that run by themselves, and what came of each slot."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from tuner.cli_run import check_all, load, program, retype, warm_start_of, work
from tuner.cli_slots import book_of, home_of, last_before, name_of, summed_up, tell_of
from tuner.errors import RunFolderError, TunerError

if TYPE_CHECKING:
    from tuner.cli_compare import Earlier
    from tuner.schedule.book import Book, Entry
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
BEAT_SECONDS = 60.0
RETRY_SECONDS = 60.0


@schedule.command()
def run(folder: Folder) -> None:
    """Serve all sweep files of a folder until Ctrl-C or SIGTERM, as a service or a container would.

    Each slot runs as a `tuner schedule once` of its own; one at a time on this
    machine. Files may be added and changed meanwhile. Sweeps that run when this
    ends save, and the next server resumes them.

    Example:
      tuner schedule run sweeps/
    """
    from tuner.schedule.server import Server
    from tuner.signals import listening

    _need_folder(folder)
    files = _Files(folder)
    with listening() as asked:
        server = Server(files.served, _start, _say, _tell_of_failure)
        _say(f"serves {folder}: {len(files.served())} sweeps with a schedule")
        while not asked.times:
            server.look(datetime.now(UTC))
            time.sleep(min(LOOK_SECONDS, 1.0 if server.running else LOOK_SECONDS))
        server.end(SECONDS_TO_END, lambda: asked.times > 1)
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
            _outcome_of(last, now) if last else "",
            _local(upcoming, each.schedule.timezone) if upcoming else "never",
        )  # fmt: skip
    for fault in files.faults.values():
        print(f"error: {fault}", file=sys.stderr)
    if not table.rows:
        raise TunerError(f"no sweep file in {folder} has a `schedule:`")
    Console(highlight=False, soft_wrap=True).print(table)


@schedule.command()
def aws(
    sweep: Annotated[Path, typer.Argument(help="The sweep file.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in `tuner run`.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="The ARN of the role that EventBridge assumes; see --policy.")
    ] = None,
    dead_letters: Annotated[
        str | None, typer.Option(help="The ARN of the SQS queue for slots that could not start.")
    ] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print what that role needs, as JSON; change nothing.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the schedule as AWS has it.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the schedule; jobs that run are left running.")
    ] = False,
) -> None:
    """Have AWS itself start the sweep: an EventBridge schedule whose payload is the tuning job's request.

    Created, or changed to what the file says now. Script and data are sent to S3
    now, and every slot trains on these; such slots have no default and no
    confirmation. `tuner import amt --scheduled SWEEP` brings the finished tuning
    jobs in as slots.

    Examples:
      tuner schedule aws sweeps/weekly.yaml --policy --dead-letters arn:aws:sqs:eu-west-1:123456789012:late

      tuner schedule aws sweeps/weekly.yaml --role arn:aws:iam::123456789012:role/scheduler --dead-letters arn:aws:sqs:eu-west-1:123456789012:late

      tuner schedule aws sweeps/weekly.yaml --show
    """
    from tuner.cli_aws_schedule import put_schedule, remove_schedule, show_policies, show_schedule

    loaded = load(sweep, [*(settings or []), "backend=sagemaker"])
    if loaded.sweep.schedule is None:
        raise TunerError(
            f'{sweep} has no `schedule:`; add one, such as schedule: {{cron: "0 6 * * MON"}}'
        )
    if remove:
        remove_schedule(loaded)
    elif show:
        show_schedule(loaded)
    elif dead_letters is None:
        raise TunerError(
            "--dead-letters is missing: the ARN of an SQS queue, where slots go that could not start"
        )
    elif policy:
        show_policies(loaded, dead_letters)
    elif role is None:
        raise TunerError(
            "--role is missing: the ARN of a role that EventBridge may take (--policy prints what it needs)"
        )
    else:
        put_schedule(loaded, check_all(loaded), role, dead_letters)


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

    Writes runs/NAME-slots/SLOT/ (a run folder, with summary.json) and a page over
    all slots. A slot that is done is not run again; one that was cut off is resumed.
    Without a `schedule:` each call is a slot of its own, one a minute at most.

    Exit status: 0 nothing has visibly changed, it cannot be told, or it is the
    first slot; 10 something has; 1 it failed; 2 bad input; 130, 143 or 129 stopped
    (by Ctrl-C, SIGTERM or `tuner stop`, a closed terminal), and the command that
    it prints then, with --slot, resumes it. A slot that was done gives its own again; one that another process
    runs, or that was left out, gives 0 with a line that says so.

    Example:
      tuner schedule once sweeps/weekly.yaml
    """
    from tuner.schedule.book import DONE, FAILED
    from tuner.schedule.times import as_text

    loaded, now = load(sweep, settings), datetime.now(UTC)
    moment = _slot(loaded, slot, now)
    if moment > now:
        raise TunerError(f"slot {as_text(moment)} is still to come")
    book = book_of(loaded)
    if not book.claim(moment, now):
        entry = book.entry(moment)
        assert entry is not None
        print(f"slot {as_text(moment)} of {loaded.sweep.name}: {_outcome_of(entry, now)}")
        if entry.state == DONE and entry.said.get("changed"):
            raise typer.Exit(CHANGED)
        return
    words = f"schedule once {retype(sweep, settings, None)} --slot {as_text(moment)}"
    stops = _stops_of(loaded, moment)
    try:
        with _beating(book, moment):
            said = _run_slot(loaded, moment, last_before(loaded, book, moment), words)
    except typer.Exit as exc:
        if exc.exit_code < 128:
            said = {"error": "no trial finished"}
            book.end(moment, FAILED, datetime.now(UTC), said)
            tell_of(loaded.sweep.name, loaded.sweep.schedule, moment, said)
        elif exc.exit_code == 128 + signal.SIGINT or _stops_of(loaded, moment) > stops:
            # By a person, who says when it is resumed; else whoever serves it next resumes it.
            book.end(moment, FAILED, datetime.now(UTC), {"why": "stopped; `once` resumes it"})
        raise
    except Exception as exc:  # also one that nobody foresaw: it would come again at every try
        said = {"error": str(exc) or type(exc).__name__}
        book.end(moment, FAILED, datetime.now(UTC), said)
        tell_of(loaded.sweep.name, loaded.sweep.schedule, moment, said)
        raise
    book.end(moment, DONE, datetime.now(UTC), said)
    tell_of(loaded.sweep.name, loaded.sweep.schedule, moment, said)
    if said["changed"]:
        raise typer.Exit(CHANGED)


def _run_slot(
    loaded: "LoadedSweep", slot: datetime, last: "Earlier | None", again: str
) -> dict[str, Any]:
    """Runs the slot's sweep in a folder of its own, compares it; the summary that it writes."""
    from dataclasses import replace

    from tuner.run_folder import RunFolder
    from tuner.schedule.times import as_text

    name = name_of(loaded, slot)
    of_slot = replace(loaded, sweep=loaded.sweep.model_copy(update={"name": name}))
    folder = RunFolder(home_of(loaded) / as_text(slot))
    warm = None
    if last is not None and (loaded.sweep.schedule is None or loaded.sweep.schedule.warm):
        try:
            warm = warm_start_of(last, loaded)
        except RunFolderError as exc:
            print(f"warning: {exc}", file=sys.stderr)
    splits = check_all(of_slot)
    folder.claim(of_slot)
    folder.lock()
    try:
        work(of_slot, splits, folder, again, warm, is_slot=True)
    finally:
        folder.unlock()
    return summed_up(loaded, slot, folder, last)


@contextmanager
def _beating(book: "Book", slot: datetime) -> Iterator[None]:
    """Says every minute that the slot is at work, so that other machines can tell if it is not."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(RunFolderError):  # the next beat may come through
                book.beat(slot, datetime.now(UTC))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _stops_of(loaded: "LoadedSweep", slot: datetime) -> int:
    """How often somebody has told the slot's run to stop."""
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder
    from tuner.schedule.times import as_text

    folder = RunFolder(home_of(loaded) / as_text(slot))
    try:
        ledger = Ledger.load(loaded.sweep.storage or folder.ledger_url(), name_of(loaded, slot))
    except RunFolderError:  # it has not begun
        return 0
    facts = ledger.study.user_attrs
    ledger.close()
    return int(facts.get("stops_asked", 0)) + bool(facts.get("stop_asked"))


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
    for days in (1, 8, 40, 1500):
        if found := list(slots_between(schedule, now - timedelta(days=days), now)):
            return found[-1]
    raise TunerError(f"no slot of schedule.cron {schedule.cron!r} was ever due")


class _Files:
    """The sweep files of a folder, read again where they have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[Path, str] = {}
        self._read: dict[Path, tuple[float, Served | None]] = {}
        self._retry_at: dict[Path, float] = {}
        self._said: dict[Path, str] = {}

    def served(self) -> "list[Served]":
        """Those with a schedule; what is wrong with others is said once, and kept in `faults`."""
        found: dict[Path, float] = {}
        for pattern in ("*.yaml", "*.yml"):
            for path in sorted(self.folder.glob(pattern)):
                with suppress(OSError):  # it has gone since
                    if path.is_file():
                        found[path] = path.stat().st_mtime
        for gone in set(self._read) - set(found):
            del self._read[gone]
        for path, changed in found.items():
            if path not in self._read or self._read[path][0] != changed or self._is_to_retry(path):
                self._read[path] = (changed, self._load(path))
        return list(self._one_of_each_name())

    def _one_of_each_name(self) -> "Iterator[Served]":
        """Slots are known by the sweep's name: of two files with one name the second is left out."""
        by_name: dict[str, Path] = {}
        for path, (_, served) in sorted(self._read.items()):
            if served is None:
                continue
            first = by_name.setdefault(served.name, path)
            if first == path:
                self.faults.pop(path, None)
                yield served
            else:
                self._leave_out(path, f"its name {served.name} is that of {first}")
                self.faults[path] = f"{path} is left out: {self.faults[path]}"

    def _leave_out(self, path: Path, why: str) -> None:
        self.faults[path], self._retry_at[path] = why, time.monotonic() + RETRY_SECONDS
        if self._said.get(path) != why:
            _say(f"{path} is left out: {why}")
        self._said[path] = why

    def _is_to_retry(self, path: Path) -> bool:
        """A file that may be right, but whose database was away: every minute."""
        return path in self.faults and time.monotonic() >= self._retry_at[path]

    def _load(self, path: Path) -> "Served | None":
        from tuner.schedule.server import Served

        self.faults.pop(path, None)
        try:
            loaded = load(path, None)
            if loaded.sweep.schedule is None:
                return None
            return Served(path, loaded.sweep.name, loaded.sweep.schedule, book_of(loaded))
        except TunerError as exc:
            self._leave_out(path, str(exc))
            return None


def _tell_of_failure(each: "Served", slot: datetime, why: str) -> None:
    tell_of(each.name, each.schedule, slot, {"error": why})


def _start(each: "Served", slot: datetime) -> subprocess.Popen[bytes]:
    from tuner.schedule.times import as_text

    words = ["schedule", "once", str(each.path), "--slot", as_text(slot)]
    # In a session of its own: Ctrl-C reaches it once, through us.
    return subprocess.Popen([sys.executable, "-m", "tuner.cli", *words], start_new_session=True)


def _say(text: str) -> None:
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {text}", flush=True)


def _need_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TunerError(
            f"{folder} is no folder; for one sweep: `{program()} schedule once {folder}`"
        )


def _local(slot: datetime, zone: str) -> str:
    return f"{slot.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _outcome_of(entry: "Entry", now: datetime) -> str:
    """What is known of a slot, also of one whose process is gone."""
    from tuner.schedule.server import MOST_BEGINNINGS

    if not entry.is_orphan(now):
        return _outcome(entry.state, entry.said)
    if entry.beginnings >= MOST_BEGINNINGS:
        return "cut off again and again; `tuner schedule once` resumes it"
    return "cut off; whoever serves it resumes it"


def _outcome(state: str, said: Any) -> str:
    """What is known of a slot, in a few words."""
    for key in ("why", "error", "verdict"):
        if key in said:
            return f"{state}: {said[key]}"
    return state
