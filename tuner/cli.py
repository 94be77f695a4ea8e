"""The command line: `tuner plan | run | worker | schedule | compare | doctor | status | stop | best | report | …`.

Every command loads only what it needs, so that `--help` answers at once.
"""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reports.errors import ReportError
from train_script.errors import ScriptError
from tuner.cli_compare import compare, of_folder
from tuner.cli_exchange import bring, export
from tuner.cli_report import report
from tuner.cli_results import Run, fetch_winner, load_ledger, print_best
from tuner.cli_run import check_all, data_and_problems, load, retype, warm_start_of, work
from tuner.cli_schedule import schedule
from tuner.errors import RunFolderError, SweepError, TunerError

if TYPE_CHECKING:
    from tuner.ledger import Ledger

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hyperparameter sweeps for fine-tuned transformers, and a report on each.\n\n"
    "A sweep is a YAML file (see sweeps/). `tuner run` runs it and writes runs/NAME/report.html; "
    "the same command again resumes where it stopped.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tuner {version('tuner')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What `tuner` takes before a command."""


app.add_typer(bring, name="import")
app.add_typer(schedule, name="schedule")
SweepFile = Annotated[Path, typer.Argument(help="The sweep file, as in sweeps/demo.yaml.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE",
        help="Change one key of the sweep file, as in --set budget.trials=12. May be repeated.",
    ),
]  # fmt: skip
Out = Annotated[Path | None, typer.Option(help="The run folder; left out: runs/NAME.")]
OnBackend = Annotated[
    str | None,
    typer.Option("--backend", metavar="local|sagemaker", help="Instead of the file's backend."),
]  # fmt: skip


@app.command()
def plan(
    sweep: SweepFile,
    settings: Settings = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="local|sagemaker|both",
            help="Show what the sweep is on this backend, or on both side by side.",
        ),
    ] = None,
) -> None:
    """Say what a sweep would do and every fault in it; run nothing, ask AWS nothing.

    Examples:
      tuner plan sweeps/demo.yaml

      tuner plan sweeps/demo.yaml --backend both
    """
    from rich.console import Console

    from tuner.backends import BACKENDS
    from tuner.plan import show_plan
    from tuner.points import Points

    both = list(BACKENDS) if backend == "both" else None
    loaded = load(sweep, _on(settings, None if both else backend))
    names = both or [loaded.sweep.backend]
    splits, problems = data_and_problems(loaded, names)
    console = Console(soft_wrap=True, highlight=False)
    show_plan(console, loaded, splits, Points(loaded, _scratch()), names)
    if problems:
        raise SweepError(problems)


@app.command()
def run(
    sweep: SweepFile,
    settings: Settings = None,
    out: Out = None,
    backend: OnBackend = None,
    warm: Annotated[
        str | None,
        typer.Option(
            "--warm",
            metavar="RUN",
            help="Begin with what an earlier run of the same space found: its winner is tried early, "
            "and the sampler knows its trials. Does nothing for the samplers grid and one_at_a_time, "
            "whose points are fixed, nor on SageMaker.",
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Try the trials again that failed, at the same points with the same seeds: for when their "
            "cause is mended, as a full disk. Here only; on SageMaker a larger budget.trials searches on.",
        ),
    ] = False,
) -> None:
    """Run a sweep, or resume it, and write its report.

    Ctrl-C lets running trials save and ends; the same command resumes. A second
    Ctrl-C kills them. On SageMaker Ctrl-C only stops watching;
    `tuner stop` ends the jobs.

    Exit status: 0 done (or budget.hours or budget.usd used up), 1 no trial
    worked, the ledger is lost or AWS does not answer, 2 bad input, 130 stopped
    by Ctrl-C, 143 by SIGTERM or `tuner stop`, 129 by a terminal that was closed.

    Examples:
      tuner run sweeps/demo.yaml

      tuner run sweeps/mrpc.yaml --set model=minilm-l6 --set budget.trials=12

      tuner run sweeps/mrpc.yaml --backend sagemaker

      tuner run sweeps/mrpc.yaml --out runs/again --warm runs/mrpc

      tuner run sweeps/mrpc.yaml --retry-failed
    """
    loaded = load(sweep, settings := _on(settings, backend))
    if retry_failed and loaded.sweep.backend != "local":
        raise TunerError(
            "--retry-failed is for trials that run here; on SageMaker a larger budget.trials searches on"
        )
    splits = check_all(loaded)
    from tuner.run_folder import RUNS, RunFolder, find_run

    earlier = warm_start_of(of_folder(find_run(warm)), loaded) if warm is not None else None
    folder = RunFolder(out or RUNS / loaded.sweep.name)
    folder.claim(loaded)
    folder.lock()
    try:
        again = f"run {retype(sweep, settings, out)}"
        work(loaded, splits, folder, again, earlier, retry_failed=retry_failed)
    finally:
        folder.unlock()


@app.command()
def worker(
    run: Annotated[
        str, typer.Argument(help="A run folder, its name under runs/, or a sweep file.")
    ],
    settings: Settings = None,
    out: Out = None,
) -> None:
    """Help a sweep that another `tuner run` or `tuner worker` has begun, here or on another machine.

    On another machine the sweep needs `storage: postgresql://...`, and its file
    is named here. Each trial runs once; if a worker dies, another resumes its
    trial. Each worker runs budget.parallel trials at once. Ctrl-C and exit
    status are those of `tuner run`.

    Examples:
      tuner worker runs/mrpc

      tuner worker sweeps/mrpc.yaml --set storage=postgresql://me@db.example.org/sweeps
    """
    from tuner.run_folder import RUNS, RunFolder, find_run

    if Path(run).is_file():
        loaded = load(Path(run), settings)
        folder = RunFolder(out or RUNS / loaded.sweep.name)
        if loaded.sweep.storage is None:
            folder = find_run(str(out or run))  # the ledger is a file of this machine
    else:
        if settings or out:
            raise RunFolderError("--set and --out go with a sweep file, not with a run folder")
        folder = find_run(run)
        loaded = folder.load_sweep()
    if loaded.sweep.backend != "local":
        raise TunerError("backend: sagemaker has no workers: AWS runs the jobs; see `tuner run`")
    splits = check_all(loaded)
    folder.claim(loaded)
    words = retype(Path(run), settings, out)
    work(loaded, splits, folder, f"worker {words}")


@app.command()
def status(run: Run) -> None:
    """Show a sweep's trials so far and whether it is running."""
    from rich.console import Console

    from tuner.ledger import purpose_of
    from tuner.progress import Row, trial_table
    from tuner.run_folder import find_run

    folder, ledger = find_run(run), load_ledger(run)
    metric = str(ledger.study.user_attrs.get("metric", "objective"))
    rows = []
    for t in ledger.read_trials():
        state = {"COMPLETE": "finished", "FAIL": "failed"}.get(t.state.name, t.state.name.lower())
        state = t.user_attrs.get("outcome", state)
        seconds = float(t.user_attrs.get("wall_seconds", 0.0))
        reports = list(t.intermediate_values.values())
        score = t.value if t.value is not None else (reports[-1] if reports else None)
        note = str(t.user_attrs.get("failure", ""))
        row = Row(t.number, purpose_of(t), str(t.user_attrs.get("chosen_by", "")), t.params)
        row.status, row.score, row.seconds, row.note = state, score, seconds, note
        if state == "running" and t.datetime_start is not None:
            import datetime
            import time

            age = datetime.datetime.now() - t.datetime_start
            row.started = time.monotonic() - age.total_seconds()
            if t.user_attrs.get("steps") != "evaluations" and t.intermediate_values:
                row.fraction = max(t.intermediate_values) / 100
        rows.append(row)
    console = Console(highlight=False)
    console.print(trial_table(rows, metric, console.width))
    for part in ledger.study.user_attrs.get("tuning_jobs", []):
        print(f"tuning job {part['name']}: {part['status']} when last checked")
    from tuner.workers import at_work_here, is_here, workers_of

    here = at_work_here(ledger)
    print("\n".join(f"running: process {pid}" for pid in here.values()) or "not running here")
    elsewhere = [name for name, record in workers_of(ledger).items() if not is_here(record)]
    if elsewhere:
        print(f"last heard of elsewhere: {', '.join(elsewhere)}")
    print_best(ledger, folder)


@app.command()
def stop(run: Run) -> None:
    """End a running sweep; `tuner run` resumes it later.

    Here its trials save first and continue then. On AWS its jobs are stopped, and
    what they had not finished is done anew.
    """
    from tuner.backends import BACKENDS
    from tuner.run_folder import find_run

    folder, ledger = find_run(run), load_ledger(run)
    backend = str((ledger.study.user_attrs.get("sweep") or {}).get("backend", "local"))
    print(BACKENDS[backend].stop(ledger, folder))


@app.command()
def best(
    run: Run,
    fetch: Annotated[
        Path | None, typer.Option(help="Put the winner's model into this folder, from AWS too.")
    ] = None,
) -> None:
    """Print the winner and the command that trains it again by hand."""
    from tuner.run_folder import find_run

    ledger = load_ledger(run)
    if not ledger.best_first():
        raise TunerError(f"{run} has no finished trial yet")
    print_best(ledger, find_run(run), command=True)
    if fetch is not None:
        fetch_winner(ledger, find_run(run), fetch)


@app.command()
def doctor(run: Run) -> None:
    """Check a run folder: what is wrong, and what would be done about it. Changes nothing.

    Exit status: 0 nothing is wrong, 1 something needs you.

    Example:
      tuner doctor runs/demo
    """
    from rich.console import Console
    from rich.text import Text

    from tuner.doctor import FAULT, NOTE, OK, examine
    from tuner.run_folder import find_run

    console, faults = Console(highlight=False, soft_wrap=True), 0
    colours = {OK: "green", NOTE: "yellow", FAULT: "red"}
    for finding in examine(find_run(run)):
        faults += finding.kind == FAULT
        console.print(Text.assemble((f"{finding.kind:<6}", colours[finding.kind]), finding.text))
    if faults:
        raise typer.Exit(1)


app.command()(compare)
app.command()(report)
app.command()(export)


def _on(settings: list[str] | None, backend: str | None) -> list[str]:
    """The settings with `--backend` as one more of them."""
    return [*(settings or []), *([f"backend={backend}"] if backend else [])]


def _scratch() -> "Ledger":
    """An empty ledger in memory, for questions about a sweep that has not begun."""
    import optuna

    from tuner.ledger import Ledger

    return Ledger(optuna.create_study())


def main() -> None:
    """The console script: every foreseen fault is a sentence on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a character of ours
            stream.reconfigure(errors="replace")
    try:
        app()
    except (TunerError, ScriptError, ReportError) as exc:
        for line in str(exc).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(exc.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `tuner status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as exc:  # a file, folder or disk that no other place looked after
        where = f"{exc.filename}: " if exc.filename else ""
        print(f"error: {where}{exc.strerror or exc}", file=sys.stderr)
        if exc.errno == errno.ENOSPC:  # what could not be written is not tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
