"""The script, really training a two-layer BERT."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests import PATIENCE
from tests.conftest import ROOT
from train_script.fit import Fit
from train_script.optimizer import schedule_factor
from train_script.train import main

PREDICTIONS = Path("outputs/data/predictions.jsonl")
SCRIPT = ROOT / "train_script" / "train.py"


def words(tiny_bert, **options):
    given = {"task": "demo", "model": tiny_bert, "train_limit": 48, "epochs": 2, "max_length": 48,
             "batch_size": 16, "learning_rate": 1e-3, "num_gpus": 0} | options  # fmt: skip
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def train(capsys, tiny_bert, **options):
    status = main(words(tiny_bert, **options))
    out, err = capsys.readouterr()
    assert status == 0, err
    return records(out)


def test_prints_one_line_per_evaluation_and_a_result(tiny_bert, capsys):
    *evaluations, result = train(capsys, tiny_bert, evaluations=3, epochs=3)
    assert [e["fraction"] for e in evaluations] == [pytest.approx(k / 3) for k in (1, 2, 3)]
    assert evaluations[-1]["epoch"] == 3
    assert result["final"] is True
    assert result["objective_evaluation"] == "last"
    assert result["eval_f1"] == evaluations[-1]["eval_f1"] == result["last_eval_f1"]
    assert result["best_eval_f1"] == max(e["eval_f1"] for e in evaluations)


def test_training_loss_falls(tiny_bert, capsys):
    *evaluations, _ = train(capsys, tiny_bert, epochs=18, learning_rate=3e-3, dropout=0)
    assert evaluations[-1]["train_loss"] < 0.8 * evaluations[0]["train_loss"]


def test_saved_model_loads_with_plain_transformers_and_predicts_the_same(tiny_bert, capsys):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    train(capsys, tiny_bert)
    model = AutoModelForSequenceClassification.from_pretrained("outputs/model").eval()
    tokenizer = AutoTokenizer.from_pretrained("outputs/model")
    rows = records(PREDICTIONS.read_text())
    with torch.inference_mode():
        logits = model(**tokenizer([r["sentence1"] for r in rows], [r["sentence2"] for r in rows],
                                   padding=True, return_tensors="pt")).logits  # fmt: skip
    names = [model.config.id2label[i] for i in logits.argmax(1).tolist()]
    assert names == [r["predicted"] for r in rows]


def test_same_seed_gives_the_same_numbers_and_another_seed_others(tiny_bert, capsys):
    first, again, other = (train(capsys, tiny_bert, seed=s)[0] for s in (0, 0, 1))
    assert first == again
    assert first["eval_loss"] != other["eval_loss"]


def test_best_evaluation_is_kept_where_that_is_asked_for(tiny_bert, capsys):
    *evaluations, result = train(
        capsys,
        tiny_bert,
        keep="best",
        metric="eval_loss",
        learning_rate=0.03,
        schedule="constant",
        evaluations=6,
        epochs=6,
    )
    best = min(evaluations, key=lambda e: e["eval_loss"])
    assert best is not evaluations[-1]
    assert result["eval_loss"] == best["eval_loss"]
    assert result["last_eval_loss"] == evaluations[-1]["eval_loss"]
    predicted = [r["predicted"] == r["label"] for r in records(PREDICTIONS.read_text())]
    assert sum(predicted) / len(predicted) == pytest.approx(best["eval_accuracy"])


PLAIN: dict[tuple[str, ...], float] = {}


@pytest.mark.parametrize("option", [
    {"schedule": "cosine"}, {"schedule": "constant"}, {"class_weights": "balanced"},
    {"max_grad_norm": 0.01}, {"weight_decay": 5.0}, {"warmup_ratio": 0.9}, {"dropout": 0.5},
    {"max_length": 16}, {"precision": "bf16"}, {"schedule": "polynomial"}, {"attention_dropout": 0.5},
    {"classifier_dropout": 0.9}, {"frozen_layers": 1}, {"layer_decay": 0.5}, {"reinit_layers": 1},
    {"pooling": "mean"}, {"label_smoothing": 0.3}, {"rdrop": 5.0}, {"ema": 0.9}, {"augment": "swap"},
    {"augment": "punctuation"},
])  # fmt: skip
def test_each_option_changes_the_training(tiny_bert, capsys, option):
    if option == {"class_weights": "balanced"}:  # the demo is balanced; this file is not
        with open("train.csv", "w") as file:
            file.write(
                "text,label\n"
                + "".join(f"the doctor was {i},{int(i % 4 == 0)}\n" for i in range(60))
            )
        option |= {
            "task": "file",
            "data": "train.csv",
            "text_columns": "text",
            "label_column": "label",
        }
        plain = option | {"class_weights": "none"}
    else:
        plain = {}
    key = tuple(sorted(plain))
    if key not in PLAIN:
        PLAIN[key] = train(capsys, tiny_bert, **plain)[-1]["eval_loss"]
    assert train(capsys, tiny_bert, **option)[-1]["eval_loss"] != PLAIN[key]


def test_schedules_rise_and_fall_as_they_say():
    assert [schedule_factor(s, 10, 3, "linear") for s in range(3)] == [0.25, 0.5, 0.75]
    assert schedule_factor(3, 10, 3, "linear") == 1.0
    assert schedule_factor(9, 10, 0, "linear") == pytest.approx(0.1)
    assert schedule_factor(5, 10, 0, "cosine") == pytest.approx(0.5)
    assert schedule_factor(9, 10, 3, "constant") == 1.0


def folders(folder):
    """The variables that name where a run keeps what it makes."""
    names = {
        "SM_MODEL_DIR": "model",
        "SM_OUTPUT_DATA_DIR": "output",
        "CHECKPOINT_DIR": "checkpoint",
    }
    return {variable: str(folder / name) for variable, name in names.items()}


def start(tiny_bert, folder, **options):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *words(tiny_bert, **options)],
        env=os.environ | folders(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LONG = {"epochs": 48, "evaluations": 16, "keep": "best", "metric": "eval_loss"}


def numbers(lines):
    return [
        {k: v for k, v in r.items() if "seconds" not in k and "per_second" not in k} for r in lines
    ]


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_killed_run_goes_on_to_the_same_numbers(tiny_bert, tmp_path, capsys, monkeypatch, how):
    expected = train(capsys, tiny_bert, **LONG, checkpoint_dir=tmp_path / "whole")
    process = start(tiny_bert, tmp_path / "cut", **LONG)
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(how)
    rest, message = process.communicate(timeout=PATIENCE)
    assert process.returncode == (143 if how == signal.SIGTERM else -9)
    if how == signal.SIGTERM:
        assert "stopped by SIGTERM after step" in message.splitlines()[-1]
    # One of two: the kill may fall between the renames.
    assert list((tmp_path / "cut" / "checkpoint").glob("state*.safetensors"))
    for variable, place in folders(tmp_path / "cut").items():
        monkeypatch.setenv(variable, place)
    assert main(words(tiny_bert, **LONG)) == 0
    out, err = capsys.readouterr()
    assert "resumes from step" in err
    done = {r["step"]: r for r in numbers(records("".join(lines) + rest))}
    done |= {r["step"]: r for r in numbers(records(out))[:-1]}
    assert [done[step] for step in sorted(done)] == numbers(expected)[:-1]
    assert numbers(records(out))[-1] == numbers(expected)[-1]
    # All evaluations are told again, and the checkpoint stays until the tuner has noted the result.
    assert [r["step"] for r in records(out)[:-1]] == sorted(done)
    assert list((tmp_path / "cut" / "checkpoint").iterdir())


def test_a_long_way_between_evaluations_is_saved_on_the_way(
    tiny_bert, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("train_script.fit.SAVE_SECONDS", 0.0)
    options = {"epochs": 4, "evaluations": 1}
    expected = train(capsys, tiny_bert, **options, checkpoint_dir=tmp_path / "whole")

    class Killed(BaseException):
        """As SIGKILL: nothing of ours hears of it."""

    def step(fit, in_step):
        if fit.progress.step == 5:
            raise Killed
        return whole_step(fit, in_step)

    whole_step = Fit._step
    with monkeypatch.context() as killing:
        killing.setattr(Fit, "_step", step)
        with pytest.raises(Killed):
            main(words(tiny_bert, **options, checkpoint_dir=tmp_path / "cut"))
    assert "step 5 of" in capsys.readouterr().err
    assert main(words(tiny_bert, **options, checkpoint_dir=tmp_path / "cut")) == 0
    out, err = capsys.readouterr()
    assert "resumes from step 5 of" in err
    assert numbers(records(out)) == numbers(expected)


def test_checkpoint_cut_in_half_falls_back_to_the_one_before(tiny_bert, tmp_path, capsys):
    process = start(tiny_bert, tmp_path, **LONG)
    for _ in range(3):
        process.stdout.readline()
    process.terminate()
    process.communicate(timeout=PATIENCE)
    latest = tmp_path / "checkpoint" / "state.safetensors"
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])
    assert main(words(tiny_bert, **LONG, checkpoint_dir=tmp_path / "checkpoint")) == 0
    assert "resumes from step" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoint_of_another_configuration_is_not_used(tiny_bert, tmp_path):
    process = start(tiny_bert, tmp_path, **LONG)
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=PATIENCE)
    _, err = start(tiny_bert, tmp_path, **(LONG | {"epochs": 2})).communicate(timeout=PATIENCE)
    assert "resumes" not in err


@pytest.mark.slow
def test_checkpoint_of_other_data_is_not_used(tiny_bert, tmp_path):
    def data(name, word):
        who = {"x.csv": "doctor", "y.csv": "lawyer"}[name]
        lines = [f"the {who} {word} {i},{i % 2}" for i in range(48)]
        (tmp_path / name).write_text("\n".join(["text,label", *lines]) + "\n")

    options = LONG | {"task": "file", "data": tmp_path / "x.csv", "validation_data": tmp_path / "y.csv",
                      "text_columns": "text", "label_column": "label", "metric": "eval_loss"}  # fmt: skip
    data("x.csv", "praised")
    data("y.csv", "praised")
    process = start(tiny_bert, tmp_path, **options)
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=PATIENCE)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.rename(tmp_path / "kept")

    def goes_on():
        shutil.rmtree(checkpoint, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", checkpoint)
        again = start(tiny_bert, tmp_path, **options)
        said = next(line for line in again.stderr if "training," in line or "resumes" in line)
        again.kill()
        again.communicate()
        return "resumes" in said

    assert goes_on()
    data("y.csv", "blamed")
    assert not goes_on()
    data("y.csv", "praised")
    data("x.csv", "blamed")
    assert not goes_on()


def fails(capsys, *arguments):
    status = main(list(arguments))
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return status, err.splitlines()[-1]


def test_loss_that_is_not_finite_says_so(tiny_bert, capsys):
    status, last = fails(capsys, *words(tiny_bert, learning_rate=9.9, max_grad_norm=0, epochs=400,
                                        dropout=0, weight_decay=9.0))  # fmt: skip
    assert status == 1
    assert last.startswith("error: the loss is not finite at step")
    assert "learning_rate 9.9" in last


@pytest.mark.slow
def test_memory_that_runs_out_is_one_sentence():
    """A real limit on the process's memory, set once the libraries are loaded."""
    code = """
import resource, sys
import torch, transformers.models.bert.modeling_bert, train_script.model, train_script.metrics
from train_script.train import main
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, size + 2**30))
sys.exit(main("--task demo --model minilm-l6 --batch_size 600 --num_gpus 0".split()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: out of memory")


def test_bad_input_is_one_sentence_and_status_2(tiny_bert, capsys):
    assert fails(capsys, *words(tiny_bert, epochs="two")) == (
        2, "error: epochs: 'two' is not a whole number",
    )  # fmt: skip
    status, last = fails(capsys, *words(tiny_bert, max_length=512))
    assert (status, "max_length 512 is more than the 64 positions" in last) == (2, True)
    Path("broken").mkdir()
    Path("broken/config.json").write_text("{}")
    status, last = fails(capsys, *words("./broken"))
    assert (status, "names no model_type" in last) == (2, True)
    status, last = fails(capsys, *words("./nowhere"))
    assert (status, "there is no such folder" in last) == (2, True)
    status, last = fails(capsys, *words(tiny_bert, task="mrpc", data="nowhere"))
    assert (status, "nowhere is not a folder" in last) == (2, True)


def test_unreachable_hub_is_said_at_once_and_names_the_alias(capsys, monkeypatch):
    import time

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.constants.ENDPOINT", "http://localhost:9")
    began = time.monotonic()
    status, last = fails(capsys, *words("someone/some-model"))
    assert status == 2
    assert "hub cannot be reached" in last
    assert "minilm-l6 needs no network" in last
    assert time.monotonic() - began < 30  # retries would take minutes


def test_alias_loads_real_weights(capsys):
    from safetensors import safe_open

    from train_script.pretrained import locate_model

    with safe_open(f"{locate_model('minilm-l6')}/model.safetensors", "pt") as file:
        assert file.get_slice("embeddings.word_embeddings.weight").get_shape() == [30522, 384]


def test_alias_package_is_never_imported(tmp_path):
    code = "import sys, train_script.pretrained as p; p.locate_model('minilm-l6');" \
           "print([m for m in sys.modules if m.startswith('gt_all')])"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert out.stdout.strip() == "[]"


def test_the_weights_that_it_began_from_are_known_by_their_hash(tiny_bert, tmp_path, capsys):
    first = train(capsys, tiny_bert)[-1]["pretrained_sha256"]
    assert train(capsys, tiny_bert, seed=3)[-1]["pretrained_sha256"] == first
    other = tmp_path / "other"
    shutil.copytree(tiny_bert, other)
    weights = load_file(other / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1.0
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert train(capsys, other)[-1]["pretrained_sha256"] != first


@pytest.mark.parametrize("native", [True, False])
def test_precision_auto_is_what_the_hardware_does_itself(tiny_bert, capsys, monkeypatch, native):
    from train_script import fit

    monkeypatch.setattr(fit, "has_native_bf16", lambda device: native)
    last = train(capsys, tiny_bert, precision="auto")[-1]
    assert last["precision"] == ("bf16" if native else "fp32")
    same, other = (train(capsys, tiny_bert, precision=p)[-1]["eval_loss"] for p in (
        ("bf16", "fp32") if native else ("fp32", "bf16")
    ))  # fmt: skip
    assert last["eval_loss"] == same != other


def test_emulated_bf16_is_told_of(tiny_bert, capsys, monkeypatch):
    from train_script import fit

    monkeypatch.setattr(fit, "has_native_bf16", lambda device: False)
    assert main(words(tiny_bert, precision="bf16")) == 0
    assert "bf16 is emulated on this device" in capsys.readouterr().err


def test_native_bf16_of_this_cpu_is_what_the_kernel_says():
    import torch

    from train_script.model import has_native_bf16

    flags = Path("/proc/cpuinfo").read_text()
    assert has_native_bf16(torch.device("cpu")) is ("avx512_bf16" in flags or "amx_tile" in flags)
