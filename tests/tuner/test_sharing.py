"""How many trials at once: measured with real runs of the real script, told, and remembered."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from train_script.contract import OF_TRIAL
from tuner.backends import sharing
from tuner.backends.launching import KEEPS_MEMORY, Launcher
from tuner.backends.sharing import (
    NothingMeasured,
    Probes,
    Sharing,
    candidates,
    measure,
    shared_seconds,
    together,
)
from tuner.ledger import Ledger
from tuner.processes import is_there, processes_of
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep


def step(examples, began, ended):
    return {"examples": examples, "began": began, "ended": ended}


def test_runs_side_by_side_add_up_over_the_time_that_they_share():
    fast = [step(8, 0, 1), step(8, 1, 2), step(8, 2, 3), step(8, 3, 4)]
    slow = [step(8, 0, 2), step(8, 2, 6)]  # only a half of its second step lies within
    assert together([fast]) == 8
    assert together([fast, slow]) == pytest.approx((8 * 2 + 8 / 2) / 2)


@given(st.lists(st.floats(0.01, 5), min_size=2, max_size=20), st.integers(1, 4))
def test_equal_runs_are_as_many_times_as_fast(seconds, count):
    ends = [sum(seconds[: i + 1]) for i in range(len(seconds))]
    run = [step(3, a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    alone = together([run])
    assert alone == pytest.approx(3 * (len(run) - 1) / sum(seconds[1:]))
    assert together([run] * count) == pytest.approx(count * alone)


def test_time_is_shared_from_the_last_first_step_to_the_first_last_one():
    slow, slower = [step(8, 0, 1), step(8, 1, 15)], [step(8, 0, 16), step(8, 16, 20)]
    assert shared_seconds([slow]) == 14
    assert shared_seconds([slow, slower]) == 0 == together([slow, slower])
    assert shared_seconds([slow, []]) == 0


def test_a_run_that_has_only_begun_says_nothing_yet():
    assert together([[step(8, 0, 1)], [step(8, 0, 1), step(8, 1, 2)]]) == 0


@pytest.mark.parametrize(
    ("cores", "most", "gpus", "found"),
    [
        (2, 9, 0, [1, 2]), (8, 100, 0, [1, 2, 4, 8]), (8, 3, 0, [1, 2]), (1, 9, 0, [1]),
        (64, 100, 0, [1, 2, 4, 8, 16]), (8, 100, 1, [1, 2, 4, 8]), (16, 100, 2, [2, 4, 8, 16]), (16, 1, 4, [1]), (2, 9, 4, [2]),
    ],
)  # fmt: skip
def test_numbers_worth_a_look(monkeypatch, cores, most, gpus, found):
    monkeypatch.setattr(sharing, "usable_cores", lambda: cores)
    assert list(candidates(most, gpus)) == found


@pytest.mark.parametrize(
    ("rates", "at_once", "gpus"),
    [
        ({1: 30, 2: 31}, 1, 0), ({1: 30, 2: 32, 4: 32}, 2, 0), ({1: 30, 2: 40, 4: 50}, 4, 0),
        ({1: 30, 2: None}, 1, 0), ({1: 30, 2: 40, 4: 50}, 4, 1), ({2: 60, 4: 70}, 4, 2), ({2: 60, 4: 60}, 2, 2),
    ],
)  # fmt: skip
def test_more_at_once_have_to_be_worth_it(monkeypatch, loaded, rates, at_once, gpus):
    """Also where the larger number fails, as where a GPU's memory is too small for it."""
    monkeypatch.setattr(sharing, "usable_cores", lambda: 4)
    monkeypatch.setattr(Probes, "rate_of", lambda self, count: rates[count])
    monkeypatch.setattr(Probes, "has_room_for", lambda self, count: True)
    launcher = Launcher(loaded, RunFolder(Path("nowhere")))
    launcher.gpus.extend("01"[:gpus])
    found = measure(launcher, {}, 100, lambda: False)
    assert found.at_once == at_once
    assert f"{at_once} trial" in str(found)
    on = replace(found, gpus=gpus)
    assert (f"together on {gpus} GPU" in str(on)) == (gpus > 0)


def test_memory_is_for_the_largest_batch(loaded):
    probes = Probes(Launcher(loaded, RunFolder(Path("nowhere"))), {"batch_size": 8}, lambda: False)
    assert probes.heavier == 2  # the space goes up to 16
    probes.memory, probes.room = 1e9, 7e9
    assert probes.has_room_for(2)
    assert not probes.has_room_for(3)
    probes.memory, probes.gpu_memory = 0.0, 0.2
    assert probes.has_room_for(1)
    assert not probes.has_room_for(2)


def test_memory_of_a_gpu_is_what_a_run_needed_that_had_it_alone(loaded):
    probes = Probes(Launcher(loaded, RunFolder(Path("nowhere"))), {"batch_size": 16}, lambda: False)
    probes.room = 1e15
    room = 80.0
    for runs in (1, 2):
        room -= 8 * (runs - 1)  # what the others hold
        steps = [[{"gpu_bytes": 8.0, "gpu_room": room}] for _ in range(runs)]
        probes._weigh({0: launched()}, steps)
        assert probes.gpu_memory == 0.1
    probes.memory, probes.heavier = 0.0, 1.0
    assert probes.has_room_for(6)
    assert not probes.has_room_for(7)


def launched():
    class Process:
        environment: ClassVar = {OF_TRIAL: "none of them"}

    return Process


def test_memory_is_for_what_needs_most_of_it(tiny_bert, tmp_path, write_sweep):
    """Two passes of R-Drop, and the largest of several models."""
    large = tmp_path / "large"
    large.mkdir()
    shutil.copy(tiny_bert / "config.json", large)
    weights = (tiny_bert / "model.safetensors").read_bytes()
    (large / "model.safetensors").write_bytes(weights * 5)
    loaded = load_sweep(
        write_sweep(
            script="train_script/train.py", task={"name": "demo"}, objective={"metric": "eval_f1"},
            space={"model": {"choice": [str(tiny_bert), str(large)], "default": str(tiny_bert)},
                   "rdrop": {"choice": [0, 1, 5]}},
        )
    )  # fmt: skip
    launcher = Launcher(loaded, RunFolder(Path("nowhere")))
    assert Probes(launcher, loaded.typical_point(), lambda: False).heavier == 10
    heaviest = {"model": str(large), "rdrop": 5}
    assert Probes(launcher, heaviest, lambda: False).heavier == 1


def test_a_search_over_models_trains_each_with_what_is_only_for_it(
    tiny_bert, tmp_path, write_sweep, tuner
):
    """The model is a choice, and frozen layers are searched for one of the two alone."""
    other = shutil.copytree(tiny_bert, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file(
        {k: w * 1.5 for k, w in weights.items()}, other / "model.safetensors", {"format": "pt"}
    )
    models = [str(tiny_bert), str(other)]
    path = write_sweep(
        script="train_script/train.py", task={"name": "demo", "limit": 32},
        objective={"metric": "eval_loss"}, search={"sampler": "grid"},
        space={"model": {"choice": models, "default": models[0]},
               "frozen_layers": {"choice": [1, 2], "when": {"model": models[1]}, "default": 1}},
        fixed={"epochs": 1, "max_length": 40, "evaluations": 1, "precision": "fp32"},
        budget={"trials": 3, "parallel": 1},
    )  # fmt: skip
    done = tuner("run", path, "--out", "run")
    assert done.returncode == 0, done.stderr
    trials = Ledger.load("sqlite:///run/study.db").read_trials()
    points = {(t.params["model"], t.params.get("frozen_layers")) for t in trials}
    assert points == {(models[0], None), (models[1], 1), (models[1], 2)}
    weights_of = {t.params["model"]: t.user_attrs["metrics"]["pretrained_sha256"] for t in trials}
    assert len(set(weights_of.values())) == 2
    assert len({t.value for t in trials}) == 3


@pytest.fixture
def path(tmp_path, tiny_bert, write_sweep):
    return write_sweep(
        name="shared", script="train_script/train.py", model=str(tiny_bert),
        task={"name": "demo", "limit": 48}, objective={"metric": "eval_f1"},
        space={"batch_size": {"choice": [8, 16]}, "learning_rate": {"float": [1e-4, 1e-3]}},
        fixed={"epochs": 1, "max_length": 48, "evaluations": 1}, confirm={"top": 0},
        budget={"trials": 2},
    )  # fmt: skip


@pytest.fixture
def loaded(path):
    return load_sweep(path)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(sharing, "SECONDS", 0.3)


def test_a_training_step_takes_no_memory_from_the_system_anew(loaded, monkeypatch):
    """The script's own runs alone, and what a person has set for glibc stays."""
    launcher = Launcher(loaded, RunFolder(Path("nowhere")))
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    assert launcher._environment(Path("here"), 1, None)["MALLOC_MMAP_MAX_"] == "0"
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    assert launcher._environment(Path("here"), 1, None)["MALLOC_MMAP_MAX_"] == "7"
    twice = """
import resource, torch
def step():
    for _ in range(8):
        torch.ones(12_000_000).sum()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", twice], env=os.environ | more, capture_output=True, check=True).stdout)
        for more in ({"MALLOC_MMAP_MAX_": "65536"}, KEEPS_MEMORY)
    ]  # fmt: skip
    if faults[0] < 1000:
        # Then nothing tells the two apart, and there is nothing to be gained.
        pytest.skip("no page goes back here anyway: not glibc, or huge pages everywhere")
    assert faults[1] < faults[0] / 3


def test_it_is_measured_told_kept_and_not_measured_again(path, tuner, tmp_path):
    run = tmp_path / "run"
    said = tuner("run", path, "--out", run).stdout
    assert "measures how many trials at once are fastest here" in said
    assert "(measured, examples a second: 1 at once " in said
    study = Ledger.load(RunFolder(run).ledger_url()).study
    (fact,) = study.user_attrs["at_once"].values()
    assert fact["trials"] in (1, 2)
    assert all(rate > 0 for rate in fact["examples_per_second"].values())
    assert not list(run.glob("probe-*"))
    assert len(list((run / "tokens").glob("*.npz"))) == 2, "training and validation texts"
    assert "trials at once" in (run / "report.html").read_text()
    again = tuner("run", path, "--out", run, "--set", "budget.trials=4")
    assert "measured before" in again.stdout
    assert "measures how many" not in again.stdout
    assert "trial   2 finished" in again.stdout


def test_what_cannot_be_measured_is_said_and_the_trials_tell_why(
    path, tuner, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # one that torch will not find
    text = path.read_text().replace("max_length: 48", "max_length: 48\n  precision: fp16")
    path.write_text(text)
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "was not measured (error: precision fp16 needs a GPU" in done.stdout
    assert "1 trial at a time" in done.stdout


def test_a_script_of_your_own_is_not_measured(write_sweep, tuner, tmp_path):
    path = write_sweep(budget={"trials": 2, "parallel": "auto"})
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0
    assert "2/2 done" in done.stdout
    assert "measures how many" not in done.stdout
    assert "not measured" not in done.stdout


@pytest.fixture
def asked(loaded, monkeypatch, tmp_path):
    """`settled` with a ledger of its own; what was measured counts in `asked.measured`."""
    ledger = Ledger.create(f"sqlite:///{tmp_path}/a.db", "shared", "maximize")
    launcher = Launcher(loaded, RunFolder(tmp_path))
    monkeypatch.setattr(sharing, "usable_cores", lambda: 8)

    def ask(most, answer, is_alone=True):
        def measure(*_):
            ask.measured += 1
            return answer

        monkeypatch.setattr(sharing, "measure", measure)
        return sharing.settled(launcher, ledger, most, is_alone, lambda: False, lambda text: None)

    ask.measured, ask.ledger, ask.launcher = 0, ledger, launcher
    return ask


def test_what_was_measured_holds_for_as_many_trials_cores_and_gpus(asked, monkeypatch):
    two = Sharing(2, {1: 10.0, 2: 15.0})
    assert asked(3, two).at_once == 2
    assert asked(3, None).before
    assert asked(1, None).at_once == 1
    assert asked.measured == 1
    assert asked(100, Sharing(8, {8: 20.0})).at_once == 8, (
        "for three trials four at once were not tried"
    )
    assert asked(4, None).at_once == 4
    assert asked.measured == 2
    asked.launcher.gpus.append("0")
    assert asked(100, Sharing(3, {3: 9.0})).at_once == 3
    monkeypatch.setattr(sharing, "usable_cores", lambda: 2)
    assert asked(100, two).at_once == 2
    monkeypatch.setattr("platform.node", lambda: "another")
    assert asked(100, Sharing(1, {1: 5.0})).at_once == 1
    assert len(asked.ledger.study.user_attrs["at_once"]) == 2


def test_a_failure_to_measure_is_not_kept(asked):
    assert "(no memory)" in str(asked(9, Sharing(fault="no memory")))
    assert asked(9, Sharing(4, {4: 9.0})).at_once == 4


def test_who_is_not_alone_on_a_machine_does_not_measure_what_is_left_of_it(asked):
    found = asked(9, None, is_alone=False)
    assert "another worker is at work on this machine" in str(found)
    assert asked.measured == 0
    assert asked(9, Sharing(4, {4: 9.0})).at_once == 4
    assert asked(9, None, is_alone=False).at_once == 4


def test_a_probe_that_never_takes_a_step_is_given_up(path, tmp_path):
    path.write_text(path.read_text().replace("trials: 2", "trials: 2\n  silent_minutes: 0.005"))
    launcher = Launcher(load_sweep(path), folder := RunFolder(tmp_path / "run"))
    folder.path.mkdir()
    found = measure(launcher, {"batch_size": 8, "learning_rate": 1e-4}, 10, lambda: False)
    launcher.close()
    assert found.fault == "it took too long"


def test_no_process_more_is_a_sentence(loaded, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(Launcher, "start", refused)
    found = measure(Launcher(loaded, RunFolder(tmp_path)), {}, 10, lambda: False)
    assert found.fault == "Resource temporarily unavailable"
    assert not list(tmp_path.glob("probe-*"))


def test_nothing_is_left_of_a_measurement_that_is_stopped(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "SECONDS", 600)
    launcher = Launcher(loaded, folder := RunFolder(tmp_path / "run"))
    folder.path.mkdir()
    folder.prepare_data(loaded.load_splits())
    began = time.monotonic()
    seen = []

    def must_end():
        for place in folder.path.glob("probe-*/0"):
            seen.extend(processes_of(str(place / "checkpoint")))
        return time.monotonic() > began + 2

    with pytest.raises(NothingMeasured):
        measure(launcher, {"batch_size": 8, "learning_rate": 1e-4}, 10, must_end)
    launcher.close()
    assert seen
    assert not any(map(is_there, seen))
    assert not list(folder.path.glob("probe-*"))
