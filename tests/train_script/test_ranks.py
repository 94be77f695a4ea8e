"""Several processes of torchrun train what one process would."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import PATIENCE
from tests.conftest import ROOT

SCRIPT = ROOT / "train_script/train.py"


def command_of(tiny_bert, folder, *words, launcher=(sys.executable,)):
    """The command and its environment."""
    arguments = [
        "--task", "demo", "--model", tiny_bert, "--train_limit", "50", "--max_length", "40",
        "--batch_size", "16", "--epochs", "2", "--learning_rate", "1e-3", "--evaluations", "2",
        "--model_dir", folder / "model", "--output_data_dir", folder / "output",
        "--checkpoint_dir", folder / "checkpoint", *words,
    ]  # fmt: skip
    command = [*map(str, launcher), str(SCRIPT), *map(str, arguments)]
    return command, os.environ | {"OMP_NUM_THREADS": "1"}


def train(tiny_bert, folder, *words, launcher=(sys.executable,)):
    """The evaluations and the last line."""
    command, environment = command_of(tiny_bert, folder, *words, launcher=launcher)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
    )
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


@pytest.mark.parametrize(
    "options",
    [
        {"rdrop": 1.0, "accumulation": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"accumulation": 3}, marks=pytest.mark.slow),
    ],
)
def test_two_processes_have_the_gradients_of_one(tiny_bert, tmp_path, options):
    """Before clipping and AdamW, which would hide a wrong scale. Nine examples: five and four."""
    words = json.dumps([str(tiny_bert), options])
    program = Path(__file__).with_name("gradients.py")
    alone, together = tmp_path / "alone.safetensors", tmp_path / "together.safetensors"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for launcher, out in (((), alone), (torchrun, together)):
        subprocess.run(
            [sys.executable, *launcher, program, words, out], check=True, timeout=PATIENCE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    one, two = load_file(alone), load_file(together)
    assert one.keys() == two.keys()
    assert max(float(g.abs().max()) for g in one.values()) > 1e-3
    for name, gradient in one.items():
        assert torch.allclose(two[name], gradient, atol=1e-6), name


@pytest.mark.slow
def test_several_processes_go_on_to_the_same_numbers(tiny_bert, tmp_path):
    """Each with the dropout that it would have drawn; killed when the second of four evaluations was said."""
    words = ("--evaluations", "4", "--epochs", "4")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    whole = train(tiny_bert, tmp_path / "whole", *words, launcher=torchrun)
    command, environment = command_of(tiny_bert, tmp_path / "cut", *words, launcher=torchrun)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    [next(process.stdout) for _ in range(2)]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "cut/checkpoint/state.safetensors").is_file()
    again = train(tiny_bert, tmp_path / "cut", *words, launcher=torchrun)
    assert [r["step"] for r in again] == [r["step"] for r in whole]
    assert again[-1]["train_seconds"] > 0
    losses = [[(r["train_loss"], r["eval_loss"]) for r in lines] for lines in (whole, again)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_batch_smaller_than_the_number_of_processes_is_no_error(tiny_bert, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    lines = train(tiny_bert, tmp_path, "--train_limit", "33", launcher=torchrun)
    assert lines[-1]["final"]
