"""Trials that were made elsewhere, and trials that go out and come back."""

import json
import math
import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from reports import read_table as read_trials
from tuner.exchange.amt import distributions_of, typed
from tuner.ledger import Ledger


def facts(trial):
    """All that makes a trial, but its number in the database."""
    return (
        trial.number, trial.state, trial.value, trial.params, trial.distributions,
        trial.intermediate_values, trial.user_attrs, trial.datetime_start, trial.datetime_complete,
    )  # fmt: skip


@pytest.fixture
def toy_run(tuner, write_sweep):
    """A finished toy sweep in runs/toy, with a failed and a pruned trial in it."""
    path = write_sweep(
        space={"rate": {"choice": [0.001, 0.01, 0.1]}, "mode": {"choice": ["well", "fails"]}},
        fixed={"depth": 1}, search={"sampler": "grid"}, confirm={"top": 1, "seeds": 1},
    )  # fmt: skip
    done = tuner("run", path)
    assert done.returncode == 0, done.stderr
    return Ledger.load("sqlite:///runs/toy/study.db")


def test_export_and_import_give_the_same_trials(toy_run, tuner):
    done = tuner("export", "toy", "trials.csv")
    assert done.stdout == "7 trials: trials.csv\n"
    done = tuner("import", "csv", "trials.csv", "--out", "back")
    assert done.returncode == 0, done.stderr
    assert "7 trials of trials.csv added to back" in done.stdout
    back = Ledger.load("sqlite:///back/study.db")
    assert list(map(facts, back.read_trials())) == list(map(facts, toy_run.read_trials()))
    assert back.maximize == toy_run.maximize
    assert "winner: trial" in done.stdout
    assert json.loads(Path("back/report.json").read_text())["sections"]["trials"]["trials"]
    again = tuner("import", "csv", "trials.csv", "--out", "back")
    assert again.returncode == 2
    assert "holds all of this import already" in again.stderr


def test_anybodys_study_is_brought_in(tuner, tmp_path):
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/theirs.db", study_name="their study/1", direction="minimize"
    )
    study.set_user_attr("note", "hello")
    study.set_user_attr("worker:here-1-abc", {"pid": os.getpid(), "beat": 1})
    study.set_user_attr("stop_asked", True)
    study.optimize(
        lambda t: (
            (t.suggest_float("lr", 1e-5, 1e-1, log=True) - 0.01) ** 2
            + (0.1 if t.suggest_categorical("kind", ["a", None, 3]) == "a" else 0.0)
        ),
        n_trials=8,
    )
    study.ask()  # one that still runs
    done = tuner("import", "optuna", f"sqlite:///{tmp_path}/theirs.db", "--out", "mine")
    assert done.returncode == 0, done.stderr
    mine = Ledger.load("sqlite:///mine/study.db")
    assert [facts(t) for t in mine.read_trials()] == [facts(t) for t in study.trials[:8]]
    assert mine.study.user_attrs["note"] == "hello"
    told = {*mine.study.user_attrs}
    assert not told & {"worker:here-1-abc", "stop_asked"}, "tuner stop would end the other's sweep"
    assert not mine.maximize
    missing = tuner("import", "optuna", "sqlite:///nowhere.db")
    assert missing.returncode == 2
    assert "there is no ledger at nowhere.db" in missing.stderr


def test_table_of_somebodys_results_is_brought_in(tuner, tmp_path):
    (tmp_path / "results.csv").write_text(
        "lr,layers,kind,f1,note\n1e-4,6,a,0.8,x\n1e-3,12,b,0.9,y\n1e-5,6,,,z\n"
    )
    done = tuner(
        "import", "csv", "results.csv", "--objective", "f1", "--direction", "maximize",
        "--param", "lr", "--param", "layers", "--param", "kind", "--log", "lr",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = Ledger.load("sqlite:///runs/results/study.db").read_trials()
    assert [t.params for t in trials] == [
        {"lr": 1e-4, "layers": 6, "kind": "a"}, {"lr": 1e-3, "layers": 12, "kind": "b"},
        {"lr": 1e-5, "layers": 6},
    ]  # fmt: skip
    assert [t.value for t in trials] == [0.8, 0.9, None]
    assert trials[2].state == TrialState.FAIL
    assert trials[0].distributions["lr"] == optuna.distributions.FloatDistribution(
        1e-5, 1e-3, log=True
    )


@pytest.mark.parametrize(
    ("content", "words", "sentence"),
    [
        ("a,f1\n1,0.5\n", [], "name the column of the score with --objective (it has a, f1)"),
        ("a,f1\n1,0.5\n", ["--objective", "f1"], "--direction must be maximize or minimize"),
        ("a,f1\n1,0.5\n", ["--objective", "acc"], "has no column 'acc'; it has a, f1"),
        ("a,f1\n1\n", ["--objective", "f1"], "t.csv:2 has 1 fields, the header 2"),
        ("a,f1\n1,good\n", ["--objective", "f1"], "t.csv:2 f1 'good' is not a number"),
        ("a,a\n1,2\n", ["--objective", "a"], "names a column twice"),
        ("a,f1\n", ["--objective", "f1"], "has no rows"),
        ("a,f1\n0,0.5\n", ["--objective", "f1", "--log", "a"], "its least value is 0"),
        ("a,f1\nb,0.5\n", ["--objective", "f1", "--log", "a"], "its cells are no numbers"),
        (
            "number,state,objective,metric,direction,started,ended,distributions,curve,attributes\n"
            "0,DONE,1,m,maximize,,,{},{},{}\n",
            [], "t.csv:2 is not as `tuner export` wrote it",
        ),
    ],
)  # fmt: skip
def test_bad_table_is_one_sentence(tuner, tmp_path, content, words, sentence):
    (tmp_path / "t.csv").write_text(content)
    said = tuner("import", "csv", "t.csv", *words)
    assert said.returncode == 2
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr


def test_an_import_that_was_cut_short_says_so(tuner, tmp_path, monkeypatch):
    rows = "\n".join(f"{i},{i / 10}" for i in range(1, 5))
    (tmp_path / "t.csv").write_text(f"a,f1\n{rows}\n")
    words = ("import", "csv", "t.csv", "--objective", "f1", "--direction", "maximize")
    added = optuna.Study.add_trial

    def add(study, trial):
        if trial.params["a"] == 3:
            raise KeyboardInterrupt
        added(study, trial)

    with monkeypatch.context() as interrupting:
        interrupting.setattr(optuna.Study, "add_trial", add)
        assert tuner(*words).returncode == 130
    assert "holds a part of this import" in tuner(*words).stderr
    assert tuner(*words, "--out", "whole").returncode == 0
    assert "holds all of this import" in tuner(*words, "--out", "whole").stderr


@pytest.mark.slow
def test_what_was_imported_has_a_winner_but_no_command(tuner, tmp_path):
    rows = "\n".join(f"{i},{i / 10}" for i in range(1, 5))
    (tmp_path / "t.csv").write_text(f"a,f1\n{rows}\n")
    words = ("--objective", "f1", "--direction", "maximize")
    assert tuner("import", "csv", "t.csv", *words).returncode == 0
    said = tuner("best", "t")
    assert said.returncode == 0, said.stderr
    assert "does not say how to train it again" in said.stdout
    fetched = tuner("best", "t", "--fetch", "t.csv")
    assert fetched.returncode == 2
    assert "t.csv is no empty folder" in fetched.stderr


def test_study_with_two_objectives_is_refused(tuner, tmp_path):
    optuna.create_study(
        storage=f"sqlite:///{tmp_path}/two.db", study_name="two", directions=["maximize"] * 2
    )
    said = tuner("import", "optuna", f"sqlite:///{tmp_path}/two.db")
    assert said.returncode == 2
    assert "has 2 objectives" in said.stderr


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["8", "16"], [8, 16]),
        (["0.1", "1"], [0.1, 1.0]),
        (["true", "false"], [True, False]),
        (["adam", "16"], ["adam", "16"]),
        (['"16"', '"32"'], [16, 32]),
        (["nan", "1"], ["nan", "1"]),
    ],
)
def test_choices_of_a_tuning_job_get_one_type(texts, values):
    found = typed(texts)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


def test_ranges_of_a_tuning_job_become_distributions():
    found = distributions_of(
        {
            "ContinuousParameterRanges": [
                {
                    "Name": "lr",
                    "MinValue": "1.0E-5",
                    "MaxValue": "0.1",
                    "ScalingType": "Logarithmic",
                },
                {"Name": "drop", "MinValue": "0", "MaxValue": "0.5", "ScalingType": "Auto"},
            ],
            "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "2", "MaxValue": "5"}],
            "CategoricalParameterRanges": [{"Name": "batch", "Values": ["8", "16"]}],
        }
    )
    assert found["lr"] == optuna.distributions.FloatDistribution(1e-5, 0.1, log=True)
    assert found["drop"] == optuna.distributions.FloatDistribution(0.0, 0.5)
    assert found["epochs"] == optuna.distributions.IntDistribution(2, 5)
    assert found["batch"] == optuna.distributions.CategoricalDistribution([8, 16])
    assert math.isclose(found["lr"].low, 1e-5)


def test_rows_may_be_sorted_and_taken_out_and_confirmations_stay_with_their_trials(toy_run, tuner):
    tuner("export", "toy", "trials.csv")
    header, *rows = Path("trials.csv").read_text().splitlines()
    failed = next(t.number for t in toy_run.read_trials() if t.state.name == "FAIL")
    kept = [row for row in rows if not row.startswith(f"{failed},")]
    Path("trials.csv").write_text("\n".join([header, *reversed(kept)]) + "\n")
    assert tuner("import", "csv", "trials.csv", "--out", "back").returncode == 0
    back = Ledger.load("sqlite:///back/study.db").read_trials()
    assert len(back) == len(rows) - 1
    fresh = [t for t in back if t.user_attrs["purpose"] == "confirm"]
    assert fresh
    for trial in fresh:
        assert back[trial.user_attrs["confirms"]].params == trial.params
    confirmed = next(t.user_attrs["confirms"] for t in toy_run.read_trials("confirm"))
    without = [row for row in rows if not row.startswith(f"{confirmed},")]
    Path("less.csv").write_text("\n".join([header, *without]) + "\n")
    refused = tuner("import", "csv", "less.csv", "--out", "less")
    assert f"is a run of trial {confirmed} again, and that one has no row" in refused.stderr


def test_steps_of_somebodys_study_are_no_shares_of_a_schedule(tuner, tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/theirs.db", study_name="theirs")

    def objective(trial):
        for epoch in range(1, 4):
            trial.report(trial.suggest_float("x", 0, 1), epoch)
        return 1.0

    study.optimize(objective, n_trials=3)
    tuner("import", "optuna", f"sqlite:///{tmp_path}/theirs.db", "--out", "mine")
    assert not read_trials(Ledger.load("sqlite:///mine/study.db").study).steps_are_percent


def test_steps_of_our_own_table_are(toy_run, tuner):
    tuner("export", "toy", "trials.csv")
    assert tuner("report", "--csv", "trials.csv", "--out", "again").returncode == 0
    curves = json.loads(Path("again/report.json").read_text())["sections"]["curves"]
    assert curves == json.loads(Path("runs/toy/report.json").read_text())["sections"]["curves"]
