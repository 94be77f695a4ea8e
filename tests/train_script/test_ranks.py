"""Several processes of torchrun train what one process would."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
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


def ended(tiny_bert, folder, *words, launcher=(sys.executable,)):
    """How the process ended."""
    command, environment = command_of(tiny_bert, folder, *words, launcher=launcher)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
    )


def train(tiny_bert, folder, *words, launcher=(sys.executable,)):
    """The evaluations and the last line."""
    done = ended(tiny_bert, folder, *words, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("model saved to") == 1
    assert done.stderr.count("training, ") == 1, "the first process alone speaks"
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
        pytest.param({"packing": "off", "gradient_checkpointing": "on"}, marks=pytest.mark.slow),
        pytest.param({"frozen_layers": 1, "pooling": "mean"}, marks=pytest.mark.slow),
    ],
)
def test_two_processes_have_the_gradients_of_one(tiny_bert, tmp_path, options):
    """Before clipping and AdamW, which would hide a wrong scale. Nine examples: five and four."""
    words = json.dumps([str(tiny_bert), options])
    program = Path(__file__).with_name("gradients.py")
    alone, together = tmp_path / "alone.safetensors", tmp_path / "together.safetensors"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for launcher, out in (((), alone), (torchrun, together)):
        done = subprocess.run(
            [sys.executable, *launcher, program, words, out], check=True, timeout=PATIENCE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True,
        )  # fmt: skip
        drawn = [line for line in done.stdout.splitlines() if line.startswith("draws ")]
        assert len(set(drawn)) == (2 if launcher else 1), "each process has dropout of its own"
    one, two = load_file(alone), load_file(together)
    assert one.keys() == two.keys()
    assert max(float(g.abs().max()) for g in one.values()) > 1e-3
    for name, gradient in one.items():
        assert torch.allclose(two[name], gradient, atol=1e-6), name


@pytest.mark.slow
def test_several_processes_go_on_to_the_same_numbers(tiny_bert, tmp_path):
    """Each with the dropout that it would have drawn; killed when the second of four evaluations was said."""
    words = ("--evaluations", "4", "--epochs", "12")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    whole = train(tiny_bert, tmp_path / "whole", *words, launcher=torchrun)
    command, environment = command_of(tiny_bert, tmp_path / "cut", *words, launcher=torchrun)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    [next(process.stdout) for _ in range(2)]
    for each in psutil.Process(process.pid).children(recursive=True):  # in sessions of their own
        each.kill()
    process.kill()
    process.communicate()
    # One of two: the kill may fall between the renames.
    assert list((tmp_path / "cut/checkpoint").glob("state*.safetensors"))
    again = train(tiny_bert, tmp_path / "cut", *words, launcher=torchrun)
    assert [r["step"] for r in again] == [r["step"] for r in whole]
    assert again[-1]["train_seconds"] > 0
    losses = [[(r["train_loss"], r["eval_loss"]) for r in lines] for lines in (whole, again)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_fault_of_all_processes_is_said_once(tiny_bert, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for words, fault in (
        (("--frozen_layers", "9"), "error: frozen_layers 9 is more than the 2 layers"),
        (("--learning_rate", "9.9", "--max_grad_norm", "0", "--epochs", "400", "--dropout", "0",
          "--weight_decay", "9"), "error: the loss is not finite"),
    ):  # fmt: skip
        done = ended(tiny_bert, tmp_path, *words, launcher=torchrun)
        assert done.returncode != 0
        assert done.stderr.count(fault) == 1, done.stderr


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(tiny_bert, tmp_path):
    """Two agents of torchrun that find each other, as on two nodes, with one process each."""
    words = ("--dropout", "0")
    alone = train(tiny_bert, tmp_path / "alone", *words)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    agents = []
    for node in range(2):
        launcher = (
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1",
            f"--node_rank={node}", "--master_addr=127.0.0.1", f"--master_port={port}",
        )  # fmt: skip
        command, environment = command_of(tiny_bert, tmp_path / "both", *words, launcher=launcher)
        agents.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    told = [agent.communicate(timeout=PATIENCE)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0]
    lines = [[json.loads(x) for x in text.splitlines() if x.startswith("{")] for text in told]
    assert lines[1] == []
    assert [r["eval_loss"] for r in lines[0]] == pytest.approx(
        [r["eval_loss"] for r in alone], abs=2e-5
    )


@pytest.mark.slow
def test_batch_smaller_than_the_number_of_processes_is_no_error(tiny_bert, tmp_path):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    lines = train(tiny_bert, tmp_path, "--train_limit", "33", launcher=torchrun)
    assert lines[-1]["final"]


@pytest.mark.slow
def test_several_processes_stop_early_where_one_would(tiny_bert, tmp_path):
    """The first alone evaluates, and all end at its word: with a rate of next to nothing nothing gets better."""
    words = (
        "--learning_rate", "1e-12", "--warmup_ratio", "0", "--evaluations", "6", "--epochs", "3",
        "--early_stopping", "2", "--keep", "best", "--dropout", "0", "--metric", "eval_accuracy",
    )  # fmt: skip
    alone = train(tiny_bert, tmp_path / "alone", *words)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3")
    together = train(tiny_bert, tmp_path / "together", *words, launcher=torchrun)
    assert [lines[-1]["ended_early"] for lines in (alone, together)] == [True, True]
    assert [r["step"] for r in together] == [r["step"] for r in alone]
    assert len(together) == 4, "three evaluations, two of them no better, and the result"
