"""The demo sweep on SageMaker, from the command line to the report: nothing of ours is stood in for.

The endpoint is the emulator's; boto3, S3's uploads, AWS's training toolkits and the training are real.
"""

import json
import os
import subprocess
import sys

import pytest

from reports.wording import dollars
from tests import PATIENCE
from tests.browser import through
from tests.conftest import ROOT
from tests.emulator import Emulator
from tuner.ledger import Ledger

SETTINGS = (
    "task.limit=64",
    "fixed.max_length=40",
    "confirm.seeds=1",
    "sagemaker.poll_seconds=0.5",
    "sagemaker.usd_per_hour=3.6",
)


def words(model, *more):
    """The settings as words of a command line."""
    return [w for s in (f"model={model}", *SETTINGS, *more) for w in ("--set", s)]


def run(folder, *command, **environment):
    """A command in the folder, with one thread, so that sums are added in one order."""
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def on_aws(tiny_bert, tmp_path_factory):
    """A folder in which the demo sweep has run on the emulator, and the emulator."""
    folder = tmp_path_factory.mktemp("on-aws")
    with Emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        done = run(
            folder, "-m", "tuner.cli", "run", ROOT / "sweeps/demo.yaml", "--backend", "sagemaker",
            *words(tiny_bert, "budget.trials=3"),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder, emulator


@pytest.fixture
def ledger(on_aws):
    folder, _ = on_aws
    return Ledger.load(f"sqlite:///{folder}/runs/demo/study.db")


def test_sweep_trains_in_real_training_jobs_two_at_a_time(on_aws, ledger):
    _, emulator = on_aws
    (tuning_job,) = emulator.service.tuning.values()
    assert len(tuning_job.jobs) == 2
    assert len(emulator.service.training) == 5  # the default, and two confirmations
    moments = [(j.created, 1) for j in tuning_job.jobs] + [(j.ended, -1) for j in tuning_job.jobs]
    running = peak = 0
    for _, change in sorted(moments):
        running += change
        peak = max(peak, running)
    assert peak == 2
    said = "\n".join(tuning_job.jobs[0].container.lines)
    assert "sagemaker_pytorch_container.training" in said
    assert "Installing dependencies from requirements.txt" in said
    assert (
        "pytorch-training:2.10"
        in tuning_job.request["TrainingJobDefinition"]["AlgorithmSpecification"]["TrainingImage"]
    )


def test_report_tells_of_the_trials_of_aws(on_aws, ledger):
    folder, _ = on_aws
    result = json.loads((folder / "runs/demo/report.json").read_text())
    trials = result["sections"]["trials"]["trials"]
    assert len(trials) == len(ledger.read_trials()) == 5
    assert result["sections"]["winner"]["winner"]["confirmed"]
    assert all(len(t["curve"]) >= 1 for t in trials)
    aws = result["sections"]["provenance"]["aws"]
    assert aws["training_jobs"] == aws["priced"] == 5
    billed = sum(t.user_attrs["billable_seconds"] for t in ledger.read_trials())
    assert aws["billable_seconds"] == billed
    assert aws["cost_usd"] == pytest.approx(billed / 1000, abs=1e-5)
    assert f"{dollars(aws['cost_usd'])} for" in (folder / "runs/demo/report.html").read_text()
    assert (folder / "runs/demo/report.html").read_text().count('class="plot"') >= 4


def test_winners_model_is_fetched_from_s3_and_predicts(on_aws, monkeypatch):
    from transformers import pipeline

    folder, emulator = on_aws
    done = run(folder, "-m", "tuner.cli", "best", "runs/demo", "--fetch", "winner",
               **emulator.environment())  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "model.tar.gz" in done.stdout
    classify = pipeline("text-classification", model=str(folder / "winner"))
    (said,) = classify([{"text": "The doctor was helped.", "text_pair": "He helped the doctor."}])
    assert said["label"] in ("paraphrase", "not a paraphrase")


def test_same_configuration_gives_the_same_numbers_by_hand_under_optuna_and_in_the_container(
    on_aws, ledger, tiny_bert
):
    folder, _ = on_aws
    default = next(t for t in ledger.read_trials() if t.user_attrs["chosen_by"] == "default")
    in_container = default.user_attrs["evaluations"]
    arguments = default.user_attrs["arguments"]

    by_hand = run(
        folder, ROOT / "train_script/train.py", *arguments, "--data", folder / "runs/demo/data",
        "--model_dir", "by-hand/model", "--output_data_dir", "by-hand/output",
        "--checkpoint_dir", "by-hand/checkpoint",
    )  # fmt: skip
    assert by_hand.returncode == 0, by_hand.stderr
    printed = [json.loads(line) for line in by_hand.stdout.splitlines()]

    under_optuna = run(
        folder, "-m", "tuner.cli", "run", ROOT / "sweeps/demo.yaml", "--out", "runs/local",
        *words(tiny_bert, "budget.trials=1", "confirm.top=0"),
    )  # fmt: skip
    assert under_optuna.returncode == 0, under_optuna.stderr
    (local,) = Ledger.load(f"sqlite:///{folder}/runs/local/study.db").read_trials()

    assert local.user_attrs["arguments"] == arguments
    assert in_container == printed[:-1] == local.user_attrs["evaluations"]
    assert default.value == local.value == printed[-1]["eval_accuracy"]


def test_job_is_imported_with_the_same_trials(on_aws, ledger):
    folder, emulator = on_aws
    (name,) = emulator.service.tuning
    done = run(folder, "-m", "tuner.cli", "import", "amt", name, **emulator.environment())
    assert done.returncode == 0, done.stderr
    there = Ledger.load(f"sqlite:///{folder}/runs/{name}/study.db").read_trials()
    ours = [t for t in ledger.read_trials() if t.user_attrs.get("tuning_job") == name]

    def facts(trial):
        return (
            trial.user_attrs["training_job"],
            trial.params,
            trial.value,
            trial.intermediate_values,
        )

    assert sorted(map(facts, there), key=lambda f: f[0]) == sorted(
        map(facts, ours), key=lambda f: f[0]
    )
    assert {d for t in there for d in map(str, t.distributions.values())} == {
        d for t in ours for d in map(str, t.distributions.values())
    }


def test_job_is_reported_on_without_a_run(on_aws, ledger, opened):
    folder, emulator = on_aws
    (name,) = emulator.service.tuning
    done = run(
        folder, "-m", "tuner.cli", "report", "--amt-job", name, "--out", "theirs",
        **emulator.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = json.loads((folder / "theirs/report.json").read_text())["sections"]["trials"]["trials"]
    ours = [t for t in ledger.read_trials() if t.user_attrs.get("tuning_job") == name]
    assert sorted(t["training_job"] for t in trials) == sorted(
        t.user_attrs["training_job"] for t in ours
    )
    page = opened(folder / "theirs/report.html")
    through(page)
    assert page.troubles == []
    assert page.locator("#all-trials tbody tr:not(.detail)").count() == len(ours)


@pytest.mark.slow
def test_several_processes_train_one_trial_by_torchrun(on_aws, tiny_bert):
    folder, emulator = on_aws
    done = run(
        folder, "-m", "tuner.cli", "run", ROOT / "sweeps/demo.yaml", "--backend", "sagemaker",
        "--out", "runs/distributed",
        *words(tiny_bert, "budget.trials=1", "confirm.top=0", "search.start_with_default=false",
               "sagemaker.distributed=true", "sagemaker.instance_type=ml.g4dn.12xlarge"),
        **emulator.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    job = list(emulator.service.training.values())[-1]
    said = "\n".join(job.container.lines)
    assert "torchrun --nnodes 1 --nproc_per_node 2 train_script/train.py" in said
    assert "2 processes" in said
    (trial,) = Ledger.load(f"sqlite:///{folder}/runs/distributed/study.db").read_trials()
    assert len(trial.user_attrs["evaluations"]) == 3  # one process speaks
