"""A toy sweep on the emulator, through the command line or in this process."""

import pytest

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
