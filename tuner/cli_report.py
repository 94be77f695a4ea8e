"""`tuner report`: of a run, of anybody's trials, of one still running, of a folder of runs; and its check."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_results import load_ledger, writing
from tuner.errors import TunerError

if TYPE_CHECKING:
    from optuna.study import Study

WATCH_SECONDS = 30


def report(
    run: Annotated[
        str | None,
        typer.Argument(help="A run folder, its name, its sweep file; or a folder of runs."),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Any Optuna storage, as in sqlite:///study.db.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="The study's name in --storage.")] = None,
    amt_job: Annotated[
        str | None, typer.Option(help="A finished SageMaker tuning job, whoever started it.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Of --amt-job.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A CSV file: a row for each trial.")] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="The score's column in --csv; the objective's number or name in a study of several."
        ),
    ] = None,
    direction: Annotated[
        str | None,
        typer.Option(metavar="maximize|minimize", help="Which score of --csv is better."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of --csv that is a hyperparameter; left out: all others. May be repeated."
        ),
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="A column of --csv on a log scale. May be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to; left out: the run's, or the current one."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it anew until the sweep ends; the page follows.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(help="Compute every number of this report.json again and compare."),
    ] = None,
) -> None:
    """Write report.html and report.json: of a run, or of trials that were not made here.

    Examples:
      tuner report runs/demo

      tuner report runs/demo --watch

      tuner report --check runs/demo/report.json

      tuner report --storage sqlite:///study.db --study my-study --out my-report

      tuner report --amt-job my-tuning-job --region eu-west-1 --out my-report

      tuner report --csv results.csv --objective f1 --direction maximize --log learning_rate

      tuner report runs/        (runs/index.html, over all of them)
    """
    named = sum(source is not None for source in (run, storage, amt_job, csv))
    if check is not None and not named:
        run, named = str(check.parent), 1
    if named != 1:
        raise TunerError("name one of: a run, --storage with --study, --amt-job, --csv")
    if watch and check is not None:
        raise TunerError("--watch writes a report and --check compares one: name one of them")
    if check is not None and not check.is_file():
        raise TunerError(f"--check {check} does not exist; name a report.json")
    _refuse_what_does_not_apply(
        {"--study": (study, storage), "--region": (region, amt_job), "--log": (log, csv),
         "--param": (param, csv),
         "--direction": (direction, csv), "--objective": (objective, csv or storage)}
    )  # fmt: skip
    if run is not None and check is None and not watch and _holds_runs(Path(run)):
        if out is not None:
            raise TunerError(f"--out: the page over all of {run} lies in that folder itself")
        from reports.index import write_index

        writing(Path(run), lambda path: write_index(path))
        print(f"index: {Path(run) / 'index.html'}")
        return
    if watch:
        if run is None:
            raise TunerError("--watch follows a run of this machine: name its folder")
        _watch(run, out)
        return
    if run is not None:
        from tuner.run_folder import find_run

        trials, target = load_ledger(run).study, out or find_run(run).shown
        _finish(trials, target, 1, check)
    elif storage is not None:
        from tuner.ledger import Ledger

        trials = Ledger.load(storage, study).study
        _finish(trials, out or Path("."), _number(trials, objective), check)
    elif amt_job is not None:
        with _amt_study(amt_job, region) as trials:
            _finish(trials, out or Path("."), 1, check)
    else:
        assert csv is not None
        trials = _csv_study(csv, objective, direction, param or [], log or [])
        _finish(trials, out or Path("."), 1, check)


def _refuse_what_does_not_apply(options: "dict[str, tuple[object, object]]") -> None:
    """TunerError for an option that was given without the source that it is for."""
    sources = {"--study": "--storage", "--region": "--amt-job", "--objective": "--csv or --storage"}
    for name, (given, source) in options.items():
        if given and source is None:
            raise TunerError(f"{name} goes with {sources.get(name, '--csv')}")


def _finish(study: "Study", target: Path, objective: int, check: Path | None) -> None:
    """Writes the report, or holds an existing one against the study."""
    if check is not None:
        _check(study, check)
        return
    _write(study, target, objective)
    print(f"report: {target / 'report.html'}")


def _write(
    study: "Study", target: Path, objective: int = 1, refresh_seconds: int | None = None
) -> None:
    from reports import write_report

    writing(target, lambda path: write_report(study, path, objective, refresh_seconds))


def _check(study: "Study", path: Path) -> None:
    from reports.check import MOST_SHOWN, check_report

    found = check_report(path, study)
    page = path.with_name("report.html")
    if found.same_page is False:
        print(f"{page} is not the page that these trials give")
    for difference in found.differences[:MOST_SHOWN]:
        print(difference)
    if len(found.differences) > MOST_SHOWN:
        print(f"and {len(found.differences) - MOST_SHOWN} more")
    if found.differences:
        print(
            f"{path} does not hold: {len(found.differences)} of {found.values} values differ. Where only "
            "sampled numbers do (shares, curves, chances), in their last digits, another processor has "
            "rounded differently"
        )
    if found.differences or found.same_page is False:
        raise typer.Exit(1)
    beside = ", and report.html is the page that they give" if found.same_page else ""
    print(
        f"{path} holds: {found.values} values computed again from the trials are the same{beside}"
    )


def _watch(run: str, out: Path | None) -> None:
    """Writes the report again and again while the sweep runs, and once more at its end."""
    from tuner.run_folder import find_run
    from tuner.workers import Workers, workers_of

    folder, ledger = find_run(run), load_ledger(run)
    target, looking = out or folder.shown, Workers(ledger)

    def is_at_work() -> bool:
        if folder.holder() is not None:
            return True
        gone = [looking.gone(name) for name in workers_of(ledger)]  # each is looked at
        return not all(gone)

    print(
        f"report: {target / 'report.html'}, written anew every {WATCH_SECONDS} s; Ctrl-C ends this"
    )
    try:
        while is_at_work():
            begun = time.monotonic()
            _write(ledger.study, target, refresh_seconds=WATCH_SECONDS)
            took, begun = time.monotonic() - begun, time.monotonic()
            # Who does not look that long finds out nothing of workers elsewhere meanwhile.
            looking.grace_seconds = max(looking.grace_seconds, 5 * took)
            while is_at_work() and time.monotonic() < begun + WATCH_SECONDS:
                time.sleep(0.5)
    finally:
        _write(ledger.study, target)
    print("the sweep is over")


def _holds_runs(path: Path) -> bool:
    """Whether a path is a folder of runs and no run itself."""
    if not path.is_dir() or (path / "sweep.json").exists():
        return False
    return any(path.glob("*/sweep.json")) or any(path.glob("*/report.json"))


def _number(study: "Study", objective: str | None) -> int:
    """The number of an objective, which may be given by its name."""
    names = [str(i) for i in range(1, len(study.directions) + 1)]
    given = study.metric_names or []
    if objective is None:
        return 1
    if objective in names:
        return int(objective)
    if objective in given:
        return given.index(objective) + 1
    raise TunerError(
        f"study {study.study_name} has no objective {objective}; it has {', '.join([*names, *given])}"
    )


@contextmanager
def _amt_study(name: str, region: str | None) -> "Iterator[Study]":
    """The trials of a tuning job, for as long as the report is written."""
    from tuner.aws.session import connect
    from tuner.exchange import amt
    from tuner.ledger import Ledger

    aws = connect(region)
    job = amt.read_tuning_job(aws, name)
    with tempfile.TemporaryDirectory() as scratch:
        ledger = Ledger.create(
            f"sqlite:///{scratch}/study.db",
            name,
            "minimize" if job.direction == "minimize" else "maximize",
        )
        ledger.set("metric", job.metric)
        ledger.set("aws", {"region": aws.region})
        ledger.set("imported", {"amt": name, "region": aws.region, "account": aws.account})
        amt.bring_in(aws, job, ledger, print, True)
        yield ledger.study


def _csv_study(
    file: Path, objective: str | None, direction: str | None, parameters: list[str], log: list[str]
) -> "Study":
    import optuna

    from tuner.exchange import tables
    from tuner.ledger import SCHEMA, Ledger

    table = tables.read_table(file, objective, direction, parameters, log)
    study = optuna.create_study(
        direction="minimize" if table.direction == "minimize" else "maximize", study_name=file.stem
    )
    ledger = Ledger(study)
    ledger.set("metric", table.metric)
    ledger.set("imported", {"csv": str(file)})
    if table.is_ours:  # its steps are shares of the schedule
        ledger.set("schema", SCHEMA)
    study.add_trials(table.trials)
    return study
