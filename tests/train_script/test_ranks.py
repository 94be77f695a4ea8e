"""Several processes of torchrun train what one process would."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "train_script/train.py"


def train(tiny_bert, folder, *words, launcher=(sys.executable,)):
    """The evaluations and the last line."""
    arguments = [
        "--task", "demo", "--model", tiny_bert, "--train_limit", "50", "--max_length", "40",
        "--batch_size", "16", "--epochs", "2", "--learning_rate", "1e-3", "--evaluations", "2",
        "--model_dir", folder / "model", "--output_data_dir", folder / "output",
        "--checkpoint_dir", folder / "checkpoint", *words,
    ]  # fmt: skip
    done = subprocess.run(
        [*map(str, launcher), str(SCRIPT), *map(str, arguments)], capture_output=True, text=True,
        timeout=200, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("weights", ["none", pytest.param("balanced", marks=pytest.mark.slow)])
def test_two_processes_give_the_numbers_of_one(tiny_bert, tmp_path, weights):
    """Without dropout; 50 examples in batches of 16 leave a last batch of 2, one row for each."""
    words = ("--dropout", "0", "--class_weights", weights)
    alone = train(tiny_bert, tmp_path / "alone", *words)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    together = train(tiny_bert, tmp_path / "together", *words, launcher=torchrun)
    assert len(together) == len(alone) == 3
    for one, two in zip(alone, together, strict=True):
        assert two["step"] == one["step"]
        assert two["eval_loss"] == pytest.approx(one["eval_loss"], abs=2e-5)
        assert two["train_loss"] == pytest.approx(one["train_loss"], abs=2e-5)
    assert (tmp_path / "together/model/model.safetensors").is_file()


@pytest.mark.slow
def test_batch_smaller_than_the_number_of_processes_is_no_error(tiny_bert, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    lines = train(tiny_bert, tmp_path, "--train_limit", "33", launcher=torchrun)
    assert lines[-1]["final"]
