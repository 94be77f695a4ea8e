"""The benchmarks that a machine like this one can only refuse."""

import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT


def test_without_a_gpu_the_gpu_is_not_measured():
    if torch.cuda.is_available():
        # There it would measure, for an hour; what is tested is what it says without one.
        pytest.skip("this machine has a GPU")
    command = [sys.executable, str(ROOT / "bench/gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "There is no GPU here, so nothing was measured.\n"
