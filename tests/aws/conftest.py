"""A toy sweep on the emulator, through the command line or in this process."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tuner.backends.sagemaker import SageMakerBackend
from tuner.ledger import Ledger
from tuner.progress import PlainView
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep

ON_AWS = {"image": "an-image", "poll_seconds": 0.2}


@pytest.fixture
def aws_sweep(write_sweep):
    """A toy sweep file for SageMaker; its block can be extended."""

    def write(sagemaker=None, **blocks):
        return write_sweep(backend="sagemaker", sagemaker=ON_AWS | (sagemaker or {}), **blocks)

    return write


@pytest.fixture
def run_on_aws(aws_sweep, emulator, tmp_path):
    """Runs it in this process; its outcome and its ledger."""

    def run(settings=(), sagemaker=None, **blocks):
        loaded = load_sweep(aws_sweep(sagemaker, **blocks), settings)
        assert SageMakerBackend(loaded).problems() == []
        folder = RunFolder(tmp_path / "run")
        folder.claim(loaded)
        ledger = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
        ledger.set("sweep", {"backend": "sagemaker"})
        outcome = SageMakerBackend(loaded).run(ledger, folder, PlainView())
        return outcome, ledger

    return run


@pytest.fixture
def started():
    """Starts `tuner run` in a process of its own, which ends with the test."""
    running = []

    def start(path, out):
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner.cli", "run", str(path), "--out", str(out)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(process, word):
    """Reads the process's lines up to the one with the word."""
    lines = []
    while word not in (line := process.stdout.readline()):
        assert line, "".join(lines)
        lines.append(line)


def jobs_once(ledger, emulator):
    """The training jobs of the ledger, after a look that each is there just once."""
    names = [t.user_attrs["training_job"] for t in ledger.read_trials()]
    assert len(names) == len(set(names))
    assert set(names) == set(emulator.service.training)
    assert all(t.state.is_finished() for t in ledger.read_trials())
    return names
