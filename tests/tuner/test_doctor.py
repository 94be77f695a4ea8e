"""`tuner doctor`: one sentence for each thing that is wrong, and no change."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from tests import PATIENCE
from tests.tuner.test_misfortunes import start, until
from tuner.ledger import Ledger


@pytest.fixture
def done(write_sweep, tmp_path, tuner):
    """A finished run of a script of one's own, which may be changed."""
    script = tmp_path / "mine.py"
    script.write_text(
        'import json, sys\nprint(json.dumps({"score": float(sys.argv[sys.argv.index("--rate") + 1])}))\n'
    )
    path = write_sweep(
        script=str(script), space={"rate": {"float": [0.1, 1.0], "default": 0.5}},
        budget={"trials": 2, "parallel": 1},
    )  # fmt: skip
    ran = tuner("run", path, "--out", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    return tmp_path / "run"


@pytest.fixture
def doctor(tuner):
    """What `tuner doctor` says of a run folder, which is afterwards as it was."""

    def examine(run):
        before = contents(run)
        said = tuner("doctor", run)
        assert contents(run) == before
        return said

    return examine


def contents(folder):
    return {
        path: (
            path.stat().st_mode,
            path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in folder.rglob("*")
    }


def test_nothing_is_wrong_with_a_finished_run(done, doctor):
    said = doctor(done)
    assert said.returncode == 0, said.stdout
    assert "holds 2 trials (2 complete)" in said.stdout
    assert "the script is what the trials ran" in said.stdout
    assert "fault" not in said.stdout


def test_a_changed_script_and_a_stray_folder_are_told(done, doctor, tmp_path):
    (tmp_path / "mine.py").write_text("print(1)\n")
    (done / "trials/0099").mkdir()
    os.chmod(done / "trials", 0o755)
    said = doctor(done)
    assert said.returncode == 1
    assert "mine.py (or a file of its package) has changed since the first trial" in said.stdout
    assert "0099 belongs to no trial of the ledger" in said.stdout
    assert "others on this machine can read" in said.stdout


def test_a_damaged_ledger_is_told(done, doctor):
    path = done / "study.db"
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[4096 * page : 4096 * page + 64] = os.urandom(64)
    path.write_bytes(data)
    said = doctor(done)
    assert said.returncode == 1
    assert "is damaged" in said.stdout
    assert "Traceback" not in said.stdout + said.stderr
    path.unlink()
    said = doctor(done)
    assert said.returncode == 1
    assert "there is no ledger at" in said.stdout


def test_a_ledger_that_is_being_written_to_is_not_called_damaged(done, tuner):
    writer = sqlite3.connect(done / "study.db", isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE studies SET study_name = study_name")
    said = tuner("doctor", done)
    assert "is being written to" in said.stdout
    assert "damaged" not in said.stdout
    writer.execute("ROLLBACK")
    writer.close()
    assert tuner("doctor", done).returncode == 0


def test_a_killed_sweep_is_told_with_what_would_go_on(write_sweep, tmp_path, tuner, doctor):
    fixed = {"sleep": 6.0, "checkpoint": True}
    path = write_sweep(fixed=fixed, budget={"trials": 2, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "25%")
    said = tuner("doctor", tmp_path / "run")
    assert f"process {process.pid} is at work" in said.stdout
    assert f"trial 0 runs under process {process.pid}" in said.stdout
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    (trial,) = Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    said = doctor(tmp_path / "run")
    assert "trial 0 was cut off (its checkpoint); `tuner run` with the sweep resumes" in said.stdout
    assert trial.state == TrialState.RUNNING


def test_a_trial_that_runs_without_its_tuner_is_told_and_let_be(done, doctor):
    place = done / "trials/0001/checkpoint"
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=os.environ | {"CHECKPOINT_DIR": str(place)},
    )
    try:
        said = doctor(done)
        assert stray.poll() is None
        assert said.returncode == 1
        assert f"process {stray.pid} of trial 1 runs without a tuner" in said.stdout
    finally:
        stray.kill()
        stray.wait()


def test_what_is_no_run_folder_is_said(tmp_path, tuner):
    said = tuner("doctor", tmp_path)
    assert said.returncode == 2
    assert "there is no run at" in said.stderr
