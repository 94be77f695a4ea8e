"""What the commands tell of a run: its ledger, its report, its winner, the winner's model."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.errors import TunerError

if TYPE_CHECKING:
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder

Run = Annotated[str, typer.Argument(help="A run folder, its name under runs/, or its sweep file.")]


def load_ledger(run: str) -> "Ledger":
    """The ledger of a run; RunFolderError where there is no such run."""
    from tuner.ledger import Ledger
    from tuner.run_folder import find_run

    folder = find_run(run)
    return Ledger.load(folder.ledger_url(), folder.read_identity()["name"])


def write_report_of(ledger: "Ledger", folder: "RunFolder", out: Path | None = None) -> Path:
    """Writes the run's report, into its own folder where no other is named; that folder."""
    from reports import write_report

    return writing(out or folder.shown, lambda path: write_report(ledger.study, path))


def writing(target: Path, write: Callable[[Path], object]) -> Path:
    """Calls `write` with the folder; TunerError where it cannot be written to."""
    try:
        write(target)
    except OSError as exc:
        raise TunerError(f"the report cannot be written to {target}: {exc.strerror}") from exc
    return target


def print_best(ledger: "Ledger", folder: "RunFolder", command: bool = False) -> None:
    """The winner in a sentence; with `command`, how to train it again."""
    from reports import read_table
    from reports.winner import describe_winner, find_winner

    table = read_table(ledger.study)
    winner = find_winner(table)
    if winner is None:
        return
    print(f"winner: {describe_winner(table, winner)}")
    if not command:
        return
    if uri := ledger.read_trials()[winner.number].user_attrs.get("model_uri"):
        print(f"its model: {uri}")

    trial = table.by_number(winner.number)
    if "script" not in ledger.study.user_attrs or not trial.arguments:
        print(f"it was not made here: {folder.shown} does not say how to train it again")
        return
    words = [sys.executable, str(ledger.study.user_attrs["script"]), *trial.arguments]
    channel = (
        f"SM_CHANNEL_TRAINING={shlex.quote(str(folder.data))} " if folder.data.is_dir() else ""
    )
    print("train it again by hand:")
    print(channel + shlex.join(words))
    model = folder.trial(winner.number) / "model"
    if (model / "config.json").is_file():
        print(f"its model: {model}")


def fetch_winner(ledger: "Ledger", folder: "RunFolder", target: Path) -> None:
    """Copies or downloads the winner's model; TunerError where it was not kept."""
    from reports import read_table
    from reports.winner import find_winner

    winner = find_winner(read_table(ledger.study))
    assert winner is not None
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TunerError(f"{target} is no empty folder; name another")
    uri = ledger.read_trials()[winner.number].user_attrs.get("model_uri")
    kept = folder.trial(winner.number) / "model"
    if uri:
        from tuner.aws.jobs import fetch_model
        from tuner.aws.session import connect

        fetch_model(connect(ledger.study.user_attrs.get("aws", {}).get("region")), uri, target)
    elif kept.is_dir():
        shutil.copytree(kept, target, dirs_exist_ok=True)
    else:
        raise TunerError(f"the model of trial {winner.number} was not kept")
    print(f"model: {target}")
