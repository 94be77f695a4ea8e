"""What the commands that run a sweep do: check it, open its ledger, run it, report, say how it ended."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import typer

from tuner.cli_results import print_best, write_report_of
from tuner.errors import LedgerLost, RunFolderError, SweepError, TunerError

if TYPE_CHECKING:
    from optuna import Study

    from train_script.tasks import Splits
    from tuner.cli_compare import Earlier
    from tuner.ledger import Ledger
    from tuner.progress import View
    from tuner.run_folder import RunFolder
    from tuner.sweep import LoadedSweep

MOST_WARM_TRIALS = 300


def load(path: Path, settings: list[str] | None) -> "LoadedSweep":
    """The sweep of a file; SweepError names every fault in it."""
    from tuner.sweep import load_sweep

    return load_sweep(path, settings or [])


def check_all(loaded: "LoadedSweep") -> "Splits | None":
    """The sweep's data; SweepError with all that stands in the way outside the file."""
    splits, problems = data_and_problems(loaded, [loaded.sweep.backend])
    if problems:
        raise SweepError(problems)
    return splits


def data_and_problems(
    loaded: "LoadedSweep", backends: Iterable[str]
) -> "tuple[Splits | None, list[str]]":
    """The sweep's data, and what stands in the way on these backends.

    SweepError with all of it where the data or a model are among that.
    """
    from tuner.backends import BACKENDS
    from tuner.sweep import check_outside

    problems = [problem for name in backends for problem in BACKENDS[name](loaded).problems()]
    try:
        return check_outside(loaded), problems
    except SweepError as exc:
        raise SweepError([*problems, *exc.faults]) from exc


def work(
    loaded: "LoadedSweep",
    splits: "Splits | None",
    folder: "RunFolder",
    again: str,
    warm: dict[str, Any] | None = None,
    is_slot: bool = False,
    retry_failed: bool = False,
) -> None:
    """Runs a sweep, or helps, to its end; prints how it ended; `again` is what resumes it.

    `warm` is what an earlier run found (`warm_start_of`). A slot that used up its budget is over.
    `retry_failed` has new trials take the places of those that failed.
    """
    from tuner.backends import BACKENDS, Outcome
    from tuner.estimate import compared_with_truth
    from tuner.plan import trial_counts
    from tuner.points import ALL_LISTED, Points
    from tuner.progress import make_view
    from tuner.workers import at_work_here

    facts = folder.prepare_data(splits)
    ledger = _open_ledger(folder, loaded, facts)
    # AMT learns from earlier tuning jobs of its own: sagemaker.warm_start.
    learns = loaded.sweep.backend == "local" and loaded.sweep.search.sampler not in ALL_LISTED
    if warm is not None and learns and not ledger.read_trials():
        ledger.set("warm", warm)
    told = ""
    if retry_failed:
        ledger, told = _with_failed_aside(ledger, folder)
    view = make_view()
    try:
        if told:
            view.say(told)
        view.say(
            f"{loaded.sweep.name}: {trial_counts(loaded, Points(loaded, ledger), loaded.sweep.backend)}"
        )
        if before := ledger.study.user_attrs.get("warm"):
            view.say(
                f"starts from what the {len(before['trials'])} trials of {before['run']} found"
            )
        elif warm is not None and learns:
            view.say(f"begins without {warm['run']}: this run has trials of its own already")
        _say_estimate(view, loaded, ledger, folder)
        done = sum(t.state.is_finished() for t in ledger.read_trials())
        if others := at_work_here(ledger):
            view.say(f"beside process {', '.join(map(str, others.values()))}")
        elif open_ := len(ledger.in_flight()) + len(ledger.interrupted()):
            view.say(f"resumes after {done} trials; {open_} were cut off and continue now")
        elif done:
            view.say(f"resumes after {done} trials")
        backend = BACKENDS[loaded.sweep.backend](loaded, _nothing_to_gain)
        outcome = backend.run(ledger, folder, view)
    except LedgerLost:  # without it there is nothing to report on
        raise
    except BaseException:  # Ctrl-C among them: what has run is reported on; raised again
        with suppress(TunerError):  # what is raised says what matters
            _report_if_any(ledger, folder)
        raise
    finally:
        view.close()
    _report_if_any(ledger, folder)
    if outcome is Outcome.FINISHED and (compared := compared_with_truth(ledger)):
        print(compared)
    if outcome is Outcome.STOPPED:
        print(f"{outcome.value}; `{program()} {again}` resumes it")
    if outcome is Outcome.DETACHED:
        follows = f"`{program()} {again}` follows them again"
        print(f"{outcome.value}; {follows}, `{program()} stop {folder.shown}` ends them")
    if outcome in (Outcome.OUT_OF_HOURS, Outcome.OUT_OF_MONEY):
        print(
            outcome.value + ("" if is_slot else "; with a larger one the same command resumes it")
        )
    print_best(ledger, folder)
    print(f"report: {folder.shown / 'report.html'}")
    if (
        (failed := len(ledger.failed()))
        and loaded.sweep.backend == "local"
        and again.startswith("run ")
    ):
        retries = f"`{program()} {again} --retry-failed` tries them again"
        print(f"{failed} trial(s) failed; once their cause is mended, {retries}")
    if outcome in (Outcome.STOPPED, Outcome.DETACHED):
        raise typer.Exit(128 + backend.stopped_by)
    if not ledger.best_first():
        print("error: no trial finished; the report shows why", file=sys.stderr)
        raise typer.Exit(1)


def _with_failed_aside(ledger: "Ledger", folder: "RunFolder") -> "tuple[Ledger, str]":
    """The ledger with its failed trials set aside, and a sentence on that; RunFolderError beside other workers."""
    from tuner.ledger import Ledger
    from tuner.workers import at_work_here, is_here, workers_of

    if here := at_work_here(ledger):
        raise RunFolderError(
            f"--retry-failed: process {', '.join(map(str, here.values()))} is at work on {folder.shown} and would not "
            f"see it; `{program()} stop {folder.shown}` ends it"
        )
    count = ledger.set_failed_aside()
    told = f"{count} trial(s) that failed are tried again" if count else "no trial has failed"
    if elsewhere := sorted(n for n, record in workers_of(ledger).items() if not is_here(record)):
        told += f"; end {', '.join(elsewhere)} if still at work, which does not see it"
    name = ledger.study.study_name
    ledger.close()
    return Ledger.load(folder.ledger_url(), name), told


def _nothing_to_gain(study: "Study") -> dict[str, Any] | None:
    """The judge of `budget.stop_early`."""
    from reports.gain import gain_left

    left = gain_left(study)
    return left.as_fact() if left is not None and left.is_nothing else None


def _say_estimate(
    view: "View", loaded: "LoadedSweep", ledger: "Ledger", folder: "RunFolder"
) -> None:
    """Before the first trial, where an earlier run tells how long it will take."""
    from tuner.estimate import beforehand
    from tuner.points import Points

    if loaded.sweep.backend != "local" or ledger.read_trials():
        return
    planned = Points(loaded, ledger).most_trials()
    before = beforehand(
        loaded,
        folder.shown,
        planned,
        (ledger.study.user_attrs.get("data") or {}).get("training_examples"),
    )
    if before is not None:
        view.say(f"it will take {before}")
        ledger.set("estimate", before.as_fact() | {"elapsed_before": 0.0, "planned": planned})


def warm_start_of(run: "Earlier", loaded: "LoadedSweep") -> dict[str, Any]:
    """What a sweep takes over of an earlier run: its winner, and its finished search trials.

    RunFolderError where that run sought something else.
    """
    ledger = run.open()
    goal = "maximize" if ledger.maximize else "minimize", ledger.study.user_attrs.get("metric")
    wanted = loaded.direction, loaded.sweep.objective.metric
    if goal != wanted:
        ledger.close()
        raise RunFolderError(
            f"{run.shown} is to {goal[0]} {goal[1]}, and this sweep to {wanted[0]} {wanted[1]}: it cannot "
            "begin with what that one found"
        )
    facts = taken_over(ledger, run.shown)
    ledger.close()
    return facts


def taken_over(ledger: "Ledger", shown: str) -> dict[str, Any]:
    """The fact `warm` of a run that begins with what this one found."""
    from optuna.trial import TrialState

    from reports import read_table
    from reports.winner import confirmed_scores, find_winner

    table = read_table(ledger.study)
    winner, fresh = find_winner(table), confirmed_scores(table)
    # What ran on fresh seeds counts by these: the best score of a search is too good.
    trials = [
        {"params": t.params, "value": mean(fresh[t.number].values()) if t.number in fresh else t.value,
         "chosen_by": t.user_attrs.get("chosen_by")}
        for t in ledger.read_trials("search") if t.state == TrialState.COMPLETE
    ]  # fmt: skip
    kept = [*trials[:1], *trials[1:][-MOST_WARM_TRIALS:]]  # the first is the default
    return {"run": shown, "winner": winner.params if winner else None, "trials": kept}


def _report_if_any(ledger: "Ledger", folder: "RunFolder") -> None:
    if ledger.read_trials():
        write_report_of(ledger, folder)


def _open_ledger(
    folder: "RunFolder", loaded: "LoadedSweep", facts: dict[str, Any] | None
) -> "Ledger":
    from tuner.ledger import Ledger
    from tuner.machine import code_hash, describe
    from tuner.run_folder import differences

    ledger = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
    known = ledger.study.user_attrs
    identity = loaded.ledger_identity()
    if "identity" not in known and ledger.read_trials():
        raise RunFolderError(
            f"the ledger of {folder.shown} holds a study {loaded.sweep.name!r} that no `tuner run` has made; "
            "choose another name"
        )
    if found := list(differences(known.get("identity", identity), identity)):
        raise RunFolderError(
            f"the ledger of {folder.shown} belongs to another sweep: {'; '.join(found)}. "
            "Choose another folder with --out, or another name"
        )
    code = code_hash(loaded.script)
    if known.get("code_sha256") not in (None, code):
        raise RunFolderError(
            f"{loaded.script} (or a file of its package) has changed since the first trial of "
            f"{folder.shown}, so their scores would not compare; choose another folder with --out"
        )
    if facts is not None and known.get("data", facts)["sha256"] != facts["sha256"]:
        raise RunFolderError(
            f"the data of {folder.shown} is not what the ledger's other trials had ({facts['source']}); "
            "their scores would not compare"
        )
    weights = _weights(loaded)
    before = known.get("weights", {})
    if changed := sorted(
        name for name in weights if before.get(name, weights[name]) != weights[name]
    ):
        raise RunFolderError(
            f"the weights of model {changed[0]} have changed since the first trial of {folder.shown} (or are others "
            "on this machine), so their scores would not compare; choose another folder with --out"
        )
    folder.keep_sweep(loaded)
    ledger.set("weights", before | weights)
    ledger.set("metric", loaded.sweep.objective.metric)
    ledger.set("identity", identity)
    ledger.set("sweep", loaded.whole())
    ledger.set("script", str(loaded.script))
    ledger.set("code_sha256", code)
    ledger.set("machine", describe())
    ledger.set("run_folder", str(folder.path))
    if facts is not None:
        ledger.set("data", facts)
    return ledger


def _weights(loaded: "LoadedSweep") -> dict[str, str]:
    """The hash of each model whose files are here, by the name that the sweep gives it."""
    from train_script.pretrained import locate_model
    from tuner.machine import weights_hash
    from tuner.sweep import models_of

    if not loaded.uses_own_script:
        return {}
    places = {
        name: Path(locate_model(loaded.model_place(name))) for name in models_of(loaded.sweep)
    }
    return {name: weights_hash(place) for name, place in places.items() if place.is_dir()}


def program() -> str:
    """How this command is called from here: `make tune` calls it without it being on the path."""
    import shlex
    import shutil

    return "tuner" if shutil.which("tuner") else shlex.quote(sys.argv[0])


def retype(sweep: Path, settings: list[str] | None, out: Path | None) -> str:
    """The words that call the same again, without any password."""
    import shlex

    from tuner.storage import masked

    hidden = [f"storage={masked(s[8:])}" if s.startswith("storage=") else s for s in settings or []]
    words = [str(sweep), *(w for s in hidden for w in ("--set", s))]
    return shlex.join(words + (["--out", str(out)] if out else []))
