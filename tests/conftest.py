"""Fixtures: the toy script's sweep, a two-layer BERT that really trains, the command line."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from tests import PATIENCE
from tests.browser import browser, opened  # noqa: F401 (fixtures for all tests)
from tests.postgres import postgres  # noqa: F401

settings.register_profile("here", deadline=None)  # an example may have to wait for the machine
settings.load_profile("here")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a network
# Tests run beside each other; threads that wait for each other would take most of the time.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "toy.py"
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    """Each test works in its own folder and with a plain environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("SM_") or name == "CHECKPOINT_DIR":
            monkeypatch.delenv(name)


@pytest.fixture
def write_sweep(tmp_path) -> Callable[..., Path]:
    """Writes a sweep file of the toy script; keyword arguments replace whole blocks."""

    def write(**blocks: object) -> Path:
        sweep = {
            "name": "toy",
            "script": str(TOY),
            "objective": {"metric": "score", "direction": "maximize"},
            "space": {
                "rate": {"float": [1e-5, 1e-1], "scale": "log", "default": 1e-4},
                "depth": {"int": [1, 4], "default": 2},
            },
            "confirm": {"top": 0},
            "budget": {"trials": 6, "parallel": 2},
        } | blocks
        path = tmp_path / "sweep.yaml"
        path.write_text(
            yaml.safe_dump({k: v for k, v in sweep.items() if v is not None}, sort_keys=False)
        )
        return path

    return write


@pytest.fixture(scope="session")
def _emulator():
    from tests.emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator, monkeypatch):
    """SageMaker, S3, STS and CloudWatch Logs on this machine; AWS's variables lead there."""
    _emulator.reset()
    for name in list(os.environ):
        if name.startswith(("AWS_", "SAGEMAKER_")):
            monkeypatch.delenv(name)
    for name, value in _emulator.environment().items():
        monkeypatch.setenv(name, value)
    yield _emulator
    _emulator.service.end()


@pytest.fixture
def tuner(monkeypatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as the console script does, but in this process: to import all of it anew
    takes longer than most of these tests.
    """
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        from tuner.cli import main

        said, complained, status = io.StringIO(), io.StringIO(), 0
        arguments = ["tuner", *map(str, words)]
        monkeypatch.setattr(sys, "argv", arguments)
        with redirect_stdout(said), redirect_stderr(complained):
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return subprocess.CompletedProcess(
            arguments, status, said.getvalue(), complained.getvalue()
        )

    return run


@pytest.fixture
def tuner_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own; keyword arguments are those of `subprocess.run`."""

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tuner.cli", *map(str, words)],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}, **options,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A randomly initialised two-layer BERT with a real WordPiece tokenizer, as a folder."""
    from tests.tiny_bert import make_tiny_bert

    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def mrpc_folder() -> Path:
    """The real MRPC, where this machine has it."""
    folder = SHARED_DATA / "mrpc"
    if not folder.is_dir():
        # Its licence keeps it out of the repository; its formats are tested on made-up files too.
        pytest.skip(f"the real MRPC is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def cola_folder() -> Path:
    """The real CoLA, where this machine has it."""
    folder = SHARED_DATA / "cola"
    if not folder.is_dir():
        # Its licence keeps it out of the repository; its formats are tested on made-up files too.
        pytest.skip(f"the real CoLA is not at {folder}")
    return folder
