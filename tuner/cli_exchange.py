"""`tuner import` and `tuner export`: trials that were made elsewhere, and a run's trials as CSV."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_results import Run, load_ledger, print_best, write_report_of
from tuner.errors import RunFolderError, TunerError

if TYPE_CHECKING:
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder

bring = typer.Typer(no_args_is_help=True, help="Bring in trials that were not made here.")


ImportOut = Annotated[
    Path | None, typer.Option("--out", help="The run folder to make; left out: runs/NAME.")
]


@bring.command("amt")
def import_amt(
    name: Annotated[str | None, typer.Argument(help="The name of a finished tuning job.")] = None,
    region: Annotated[str | None, typer.Option(help="Left out: AWS's own configuration.")] = None,
    out: ImportOut = None,
    curves: Annotated[bool, typer.Option(help="Read the logs too, for learning curves.")] = True,
    scheduled: Annotated[
        Path | None,
        typer.Option(
            metavar="SWEEP",
            help="Instead of NAME: every finished job that `tuner schedule aws SWEEP` started, as slots.",
        ),
    ] = None,
) -> None:
    """Bring in a finished SageMaker tuning job, whoever started it.

    Examples:
      tuner import amt my-tuning-job --region eu-west-1

      tuner import amt --scheduled sweeps/weekly.yaml
    """
    from tuner.aws.session import connect
    from tuner.exchange import amt

    if scheduled is not None:
        if name or region or out or not curves:
            raise TunerError(
                "--scheduled goes alone: the sweep file says which jobs, and where they go"
            )
        from tuner.cli_aws_schedule import import_slots
        from tuner.cli_run import load

        import_slots(load(scheduled, ["backend=sagemaker"]))
        return
    if name is None:
        raise TunerError("name a tuning job, or a sweep file with --scheduled")
    aws = connect(region)
    job = amt.read_tuning_job(aws, name)
    source = {"amt": name, "region": aws.region, "account": aws.account}
    folder, ledger = _import_into(out or Path("runs") / name, name, source, job.direction)
    ledger.set("metric", job.metric)
    ledger.set("aws", {"region": aws.region})
    added = amt.bring_in(aws, job, ledger, print, curves)
    _say_imported(added, f"training jobs of {name}", ledger, folder)


@bring.command("optuna")
def import_optuna(
    storage: Annotated[str, typer.Argument(help="An Optuna storage, as in sqlite:///study.db.")],
    study: Annotated[str | None, typer.Option(help="Its name, where there are several.")] = None,
    out: ImportOut = None,
) -> None:
    """Bring in the finished trials of anybody's Optuna study.

    Example: tuner import optuna sqlite:///study.db --study my-study
    """
    from tuner.exchange import studies
    from tuner.ledger import Ledger
    from tuner.storage import masked

    source = Ledger.load(storage, study)
    name = source.study.study_name
    origin = {"optuna": masked(storage), "study": name}
    target = out or Path("runs") / _as_folder(name)
    folder, ledger = _import_into(target, name, origin, studies.direction_of(source), fresh=True)
    added = studies.bring_in(source, ledger)
    _say_imported(added, f"trials of study {name}", ledger, folder)


@bring.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="A CSV file: a row for each trial.")],
    objective: Annotated[
        str | None, typer.Option(help="The column of the score; not for a `tuner export`.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option(metavar="maximize|minimize", help="Which score is better.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="A column that is a parameter; left out: all others. May be repeated."),
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="A parameter on a log scale. May be repeated.")
    ] = None,
    out: ImportOut = None,
) -> None:
    """Bring in a table of trials: what `tuner export` wrote, or a table of your own.

    Examples:
      tuner import csv trials.csv

      tuner import csv results.csv --objective f1 --direction maximize --log learning_rate
    """
    from tuner.exchange import tables

    table = tables.read_table(file, objective, direction, param or [], log or [])
    name = file.stem
    target = out or Path("runs") / _as_folder(name)
    folder, ledger = _import_into(target, name, {"csv": str(file)}, table.direction, fresh=True)
    ledger.set("metric", table.metric)
    ledger.study.add_trials(table.trials)
    _say_imported(len(table.trials), f"trials of {file}", ledger, folder)


def export(run: Run, file: Annotated[Path, typer.Argument(help="The CSV file to write.")]) -> None:
    """Write a run's trials as CSV; `tuner import csv` gives the same trials again.

    Example: tuner export runs/demo trials.csv
    """
    from tuner.exchange import tables

    count = tables.write_csv(load_ledger(run), file)
    print(f"{count} trials: {file}")


def _as_folder(name: str) -> str:
    """A study's name as a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "imported"


def _import_into(
    target: Path, name: str, source: dict[str, str], direction: str, fresh: bool = False
) -> "tuple[RunFolder, Ledger]":
    """The run folder of an import and its ledger; with `fresh`, it must not hold trials yet."""
    from tuner.ledger import Ledger
    from tuner.run_folder import RunFolder

    folder = RunFolder(target)
    folder.claim_as(name, {"imported": source})
    ledger = Ledger.create(
        folder.ledger_url(), name, "minimize" if direction == "minimize" else "maximize"
    )
    if fresh and ledger.read_trials():
        held = "a part of" if ledger.study.user_attrs.get("importing") else "all of"
        raise RunFolderError(
            f"{target} holds {held} this import already; remove it, or choose another with --out"
        )
    ledger.set("imported", source)
    ledger.set("importing", True)
    return folder, ledger


def _say_imported(count: int, what: str, ledger: "Ledger", folder: "RunFolder") -> None:
    ledger.set("importing", False)
    print(f"{count} {what} added to {folder.shown}")
    write_report_of(ledger, folder)
    print_best(ledger, folder)
    print(f"report: {folder.shown / 'report.html'}")
