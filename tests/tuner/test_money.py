"""budget.usd is a hard cap, whatever is in flight; a price that nobody knows is not zero."""

import os
import random
import subprocess
import sys
import time

import pytest

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.backends import Outcome
from tuner.backends import local as local_backend
from tuner.backends.local import LocalBackend
from tuner.errors import SweepError, SweepFailed
from tuner.ledger import Ledger
from tuner.prices import user_prices
from tuner.progress import PlainView
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep
from tuner.workers import Workers, workers_of

DEAR = 3600.0  # a dollar a second


def spend(write_sweep, folder, usd, **blocks):
    """Runs a sweep on a machine that costs a dollar a second; its outcome, its ledger."""
    blocks["budget"] = blocks["budget"] | {"usd": usd}
    loaded = load_sweep(write_sweep(**blocks, prices={"here": DEAR}))
    run = RunFolder(folder)
    run.claim(loaded)
    ledger = Ledger.create(run.ledger_url(), loaded.sweep.name, loaded.direction)
    return LocalBackend(loaded).run(ledger, run, PlainView()), ledger


def test_the_cap_holds_whatever_a_trial_does(write_sweep, tmp_path):
    """Trials of a minute that are deaf to SIGTERM end with the money; `make chaos` measures to a tenth of a second."""
    fixed = {"sleep": 15.0, "mode": "deaf"}
    outcome, ledger = spend(
        write_sweep, tmp_path / "run", 2.0, fixed=fixed, budget={"trials": 100, "parallel": 2}
    )
    assert outcome is Outcome.OUT_OF_MONEY
    spent = ledger.study.user_attrs["elapsed_seconds"] * DEAR / 3600
    assert 1.0 < spent < 2.0 + 20  # a busy machine; without the cap it would be a minute


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_sweep_overspends_by_less_than_a_poll_interval(seed, write_sweep, tmp_path):
    """Trials of random length, one in two deaf to SIGTERM; `make chaos` does it 50 times."""
    rng = random.Random(seed)
    usd = rng.uniform(0.8, 2.0)
    fixed = {"sleep": rng.uniform(0.05, 1.0), "mode": rng.choice(["well", "deaf"])}
    outcome, ledger = spend(
        write_sweep, tmp_path / "run", usd, fixed=fixed, budget={"trials": 100, "parallel": 2}
    )
    assert outcome is Outcome.OUT_OF_MONEY
    spent = ledger.study.user_attrs["elapsed_seconds"] * DEAR / 3600
    # What is beyond the interval is the writing down of two ends on a busy machine.
    assert spent - usd < local_backend.POLL_SECONDS + 5
    assert spent > 0.5 * usd


def test_what_was_chosen_while_the_money_ran_out_is_not_started(write_sweep, tmp_path, monkeypatch):
    """A sampler may think for long; what it chose is kept for a run with more money."""
    choose = local_backend.Making.next

    def slowly(self, propose, ours):
        begun = choose(self, propose, ours)
        if begun is not None and begun.trial.number == 1:
            monkeypatch.setattr(Workers, "usd", property(lambda _: 1e6))
        return begun

    monkeypatch.setattr(local_backend.Making, "next", slowly)
    outcome, ledger = spend(
        write_sweep, tmp_path / "run", 1e5, fixed={"sleep": 60.0}, budget={"trials": 9, "parallel": 2}
    )  # fmt: skip
    assert outcome is Outcome.OUT_OF_MONEY
    assert not (tmp_path / "run" / "trials" / "0001").exists()
    assert [t.state.name for t in ledger.read_trials()] == ["WAITING", "WAITING"]


def test_a_sweep_that_gives_up_has_counted_what_it_took(write_sweep, tmp_path):
    with pytest.raises(SweepFailed, match="5 trials failed"):
        spend(
            write_sweep, tmp_path / "run", 1000.0, fixed={"mode": "fails"},
            budget={"trials": 9, "parallel": 1},
        )  # fmt: skip
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert ledger.study.user_attrs["elapsed_seconds"] >= sum(
        t.user_attrs["wall_seconds"] for t in ledger.read_trials()
    )
    assert not workers_of(ledger)


def test_what_was_spent_counts_in_the_next_run(write_sweep, tmp_path):
    blocks = {"fixed": {"sleep": 0.2}, "budget": {"trials": 100, "parallel": 1}}
    spend(write_sweep, tmp_path / "run", 2.0, **blocks)
    before = len(Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials())
    outcome, ledger = spend(write_sweep, tmp_path / "run", 2.0, **blocks)
    assert outcome is Outcome.OUT_OF_MONEY
    assert len(ledger.read_trials()) <= before + 1
    blocks["budget"] = {"trials": before + 3, "parallel": 1}
    outcome, ledger = spend(write_sweep, tmp_path / "run", 100.0, **blocks)
    assert outcome is Outcome.FINISHED
    assert len(ledger.read_trials()) == before + 3


def test_a_killed_sweep_gets_neither_its_money_nor_its_hours_back(write_sweep, tmp_path):
    blocks = {"fixed": {"sleep": 600}, "budget": {"trials": 2, "parallel": 1}}
    path = write_sweep(**blocks, prices={"here": DEAR})
    notes_at_once = (
        "import tuner.workers, tuner.backends.local as local; from tuner.cli import main; "
        "tuner.workers.BEAT_SECONDS = local.NOTE_SECONDS = 0.0; main()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", notes_at_once, "run", str(path), "--out", str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "started" not in first.stdout.readline():
        pass
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")

    def noted():
        return Workers(ledger).others().usd, ledger.study.user_attrs.get("elapsed_seconds", 0.0)

    until = time.monotonic() + PATIENCE
    while min(noted()) < 0.3:
        assert time.monotonic() < until, noted()
        time.sleep(0.1)
    first.kill()
    first.communicate()
    assert min(noted()) >= 0.3
    outcome, _ = spend(write_sweep, tmp_path / "run", 0.3, **blocks)
    assert outcome is Outcome.OUT_OF_MONEY
    blocks["budget"] |= {"hours": 0.3 / 3600}
    outcome, ledger = spend(write_sweep, tmp_path / "run", 1e6, **blocks)
    assert outcome is Outcome.OUT_OF_HOURS
    assert [t.user_attrs.get("attempts", 1) for t in ledger.read_trials()] == [1]


def test_each_trial_says_its_share_of_what_the_machine_costs(write_sweep, tmp_path):
    _, ledger = spend(write_sweep, tmp_path / "run", 100.0, budget={"trials": 2, "parallel": 2})
    for trial in ledger.read_trials():
        share = trial.user_attrs["wall_seconds"] * DEAR / 3600 / 2
        assert trial.user_attrs["cost_usd"] == pytest.approx(share, abs=1e-5)


def test_a_cap_without_a_price_is_refused_with_the_remedy(write_sweep, tuner):
    done = tuner("plan", write_sweep(budget={"trials": 2, "usd": 5}))
    assert done.returncode == 2
    assert (
        "budget.usd 5 cannot be kept: nobody has said what an hour of this machine" in done.stderr
    )
    assert "prices: {here: DOLLARS}" in done.stderr
    done = tuner(
        "plan", write_sweep(budget={"trials": 2, "usd": 5}, sagemaker={"role": "arn:aws:iam::1:role/x"}),
        "--backend", "sagemaker",
    )  # fmt: skip
    assert "the price of ml.g4dn.xlarge is unknown" in done.stderr


def test_the_users_own_table_is_read_and_the_sweep_goes_before_it(
    write_sweep, tmp_path, monkeypatch
):
    table = tmp_path / "prices.yaml"
    table.write_text("here: 1.5\nml.g4dn.xlarge: 0.7364\nml.other: 3\n")
    monkeypatch.setenv("TUNER_PRICES", str(table))
    sweep = load_sweep(write_sweep(prices={"here": 2.0})).sweep
    assert sweep.prices == {"here": 2.0, "ml.g4dn.xlarge": 0.7364}
    assert sweep.sagemaker.price_of("ml.g4dn.xlarge") == 0.7364
    assert sweep.sagemaker.price_of("ml.p3.2xlarge") is None
    own = load_sweep(write_sweep(sagemaker={"usd_per_hour": 0.5})).sweep
    assert own.sagemaker.price_of("ml.g4dn.xlarge") == 0.5


@pytest.mark.parametrize("text", ["- 1", "here: cheap", "here: 0", "here: true"])
def test_a_table_that_is_none_is_said_with_its_line(text, tmp_path, monkeypatch):
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    monkeypatch.setenv("TUNER_PRICES", str(table))
    with pytest.raises(SweepError, match=r"prices\.yaml"):
        user_prices()
    monkeypatch.setenv("TUNER_PRICES", str(tmp_path / "none.yaml"))
    with pytest.raises(SweepError, match="is no file"):
        user_prices()
