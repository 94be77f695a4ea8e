"""What every backend has to do, shown with the toy script; a new backend joins by a line here."""

import json
import math
import os
import signal
import threading
import time

import psutil
import pytest
from optuna.trial import TrialState

from tests import PATIENCE
from tests.conftest import TOY
from tests.tuner.test_misfortunes import until_deaf
from tuner.backends import BACKENDS, Outcome, launching
from tuner.errors import SweepFailed
from tuner.ledger import Ledger
from tuner.machine import usable_cores
from tuner.progress import PlainView
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep

ON_AWS = {"image": "an-image", "poll_seconds": 0.2}


@pytest.fixture(params=sorted(BACKENDS))
def run_sweep(request, write_sweep, tmp_path):
    """Runs a sweep on each backend; returns its outcome and its ledger."""
    if request.param == "sagemaker":
        request.getfixturevalue("emulator")

    def run(settings=(), **blocks):
        blocks = {"sagemaker": ON_AWS} | blocks | {"backend": request.param}
        loaded = load_sweep(write_sweep(**blocks), settings)
        assert not BACKENDS[request.param](loaded).problems()
        folder = RunFolder(tmp_path / "run")
        folder.claim(loaded)
        ledger = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
        outcome = BACKENDS[request.param](loaded).run(ledger, folder, PlainView())
        return outcome, ledger

    return run


only_local = pytest.mark.parametrize("run_sweep", ["local"], indirect=True)
"""For what only this machine has; tests/aws has what SageMaker does instead."""
aws_when_there_is_time = pytest.mark.parametrize(
    "run_sweep", ["local", pytest.param("sagemaker", marks=pytest.mark.slow)], indirect=True
)
"""For what tests/aws and tests/end_to_end see as well, over more of the way."""


@aws_when_there_is_time
def test_every_trial_is_in_the_ledger_with_its_score_and_curve(run_sweep):
    outcome, ledger = run_sweep(search={"pruner": "none"})
    assert outcome is Outcome.FINISHED
    trials = ledger.read_trials()
    assert len(trials) == 6
    for t in trials:
        assert t.state == TrialState.COMPLETE
        assert set(t.intermediate_values) == {25, 50, 75, 100}
        assert t.user_attrs["wall_seconds"] > 0
        assert t.user_attrs["chosen_by"] in ("default", "space-filling", "random", "adaptive")
        assert len(t.user_attrs["evaluations"]) == 4


def test_script_got_the_arguments_that_the_ledger_names(run_sweep):
    _, ledger = run_sweep(budget={"trials": 3, "parallel": 2})
    for t in ledger.read_trials():
        words = t.user_attrs["arguments"]
        given = dict(zip(words[::2], words[1::2], strict=True))
        assert float(given["--rate"]) == t.params["rate"]
        assert int(given["--depth"]) == t.params["depth"]
        assert int(given["--seed"]) == t.user_attrs["seed"]
        received = t.params | {"seed": t.user_attrs["seed"]}
        assert [said["received"] for said in t.user_attrs["evaluations"]] == [received] * 4
        best_rate_apart = (math.log10(t.params["rate"]) + 3) ** 2
        assert t.value == pytest.approx(1 - best_rate_apart - 0.1 * t.params["depth"])


@only_local
def test_a_model_that_cannot_win_is_removed_as_soon_as_that_is_known(run_sweep):
    for trials in (4, 8):
        _, ledger = run_sweep(
            search={"pruner": "none"}, fixed={"mode": "keeps"},
            budget={"trials": trials, "parallel": 1},
        )  # fmt: skip
    done = ledger.read_trials()
    for trial in done[1:]:
        best = max(done[: trial.number], key=lambda t: t.value)
        assert trial.user_attrs["metrics"]["models"] == [best.number]


@aws_when_there_is_time
def test_run_again_repeats_no_finished_trial(run_sweep):
    run_sweep()
    _, ledger = run_sweep()
    assert len(ledger.read_trials()) == 6
    _, ledger = run_sweep(["budget.trials=9"])
    assert len(ledger.read_trials()) == 9


@only_local
@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("fails", "this configuration cannot work"),
        ("killed", "killed from outside by SIGKILL"),
        ("memory", "MemoryError"),
        ("silent", 'ended without printing "score"'),
        ("nan", "score is nan, not a finite number"),
    ],
)
def test_failed_trial_is_a_record_and_the_sweep_goes_on(run_sweep, mode, why):
    space = {"rate": {"choice": [0.001, 0.01]}, "mode": {"choice": ["well", mode]}}
    outcome, ledger = run_sweep(
        space=space, search={"sampler": "grid"}, budget={"trials": 4, "parallel": 1}
    )
    assert outcome is Outcome.FINISHED
    by_mode = {
        m: [t for t in ledger.read_trials() if t.params["mode"] == m] for m in ("well", mode)
    }
    assert [t.state for t in by_mode["well"]] == [TrialState.COMPLETE] * 2
    assert [t.state for t in by_mode[mode]] == [TrialState.FAIL] * 2
    assert why in by_mode[mode][0].user_attrs["failure"]
    if mode == "fails":
        assert by_mode[mode][0].user_attrs["stderr_tail"][0] == "some context"


@only_local
def test_script_that_vanishes_is_a_recorded_failure(run_sweep, tmp_path, monkeypatch):
    script = tmp_path / "mine.py"
    script.write_text(TOY.read_text())
    monkeypatch.setattr(launching, "threads_of", lambda at_once: script.unlink(True) or 1)
    with pytest.raises(SweepFailed, match="can't open file"):
        run_sweep(script=str(script), budget={"trials": 9})


@only_local
def test_cores_are_divided_and_gpus_assigned_round_robin(run_sweep, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    _, ledger = run_sweep(fixed={"sleep": 0.3}, budget={"trials": 4, "parallel": 2})
    said = [t.user_attrs["evaluations"][0] for t in ledger.read_trials()]
    assert sorted(s["gpu"] for s in said) == ["3", "3", "5", "5"]
    assert {s["threads"] for s in said} == {str(max(1, usable_cores() // 2))}


@only_local
def test_trials_share_the_one_gpu(run_sweep, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    _, ledger = run_sweep(fixed={"sleep": 0.3}, budget={"trials": 4, "parallel": 2})
    trials = ledger.read_trials()
    assert [t.user_attrs["evaluations"][0]["gpu"] for t in trials] == ["3"] * 4
    assert trials[1].datetime_start < trials[0].datetime_complete


@only_local
def test_five_failures_without_a_success_stop_the_sweep_with_the_reason(run_sweep, tmp_path):
    with pytest.raises(SweepFailed, match="5 trials failed and none succeeded.*cannot work"):
        run_sweep(fixed={"mode": "fails"}, budget={"trials": 20, "parallel": 1})
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert len(ledger.read_trials()) == 5


HOPELESS_LAST = {
    "space": {"rate": {"choice": [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 1.0]}},
    "budget": {"trials": 6, "parallel": 1},
}  # with this seed the grid ends with rate = 1
GRID_SEED = 1


@only_local
@pytest.mark.parametrize("mode", ["well", "polite"])
def test_hopeless_trial_is_pruned_and_its_process_ended(run_sweep, mode):
    """Also where the script takes SIGTERM for a good end and gives status 0."""
    _, ledger = run_sweep(
        fixed={"depth": 1, "sleep": 0.4, "mode": mode},
        search={"sampler": "grid", "seed": GRID_SEED},
        **HOPELESS_LAST,
    )
    last = ledger.read_trials()[-1]
    assert last.params["rate"] == 1.0
    assert last.state == TrialState.PRUNED
    assert max(last.intermediate_values) < 100


@only_local
@pytest.mark.parametrize("mode", ["long", "nested", "compact", "plain", "deep", "binary", "late"])
def test_odd_output_is_read_for_what_it_says(run_sweep, mode):
    _, ledger = run_sweep(
        space={"rate": {"choice": [1e-3]}}, fixed={"depth": 1, "mode": mode},
        search={"sampler": "grid"}, budget={"trials": 1},
    )  # fmt: skip
    (trial,) = ledger.read_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == pytest.approx(0.9)


@only_local
def test_crash_is_told_with_its_last_words(run_sweep):
    _, ledger = run_sweep(
        space={"mode": {"choice": ["abort", "well"]}}, fixed={"rate": 0.001},
        search={"sampler": "grid"}, budget={"trials": 2},
    )  # fmt: skip
    (failed,) = [t for t in ledger.read_trials() if t.state == TrialState.FAIL]
    assert failed.user_attrs["failure"] == "ended by SIGABRT: an assertion in C"


@only_local
def test_script_deaf_to_sigterm_is_killed_by_the_cap(run_sweep):
    outcome, ledger = run_sweep(
        fixed={"mode": "deaf", "sleep": 5.0}, budget={"trials": 2, "parallel": 1, "hours": 4 / 3600}
    )
    assert outcome is Outcome.OUT_OF_HOURS
    (cut_off,) = ledger.in_flight()
    assert (cut_off.state, cut_off.user_attrs["outcome"]) == (TrialState.WAITING, "interrupted")


@only_local
def test_script_deaf_to_sigterm_is_killed_a_while_after_it_was_asked_to_end(
    run_sweep, tmp_path, monkeypatch
):
    monkeypatch.setattr("tuner.processes.KILL_AFTER_SECONDS", 0.3)

    def ask_once():
        until_deaf(tmp_path / "run")
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask_once)
    asking.start()
    outcome, ledger = run_sweep(
        fixed={"mode": "deaf", "sleep": 90.0, "evaluations": 1}, budget={"trials": 1}
    )
    asking.join()
    assert outcome is Outcome.STOPPED
    (cut_off,) = ledger.in_flight()
    assert (cut_off.state, cut_off.user_attrs["outcome"]) == (TrialState.WAITING, "interrupted")
    assert not cut_off.intermediate_values, "it did not wake up"


@only_local
def test_children_that_a_script_leaves_behind_are_ended(run_sweep):
    before = {p.pid for p in psutil.process_iter()}
    run_sweep(fixed={"mode": "parent"}, budget={"trials": 2, "parallel": 1})
    left = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    assert not [p for p in left if p.info["cmdline"] == ["sleep", "600"]]


@only_local
@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_other_pruners_end_the_hopeless_trial_too(run_sweep, pruner):
    _, ledger = run_sweep(
        fixed={"depth": 1, "mode": "lingers"},
        search={"sampler": "grid", "seed": GRID_SEED, "pruner": pruner},
        **HOPELESS_LAST,
    )
    assert ledger.read_trials()[-1].state == TrialState.PRUNED
    assert ledger.best_first()[0].params["rate"] == 1e-3


@only_local
def test_neither_the_default_nor_a_confirmation_is_pruned(run_sweep, write_sweep, tmp_path):
    """The default is hopeless, and comes when five others are there to be held against it."""
    blocks = {
        "space": {"rate": {"float": [1e-4, 1.0], "scale": "log", "default": 1.0}},
        "fixed": {"depth": 1, "sleep": 0.4}, "budget": {"trials": 6, "parallel": 1},
        "confirm": {"top": 1, "seeds": 1}, "sagemaker": ON_AWS, "backend": "local",
    }  # fmt: skip
    loaded, folder = load_sweep(write_sweep(**blocks)), RunFolder(tmp_path / "run")
    folder.claim(loaded)
    earlier = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
    facts = {"purpose": "search", "chosen_by": "random", "seed": 0, "arguments": []}
    for _ in range(5):
        trial = earlier.start_at({"rate": 1e-3}, loaded.space().distributions(), facts)
        for step in (25, 50, 75, 100):
            trial.report(0.9, step)
        earlier.finish(trial, 0.9, TrialState.COMPLETE)
    _, ledger = run_sweep(**blocks)
    later = ledger.read_trials()[5:]
    assert sorted((t.user_attrs["chosen_by"], t.params["rate"]) for t in later) == [
        ("confirmation", 1e-3), ("confirmation", 1.0), ("default", 1.0)
    ]  # fmt: skip
    assert {t.state for t in later} == {TrialState.COMPLETE}


@only_local
def test_pruner_none_lets_every_trial_finish(run_sweep):
    _, ledger = run_sweep(
        fixed={"depth": 1, "sleep": 0.1},
        search={"sampler": "grid", "seed": GRID_SEED, "pruner": "none"},
        **HOPELESS_LAST,
    )
    assert {t.state for t in ledger.read_trials()} == {TrialState.COMPLETE}


def test_winner_and_default_are_confirmed_on_fresh_seeds(run_sweep):
    _, ledger = run_sweep(
        confirm={"top": 1, "seeds": 2}, fixed={"noise": 0.1}, budget={"trials": 3, "parallel": 2}
    )
    confirmed = ledger.read_trials("confirm")
    default = next(t.number for t in ledger.read_trials() if t.user_attrs["chosen_by"] == "default")
    best = next(t.number for t in ledger.best_first() if t.number != default)
    assert {t.user_attrs["confirms"] for t in confirmed} == {best, default}
    search_seeds = {t.user_attrs["seed"] for t in ledger.read_trials("search")}
    assert not search_seeds & {t.user_attrs["seed"] for t in confirmed}


def test_hours_are_a_hard_cap(run_sweep):
    began = time.monotonic()
    outcome, ledger = run_sweep(
        fixed={"sleep": 0.5}, budget={"trials": 500, "parallel": 2, "hours": 10 / 3600}
    )
    assert outcome is Outcome.OUT_OF_HOURS
    assert time.monotonic() - began < 100  # all of them would take 500 s
    assert 1 <= len(ledger.read_trials()) < 50
    assert not any(t.state == TrialState.RUNNING for t in ledger.read_trials())


@pytest.mark.slow
def test_no_more_trials_at_once_than_asked_for(run_sweep):
    _, ledger = run_sweep(fixed={"sleep": 0.1}, budget={"trials": 6, "parallel": 2})
    events = [(t.datetime_start, 1) for t in ledger.read_trials()]
    events += [(t.datetime_complete, -1) for t in ledger.read_trials()]
    running = peak = 0
    for _, change in sorted(events):
        running += change
        peak = max(peak, running)
    assert peak == 2


def test_stopped_sweep_leaves_no_process_and_goes_on_later(tuner, write_sweep, tmp_path):
    import subprocess
    import sys

    from tests.conftest import ROOT

    path = write_sweep(fixed={"sleep": 1.0}, budget={"trials": 4, "parallel": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path), "--out", str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "25%" not in process.stdout.readline():
        pass
    until = time.monotonic() + PATIENCE  # the second may start a little later
    while len(children := psutil.Process(process.pid).children()) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "resumes it" in output
    assert not any(child.is_running() for child in children)
    done = tuner("run", path, "--out", tmp_path / "run", "--set", "fixed.sleep=1.0")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "report.json").read_text())
    statuses = [t["status"] for t in result["sections"]["trials"]["trials"]]
    assert statuses == ["finished"] * 4  # those that were cut off went on under their numbers
    attempts = [
        t.user_attrs.get("attempts")
        for t in Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    ]
    assert attempts.count(2) == 2
