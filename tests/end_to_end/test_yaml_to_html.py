"""From a sweep file to an HTML report with a BERT that really trains, and what others make of it."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import optuna
import pytest

from tests import PATIENCE
from tests.conftest import ROOT

SWEEP = """\
name: tiny
task: {{name: demo, limit: 64}}
model: {model}
objective: {{metric: eval_accuracy}}
space:
  learning_rate: {{float: [1e-4, 1e-2], scale: log}}
  warmup_ratio: {{float: [0, 0.3]}}
  batch_size: {{choice: [16, 32]}}
  epochs: {{int: [1, 3]}}
fixed: {{max_length: 40}}
confirm: {{top: 1, seeds: 1}}
budget: {{trials: 4, parallel: 2}}
"""


def lines(path):
    """The lines of a JSONL file."""
    return path.read_text().split("\n")[:-1]


@pytest.fixture(scope="module")
def swept(tiny_bert, tmp_path_factory):
    """A folder in which a sweep of a two-layer BERT has run."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "tiny.yaml").write_text(SWEEP.format(model=tiny_bert))
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", "run", "tiny.yaml"], cwd=folder, capture_output=True,
        text=True, timeout=PATIENCE, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_sweep_of_a_real_bert_ends_in_a_report(swept):
    result = json.loads((swept / "runs/tiny/report.json").read_text())
    trials = result["sections"]["trials"]["trials"]
    finished = [t for t in trials if t["status"] in ("finished", "pruned")]
    assert len(finished) == len(trials) >= 5
    assert result["sections"]["winner"]["winner"]["confirmed"]
    html = (swept / "runs/tiny/report.html").read_text()
    assert "The winner" in html
    assert html.count('class="plot"') >= 4


def test_all_trials_share_one_validation_split(swept):
    facts = json.loads((swept / "runs/tiny/report.json").read_text())["sections"]["provenance"][
        "data"
    ]
    assert facts["training_examples"] == 64
    outputs = list((swept / "runs/tiny/trials").glob("*/output/predictions.jsonl"))
    texts = {tuple(json.loads(line)["sentence1"] for line in lines(p)) for p in outputs}
    assert len(outputs) >= 5
    assert len(texts) == 1


def test_winner_loads_with_plain_transformers_and_gives_the_reported_score(swept):
    """On the validation file of the run folder, read with nothing of ours."""
    import torch
    from transformers import pipeline

    result = json.loads((swept / "runs/tiny/report.json").read_text())
    winner = result["sections"]["winner"]["winner"]
    model = swept / "runs/tiny/trials" / f"{winner['number']:04d}" / "model"
    classify = pipeline("text-classification", model=str(model), device=torch.device("cpu"))
    rows = [json.loads(line) for line in lines(swept / "runs/tiny/data/validation.jsonl")]
    guesses = classify([{"text": r["sentence1"], "text_pair": r["sentence2"]} for r in rows])
    right = sum(g["label"] == r["label"] for g, r in zip(guesses, rows, strict=True))
    assert right / len(rows) == pytest.approx(winner["score"])


def test_models_that_cannot_win_are_not_kept(swept):
    result = json.loads((swept / "runs/tiny/report.json").read_text())["sections"]["winner"]
    candidates = {item["trial"] for item in result["confirmed"]} | {result["winner"]["number"]}
    kept = (swept / "runs/tiny/trials").glob("*/model/model.safetensors")
    assert {int(model.parent.parent.name) for model in kept} <= candidates
    assert len(candidates) <= 2
    assert not list((swept / "runs/tiny/trials").glob("*/checkpoint"))


def test_command_of_best_gives_the_winners_score_by_hand(swept, tuner_process):
    shown = tuner_process("best", "tiny", cwd=swept).stdout.splitlines()
    command = next(line for line in shown if "train.py" in line)
    winner = json.loads((swept / "runs/tiny/report.json").read_text())["sections"]["winner"][
        "winner"
    ]
    again = subprocess.run(
        command, shell=True, cwd=swept, capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SM_NUM_GPUS": "0"},
    )  # fmt: skip
    result = json.loads(again.stdout.splitlines()[-1])
    assert result["eval_accuracy"] == pytest.approx(winner["score"])


def test_ledger_is_an_optuna_study_that_anyone_can_load(swept):
    study = optuna.load_study(storage=f"sqlite:///{swept}/runs/tiny/study.db", study_name=None)
    assert study.study_name == "tiny"
    assert set(study.best_params) == {"learning_rate", "warmup_ratio", "batch_size", "epochs"}


def test_ledger_opens_in_optuna_dashboard(swept):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dashboard = subprocess.Popen(
        [str(Path(sys.executable).parent / "optuna-dashboard"), f"sqlite:///{swept}/runs/tiny/study.db",
         "--port", str(port), "--host", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = httpx.get(f"http://127.0.0.1:{port}/api/studies", timeout=5).json()
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        study = found["study_summaries"][0]
        assert study["study_name"] == "tiny"
        detail = httpx.get(
            f"http://127.0.0.1:{port}/api/studies/{study['study_id']}", timeout=PATIENCE
        ).json()
        assert len(detail["trials"]) >= 5
    finally:
        dashboard.terminate()
        dashboard.wait(timeout=PATIENCE)
