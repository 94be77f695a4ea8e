"""`tuner compare`: has anything changed from one run to another?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reports.wording import chance
from tuner.errors import TunerError

if TYPE_CHECKING:
    from reports.compare import Comparison
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder

Run = Annotated[str, typer.Argument(help="A run folder, or its name under runs/.")]


def compare(
    before: Run,
    after: Run,
    out: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
) -> None:
    """Say whether anything has changed from one run of a space to another, and how sure that is.

    The verdict: `same`, `better` or `worse` (all scores have changed), `moved`
    (the best place is another one), `cannot tell`. Where nothing has changed, it
    says that something has in less than one of twenty.

    Exit status: 0 nothing has visibly changed, or it cannot be told; 10 something
    has.

    Example:
      tuner compare runs/monday runs/demo
    """
    from rich.console import Console

    from tuner.run_folder import find_run

    found = _compared(of_folder(find_run(before)), of_folder(find_run(after)))
    console = Console(highlight=False, soft_wrap=True)
    for line in lines_of(found):
        console.print(line, markup=False)
    if out is not None:
        try:
            out.write_text(json.dumps(summary_of(found), indent=2) + "\n")
        except OSError as exc:
            raise TunerError(f"{out} cannot be written: {exc.strerror}") from exc
    if summary_of(found)["changed"]:
        raise typer.Exit(10)


@dataclass(frozen=True)
class Earlier:
    """A run to compare with: where its ledger is, and what a person calls it."""

    url: str
    name: str
    shown: str

    def open(self) -> "Ledger":
        """Its ledger; RunFolderError where it cannot be read."""
        from tuner.ledger import Ledger

        return Ledger.load(self.url, self.name)


def earlier_of(url: str, name: str, shown: str) -> Earlier:
    """The run; RunFolderError where its ledger cannot be read."""
    found = Earlier(url, name, shown)
    found.open().close()
    return found


def of_folder(folder: "RunFolder") -> Earlier:
    """The run of a folder; RunFolderError where its ledger cannot be read."""
    return earlier_of(folder.ledger_url(), folder.read_identity()["name"], str(folder.shown))


def compare_runs(before: Earlier, after: "RunFolder") -> dict[str, Any]:
    """The summary of a comparison; it goes into the ledger of the second run, and so into its report."""
    from tuner.cli_results import write_report_of

    summary = summary_of(_compared(before, of_folder(after))) | {"before": before.shown}
    ledger = of_folder(after).open()
    ledger.set("compared", summary)
    write_report_of(ledger, after)
    ledger.close()
    return summary


def _compared(before: Earlier, after: Earlier) -> "Comparison":
    from reports.compare import compare as compared

    ledgers = [before.open(), after.open()]
    try:
        return compared(ledgers[0].study, ledgers[1].study)
    finally:
        for ledger in ledgers:
            ledger.close()


def summary_of(found: "Comparison") -> dict[str, Any]:
    """A comparison as plain data."""
    from dataclasses import asdict

    from reports.compare import BETTER, MOVED, WORSE
    from reports.plain import plain

    facts: dict[str, Any] = plain(asdict(found))
    return facts | {"changed": found.verdict in (BETTER, WORSE, MOVED)}


def lines_of(found: "Comparison") -> list[str]:
    """A comparison as a person reads it."""
    from reports.wording import alike, score, shown

    lines = [f"{found.verdict}. {found.sentence}"]
    for which, winner in zip(("before", "after"), found.winners, strict=True):
        if winner is not None:
            point = " ".join(f"{name}={shown(value)}" for name, value in winner.params.items())
            lines.append(f"winner {which}: {found.metric} {score(winner.score)} ({point})")
    points = [winner.params for winner in found.winners if winner is not None]
    if len(points) == 2 and points[0] == points[1]:
        lines.append("both have the same winner")
    elif found.gain is not None and found.probability is not None:
        estimate, low, high = alike(found.gain.estimate, found.gain.low, found.gain.high)
        lines.append(
            f"the later winner against the earlier one, on the later run's data: {estimate} "
            f"({low} to {high}, 90 %{'' if found.maximize else '; above 0 is better'}), better with a chance of "
            f"{chance(found.probability)}"
        )
    lines += [f"{c.parameter}: {c.what} was {c.before}, is {c.after}" for c in found.disagreements]
    lines += [f"differs: {difference}" for difference in found.differences]
    return lines
