"""The estimate of time and cost: a range that holds, from runs that are alike, or none."""

from pathlib import Path

import numpy as np
import pytest

from tuner.estimate import _kind, beforehand, estimate_of
from tuner.ledger import Ledger
from tuner.sweep import load_sweep


def test_nine_ranges_in_ten_hold_what_the_sweep_then_takes():
    """Log-normal trial times with a factor of two between them, some known, the others still to come."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        known, rest = int(rng.integers(8, 30)), int(rng.integers(5, 60))
        seconds = rng.lognormal(4.0, 0.6, known + rest)
        parallel = int(rng.integers(1, 4))
        found = estimate_of(seconds[:known], rest, parallel, "them")
        free = np.zeros(parallel)
        for each in seconds[known:]:
            free[free.argmin()] += each
        held += found.low <= free.max() <= found.high
    assert 0.8 <= held / 300 <= 0.97


def test_the_price_of_the_machine_makes_money_of_it():
    found = estimate_of([60.0] * 8, 10, 1, "them", price=6.0)
    assert found.usd is not None
    assert abs(found.usd[0] - 1.0) < 0.01
    assert "$1.00 to $1.00" in str(found)
    assert "10 min" in str(found)


@pytest.mark.slow
def test_a_second_run_like_the_first_is_told_how_long_it_takes(write_sweep, tmp_path, tuner):
    blocks = {"fixed": {"sleep": 0.05}, "budget": {"trials": 6, "parallel": 1}}
    path = write_sweep(**blocks)
    planned = tuner("plan", path)
    assert "not known before four trials have ended" in planned.stdout
    assert "unknown: no price of this machine" in planned.stdout
    first = tuner("run", path)
    assert first.returncode == 0, first.stderr
    assert "the other 2 trials will take" in first.stdout
    assert "it took" in first.stdout
    again = write_sweep(name="again", prices={"here": 2}, **blocks)
    assert "from 6 trials of runs/toy), $0.00 to $0.00" in tuner("plan", again).stdout
    second = tuner("run", again)
    assert "it will take" in second.stdout
    assert "beforehand the estimate was" in second.stdout
    told = Ledger.load("sqlite:///runs/again/study.db").study.user_attrs["estimate"]
    assert told["planned"] == 6, "of a larger budget another one is made"
    other = write_sweep(name="other", fixed={"sleep": 0.05}, budget={"trials": 6, "parallel": 2})
    assert "no other run here is like this one" in tuner("plan", other).stdout


def test_with_twice_the_data_trials_take_twice_as_long(write_sweep, tuner):
    path = write_sweep(budget={"trials": 5, "parallel": 1})
    assert tuner("run", path).returncode == 0
    ledger = Ledger.load("sqlite:///runs/toy/study.db")
    ledger.set("data", {"training_examples": 100})
    ledger.close()
    same, twice = (
        beforehand(load_sweep(path), Path("runs/new"), 8, examples) for examples in (100, 200)
    )
    assert twice.estimate == pytest.approx(2 * same.estimate)
    assert twice.source == "5 trials of runs/toy, with 2 times as many examples"


@pytest.mark.parametrize(
    ("setting", "alike"),
    [("budget.trials=9", True), ("fixed.weight_decay=0.1", False), ("model=minilm-l6", False),
     ("space.epochs={int: [1, 9]}", False), ("space.dropout={float: [0, 0.3]}", True)],
)  # fmt: skip
def test_a_run_of_another_model_or_longer_trials_foretells_nothing(tmp_path, setting, alike):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "objective: {metric: eval_f1}\ntask: {name: demo}\nmodel: bert-base-uncased\n"
        "space: {learning_rate: {float: [1e-5, 1e-4]}, epochs: {int: [1, 2]}}\n"
    )
    kinds = [_kind(load_sweep(path, settings).whole()) for settings in ([], [setting])]
    assert (kinds[0] == kinds[1]) == alike


@pytest.mark.parametrize(("pruner", "less"), [("median", True), ("none", False)])
def test_before_any_trial_was_pruned_it_may_take_less(write_sweep, tuner, tmp_path, pruner, less):
    """The pruner waits for five trials, and the estimate is told after four, which all ran to their end."""
    path = write_sweep(
        fixed={"sleep": 0.02}, budget={"trials": 8, "parallel": 1}, search={"pruner": pruner}
    )
    said = tuner("run", path, "--out", tmp_path / "run").stdout
    assert ("from its first 4 trials; less where trials are pruned)" in said) == less
    assert said.count("less where trials are pruned") == 2 * less


def test_any_range_of_a_script_of_your_own_may_decide_how_long_it_takes(write_sweep):
    long = {
        "rate": {"float": [1e-5, 1e-1], "default": 1e-4},
        "depth": {"int": [1, 4000], "default": 2},
    }
    kinds = [_kind(load_sweep(write_sweep(**space)).whole()) for space in ({}, {}, {"space": long})]
    assert kinds[0] == kinds[1] != kinds[2]
