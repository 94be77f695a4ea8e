"""Slots of a schedule, wherever they ran: their folders and book, what came of them, who is told."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.errors import ReportError
from tuner.cli_compare import compare_runs, earlier_of
from tuner.errors import TunerError

if TYPE_CHECKING:
    from tuner.cli_compare import Earlier
    from tuner.run_folder import RunFolder
    from tuner.schedule.book import Book
    from tuner.sweep import LoadedSweep
    from tuner.sweep_file import Schedule


def home_of(loaded: "LoadedSweep") -> Path:
    """Where the run folders of a sweep's slots are."""
    from tuner.run_folder import RUNS

    return RUNS / f"{loaded.sweep.name}-slots"


def book_of(loaded: "LoadedSweep") -> "Book":
    """The book of its slots: in the database that `storage:` names, else a file beside them."""
    from tuner.schedule.book import Book

    file = (home_of(loaded) / "slots.db").resolve()
    return Book(loaded.sweep.storage or f"sqlite:///{file}", loaded.sweep.name)


def name_of(loaded: "LoadedSweep", slot: datetime) -> str:
    """The name of a slot's study, which holds the slot."""
    from tuner.schedule.times import as_text

    return f"{loaded.short_name(46)}.{as_text(slot)}"


def last_before(loaded: "LoadedSweep", book: "Book", slot: datetime) -> "Earlier | None":
    """The last slot that is done and whose ledger can be read from here; None where there is none."""
    from tuner.run_folder import RunFolder
    from tuner.schedule.book import DONE
    from tuner.schedule.times import as_text

    done = [e.slot for e in book.entries() if e.state == DONE and e.slot < slot]
    for moment in reversed(done):
        folder = RunFolder(home_of(loaded) / as_text(moment))
        url = (
            loaded.sweep.storage or folder.ledger_url()
        )  # of a slot that ran elsewhere, the former
        try:
            return earlier_of(url, name_of(loaded, moment), str(folder.shown))
        except TunerError as exc:
            print(
                f"warning: slot {as_text(moment)} cannot be compared with: {exc}", file=sys.stderr
            )
    return None


def summed_up(
    loaded: "LoadedSweep", slot: datetime, folder: "RunFolder", last: "Earlier | None"
) -> dict[str, Any]:
    """Compares a slot that has run with the last one; writes summary.json and the page of all slots.

    A comparison that is impossible costs the comparison, not the slot.
    """
    from reports.index import write_index
    from tuner.run_folder import write_private
    from tuner.schedule.times import as_text

    said: dict[str, Any] = {"verdict": "first", "changed": False}
    said["sentence"] = "There is no slot before that it could be compared with."
    if last is not None:
        try:
            said = compare_runs(last, folder)
        except (ReportError, TunerError) as exc:
            said = {"verdict": "cannot tell", "sentence": f"{exc}.", "changed": False}
    said |= {
        "sweep": loaded.sweep.name, "slot": as_text(slot),
        "report": str(folder.shown / "report.html"),
    }  # fmt: skip
    write_private(folder.path / "summary.json", json.dumps(said, indent=2) + "\n")
    write_index(home_of(loaded))
    print(f"{loaded.sweep.name}, slot {as_text(slot)}: {said['verdict']}. {said['sentence']}")
    return said


def tell_of(name: str, schedule: "Schedule | None", slot: datetime, said: dict[str, Any]) -> None:
    """Tells whom the sweep of that name names; what could not be told is said here, and fails nothing."""
    from tuner.schedule.tell import tell
    from tuner.schedule.times import as_text

    if schedule is None:
        return
    block, failed = schedule.tell, "error" in said
    if block.when == "change" and not failed and not said["changed"]:
        return
    verdict = "failed" if failed else said["verdict"]
    text = str(said.get("error") or said["sentence"])
    if block.link and not failed:
        text += f"\n{block.link.rstrip('/')}/{as_text(slot)}/report.html"
    facts = {"sweep": name, "slot": as_text(slot), "verdict": verdict}
    for fault in tell(block, f"{name}: {verdict}", text, facts):
        print(f"warning: {fault}", file=sys.stderr)
