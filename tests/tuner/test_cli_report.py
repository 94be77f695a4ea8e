"""`tuner report` from the command line: of runs, of tables, while a sweep runs, and its check."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from tests import PATIENCE
from tests.conftest import ROOT
from tests.tuner.test_cli import error

TABLE = "learning_rate,epochs,f1\n1e-5,2,0.6\n3e-5,3,0.7\n1e-4,2,0.8\n3e-4,3,\n"


@pytest.fixture
def two_objectives(tmp_path):
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/two.db",
        directions=["maximize", "minimize"],
        study_name="two",
    )
    space = {"a": FloatDistribution(0.0, 1.0)}
    study.add_trials(
        [create_trial(values=[0.1 * i, 9.0 - i], params={"a": 0.1 * i}, distributions=space)
         for i in range(5)]
    )  # fmt: skip
    return f"sqlite:///{tmp_path}/two.db"


def test_a_table_of_results_becomes_a_report_and_no_run(tuner, tmp_path):
    (tmp_path / "results.csv").write_text(TABLE)
    words = ("report", "--csv", "results.csv", "--out", "mine", "--log", "learning_rate")
    assert "name the column of the score with --objective" in error(tuner(*words))
    assert "--direction must be maximize or minimize" in error(tuner(*words, "--objective", "f1"))
    done = tuner(*words, "--objective", "f1", "--direction", "maximize")
    assert done.stdout == "report: mine/report.html\n"
    report = json.loads(Path("mine/report.json").read_text())
    assert [t["objective"] for t in report["sections"]["trials"]["trials"]] == [0.6, 0.7, 0.8, None]
    again = tuner(
        *words, "--objective", "f1", "--direction", "maximize", "--check", "mine/report.json"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert report["metric"] == "f1"
    assert not Path("runs").exists()


@pytest.mark.slow
def test_the_check_holds_a_report_against_its_ledger(tuner, write_sweep):
    assert tuner("run", write_sweep()).returncode == 0
    done = tuner("report", "--check", "runs/toy/report.json")
    assert done.returncode == 0, done.stderr
    assert "runs/toy/report.json holds: " in done.stdout
    assert "and report.html is the page that they give" in done.stdout
    path = Path("runs/toy/report.json")
    path.write_text(path.read_text().replace('"metric": "score"', '"metric": "points"', 1))
    done = tuner("report", "--check", "runs/toy/report.json")
    assert done.returncode == 1
    assert 'metric: "points" in the report, "score" from the trials' in done.stdout
    assert "does not hold: 1 of" in done.stdout


def test_a_folder_of_runs_gets_an_index(tuner, write_sweep):
    assert tuner("run", write_sweep()).returncode == 0
    assert tuner("report", "runs").stdout == "index: runs/index.html\n"
    assert 'href="toy/report.html"' in Path("runs/index.html").read_text()


def test_one_of_several_objectives_is_chosen_by_its_number(tuner, two_objectives):
    done = tuner("report", "--storage", two_objectives, "--objective", "2", "--out", "second")
    assert done.returncode == 0, done.stderr
    report = json.loads(Path("second/report.json").read_text())
    assert report["direction"] == "minimize"
    assert report["sections"]["winner"]["winner"]["score"] == 5.0
    check = tuner("report", "--storage", two_objectives, "--check", "second/report.json")
    assert check.returncode == 0, check.stdout
    text = error(tuner("report", "--storage", two_objectives, "--objective", "speed"))
    assert "has no objective speed; it has 1, 2" in text


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_running_sweep_is_watched_until_it_ends(write_sweep, tuner, command):
    path = write_sweep(
        fixed={"sleep": 0.4}, budget={"trials": 100, "parallel": 1},
        **({"storage": "sqlite:///shared.db"} if command == "worker" else {}),
    )  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sweep = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", command, str(path)],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "started" not in sweep.stdout.readline():
        pass
    watch = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "report", "toy", "--watch"],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    page = Path("runs/toy/report.html")
    while not page.exists():
        assert watch.poll() is None
        time.sleep(0.1)
    assert "This sweep is still running" in page.read_text()
    assert tuner("stop", "toy").returncode == 0
    sweep.communicate(timeout=PATIENCE)
    out, _ = watch.communicate(timeout=PATIENCE)
    assert "the sweep is over" in out
    assert "This sweep is still running" not in page.read_text()
    assert tuner("report", "--check", "runs/toy/report.json").returncode == 0


@pytest.mark.parametrize(("words", "told"), [
    ((), "name one of: a run, --storage with --study, --amt-job, --csv"),
    (("runs/toy", "--csv", "x.csv"), "name one of"),
    (("--storage", "sqlite:///none.db", "--watch"), "--watch follows a run of this machine"),
    (("--check", "mine/report.json"), "mine/report.json does not exist"),
    (("runs/toy", "--watch", "--check", "x.json"), "name one of them"),
    (("runs/toy", "--log", "rate"), "--log goes with --csv"),
    (("runs/toy", "--objective", "2"), "--objective goes with --csv or --storage"),
    (("--csv", "none.csv", "--objective", "f1"), "none.csv cannot be read"),
    (("nowhere",), "there is no run at nowhere"),
])  # fmt: skip
def test_a_mistake_is_one_sentence(tuner, tmp_path, words, told):
    assert told in error(tuner("report", *words))
