"""The command line as a person meets it: sentences, exit statuses, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import optuna
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import PATIENCE
from tests.conftest import ROOT, TOY
from train_script.errors import did_you_mean
from tuner.errors import RunFolderError
from tuner.ledger import Ledger
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep

SLOW_TO_LOAD = {
    "torch", "transformers", "tokenizers", "huggingface_hub", "boto3", "botocore", "sagemaker", "optuna",
    "sqlalchemy", "scipy", "numpy", "pandas", "pydantic", "psutil", "httpx",
}  # fmt: skip


def test_help_answers_at_once():
    """Nothing that takes long to load is loaded."""
    code = (
        "import sys; from tuner.cli import main; sys.argv[1:] = ['--help']\n"
        f"try: main()\nfinally: print(sorted({SLOW_TO_LOAD} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert all(word in shown.stdout for word in ("plan", "run", "status", "stop", "best", "report"))
    assert shown.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["plan", "run", "status", "stop", "best", "report"])
def test_each_command_explains_itself(tuner, command):
    assert tuner(command, "--help").returncode == 0


def test_the_version_is_that_of_the_package(tuner):
    assert tuner("--version").stdout == f"tuner {version('tuner')}\n"


def test_a_gpu_that_torch_cannot_use_is_said(tuner, monkeypatch):
    demo = ROOT / "sweeps" / "demo.yaml"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "left idle" not in tuner("plan", demo).stdout
    assert "precision fp16 needs a GPU" in error(
        tuner("plan", demo, "--set", "fixed.precision=fp16")
    )
    if not torch.cuda.is_available():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # what a machine with a GPU would say
        assert "left idle: this torch has no CUDA" in tuner("plan", demo).stdout


def test_run_status_best_report(tuner, write_sweep, tmp_path):
    path = write_sweep(confirm={"top": 1, "seeds": 2})
    planned = tuner("plan", path)
    assert "6 to search (1 default + 2 space-filling + 3 by tpe)" in planned.stdout
    assert not (tmp_path / "runs").exists()
    done = tuner("run", path)
    assert done.returncode == 0, done.stderr
    assert "winner: trial" in done.stdout
    assert "report: runs/toy/report.html" in done.stdout
    for name in ("runs/toy", "toy", path):
        shown = tuner("status", name)
        assert "not running" in shown.stdout
        assert "confirmation" in shown.stdout
    best = tuner("best", "toy")
    command = best.stdout.splitlines()[-1]
    again = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    score = json.loads(again.stdout.splitlines()[-1])["score"]
    assert f"score {score:.4f}" in best.stdout
    before = (tmp_path / "runs/toy/report.html").read_bytes()
    assert tuner("report", "toy").returncode == 0
    assert (tmp_path / "runs/toy/report.html").read_bytes() == before


def error(result, status=2):
    assert result.returncode == status, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_bad_input_starts_nothing(tuner, write_sweep, tmp_path):
    assert "x.yaml does not exist" in error(tuner("run", "x.yaml"))
    path = write_sweep()
    mistyped = path.with_name(path.name.replace("e", "", 1))
    assert f"does not exist; did you mean {path}?" in error(tuner("run", mistyped))
    assert "is not key=value" in error(tuner("run", path, "--set", "nonsense"))
    text = error(tuner("run", path, "--set", "budget.parallel=999"))
    assert "budget.parallel 999 is more than the" in text
    assert not (tmp_path / "runs").exists()
    assert "there is no run at nowhere" in error(tuner("status", "nowhere"))
    (tmp_path / "runs/monday").mkdir(parents=True)
    (tmp_path / "runs/monday/sweep.json").touch()
    assert "or runs/mondya; did you mean monday?" in error(tuner("status", "mondya"))
    assert "there is no run at" in error(tuner("best", "nowhere"))
    assert "name one of: a run, --storage" in error(tuner("report"))
    assert "there is no ledger at x.db" in error(tuner("report", "--storage", "sqlite:///x.db"))


def test_data_and_model_faults_come_together_before_any_trial(tuner, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "task: {name: mrpc, data: nowhere}\nmodel: ./no-model\nobjective: {metric: eval_f1}\n"
        "space: {epochs: {int: [1, 2]}}\n"
    )
    text = error(tuner("run", "s.yaml"))
    assert "nowhere is not a folder" in text
    assert "./no-model: there is no such folder" in text
    assert not (tmp_path / "runs").exists()


def test_a_plan_tells_of_machine_data_and_model_at_once(tuner, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "name: s\ntask: {name: mrpc, data: nowhere}\nmodel: ./nothing\nobjective: {metric: eval_f1}\n"
        "space: {dropout: {float: [0, 0.3]}}\nbudget: {parallel: 4000}\nfixed: {max_length: '128.0'}\n"
    )
    said = tuner("plan", "s.yaml")
    assert said.returncode == 2
    for part in ("budget.parallel 4000", "nowhere", "./nothing"):
        assert part in said.stderr


def test_a_study_that_nobody_here_made_is_not_taken_for_a_run(tuner, write_sweep, tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/old.db", study_name="toy")
    study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=2)
    said = tuner("run", write_sweep(storage="sqlite:///old.db"))
    assert said.returncode == 2
    assert "holds a study 'toy' that no `tuner run` has made" in said.stderr
    assert not study.user_attrs


def test_what_failed_is_tried_again_where_that_is_asked_for(
    tuner, write_sweep, tmp_path, monkeypatch
):
    monkeypatch.setenv("MENDED", str(mended := tmp_path / "mended"))
    path = write_sweep(
        fixed={"mode": "fails at first"}, budget={"trials": 4, "parallel": 1}, confirm={"top": 1, "seeds": 1},
        search={"pruner": "none"},
    )  # fmt: skip
    assert tuner("run", path).returncode == 1
    mended.touch()
    same = tuner("run", path)
    assert same.returncode == 1  # they count
    assert "4 trial(s) failed; once their cause is mended" in same.stdout
    assert "sweep.yaml --retry-failed` tries them again" in same.stdout
    again = tuner("run", path, "--retry-failed")
    assert again.returncode == 0, again.stderr
    assert "4 trial(s) that failed are tried again" in again.stdout
    trials = Ledger.load(f"sqlite:///{tmp_path}/runs/toy/study.db").read_trials()
    failed, search = trials[:4], trials[4:8]
    for before, after in zip(failed, search, strict=True):
        assert after.user_attrs["continues"] == before.number
        assert after.user_attrs["seed"] == before.user_attrs["seed"]
        assert after.user_attrs["arguments"] == before.user_attrs["arguments"]
        assert before.user_attrs["failure"] == "the disk is full"
    assert search[0].user_attrs["chosen_by"] == "default"
    assert {t.user_attrs["purpose"] for t in trials[8:]} == {"confirm"}
    shown = json.loads((tmp_path / "runs/toy/report.json").read_text())["sections"]["trials"][
        "trials"
    ]
    assert [t["status"] for t in shown[:4]] == ["interrupted"] * 4
    assert "no trial has failed" in tuner("run", path, "--retry-failed").stdout
    assert len(Ledger.load(f"sqlite:///{tmp_path}/runs/toy/study.db").read_trials()) == len(trials)


def test_an_option_that_would_do_nothing_is_refused(tuner, write_sweep, tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "sweep.json").write_text("{}")
    said = tuner("report", "runs", "--out", "elsewhere")
    assert (said.returncode, "lies in that folder itself" in said.stderr) == (2, True)
    said = tuner("import", "amt", "a-job", "--scheduled", write_sweep())
    assert (said.returncode, "--scheduled goes alone" in said.stderr) == (2, True)


def test_unwritable_run_folder_is_refused(tuner, write_sweep, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is not writable" in error(
        tuner("run", write_sweep(), "--out", tmp_path / "file" / "run")
    )


def test_run_folder_of_another_sweep_is_refused_with_the_difference(tuner, write_sweep):
    path = write_sweep(budget={"trials": 1})
    assert tuner("run", path).returncode == 0
    text = error(tuner("run", path, "--set", "space.rate.float=[1e-4, 1e-1]"))
    assert "belongs to another sweep: space.rate.float was [1e-05, 0.1], is [0.0001, 0.1]" in text
    assert tuner("run", path, "--set", "budget.trials=2").returncode == 0


def test_folder_with_other_files_is_not_taken(tuner, write_sweep, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("")
    assert "is not empty" in error(tuner("run", write_sweep(), "--out", "thesis"))


def test_changed_script_is_refused(tuner, write_sweep, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(TOY.read_text())
    path = write_sweep(script="mine.py", budget={"trials": 1})
    assert tuner("run", path).returncode == 0
    script.write_text(TOY.read_text() + "# better now\n")
    assert "has changed since the first trial" in error(tuner("run", path))


@pytest.mark.slow
def test_model_folder_is_found_beside_the_sweep_file(tuner, tiny_bert, tmp_path, monkeypatch):
    import shutil

    (tmp_path / "project").mkdir()
    shutil.copytree(tiny_bert, tmp_path / "project" / "mine")
    (tmp_path / "project" / "s.yaml").write_text(
        "task: {name: demo, limit: 32}\nmodel: mine\nobjective: {metric: eval_f1}\n"
        "space: {epochs: {int: [1, 2]}}\nfixed: {max_length: 32}\n"
        "budget: {trials: 1}\nconfirm: {top: 0}\n"
    )
    done = tuner("run", "project/s.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not confirmed on fresh seeds" in done.stdout


def test_changed_data_is_refused(tuner, tmp_path):
    def write(rows):
        text = "text,label\n" + "".join(f"word {i},{i % 2}\n" for i in range(rows))
        (tmp_path / "x.csv").write_text(text)

    write(20)
    (tmp_path / "s.yaml").write_text(
        f"script: {TOY}\ntask: {{data: x.csv, text: text, label: label}}\n"
        "objective: {metric: score, direction: maximize}\n"
        "space: {rate: {float: [0.1, 1.0]}}\nbudget: {trials: 1}\nconfirm: {top: 0}\n"
    )
    assert tuner("run", "s.yaml").returncode == 0
    write(22)
    assert "has changed since its first trial" in error(tuner("run", "s.yaml"))


def test_sweep_in_which_nothing_works_ends_with_status_1_and_a_report(tuner, write_sweep, tmp_path):
    result = tuner("run", write_sweep(fixed={"mode": "fails"}, budget={"trials": 8}))
    text = error(result, status=1)
    assert "5 trials failed and none succeeded" in text
    assert "this configuration cannot work" in text
    assert (tmp_path / "runs/toy/report.html").exists()


def test_second_run_is_refused_and_stop_ends_the_first(tuner, write_sweep, tmp_path):
    path = write_sweep(fixed={"sleep": 0.5}, budget={"trials": 100, "parallel": 1})
    first = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "started" not in first.stdout.readline():
        pass
    assert f"is being run by process {first.pid}" in error(tuner("run", path))
    assert f"running: process {first.pid}" in tuner("status", "toy").stdout
    assert f"stopped process {first.pid}" in tuner("stop", "toy").stdout
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 143
    assert "is not running" in tuner("stop", "toy").stdout


@pytest.mark.slow
def test_killed_orchestrator_loses_no_finished_trial(tuner, write_sweep, tmp_path):
    path = write_sweep(fixed={"sleep": 0.2}, budget={"trials": 5, "parallel": 1})
    first = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "2/5 done" not in first.stdout.readline():
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = tuner("run", path)
    assert "resumes after 2 trials" in done.stdout
    result = json.loads((tmp_path / "runs/toy/report.json").read_text())
    trials = result["sections"]["trials"]["trials"]
    assert sum(t["status"] == "finished" for t in trials) == 5
    assert not any(t["status"] == "running" for t in trials)


def test_killed_orchestrator_takes_its_trials_with_it(write_sweep):
    import psutil

    path = write_sweep(fixed={"sleep": 600}, budget={"trials": 2, "parallel": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "trial   1 started" not in process.stdout.readline():
        pass
    children = psutil.Process(process.pid).children()
    until = time.monotonic() + PATIENCE  # until the scripts themselves have begun
    while any(child.cmdline()[:1] != [sys.executable] for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(children, timeout=60)  # of their own: 600 s
    assert len(gone) == 2
    assert not alive


def test_reader_that_leaves_does_not_end_the_sweep(write_sweep, tmp_path):
    path = write_sweep(budget={"trials": 3})
    command = f"{sys.executable} -m tuner.cli run {path} | head -1"
    subprocess.run(command, shell=True, check=True, capture_output=True,
                   env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    result = tmp_path / "runs/toy/report.json"
    while not result.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    trials = json.loads(result.read_text())["sections"]["trials"]["trials"]
    assert sum(t["status"] == "finished" for t in trials) == 3


def test_live_table_on_a_terminal(write_sweep):
    """A real pseudo-terminal, as a person has it."""
    import pty

    path = write_sweep(fixed={"sleep": 0.1}, budget={"trials": 3})
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)], stdout=terminal, stderr=terminal,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=PATIENCE) == 0
    text = shown.decode()
    assert "3 of 3 trials done" in text
    assert "chosen by" in text
    assert "winner: trial" in text


def test_a_terminal_that_lacks_a_character_gets_another_one(write_sweep):
    """`tuner plan` shows an ellipsis and `±`, which Latin-1 and ASCII do not have."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", "plan", str(write_sweep())],
        capture_output=True, check=False, timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_fault_of_the_file_system_is_one_sentence(tuner, write_sweep, tiny_bert):
    sweep = write_sweep(
        script=None, model=str(tiny_bert), task={"data": "x" * 300, "text": "a", "label": "b"},
        objective={"metric": "eval_accuracy"}, space={"epochs": {"int": [1, 2]}},
    )  # fmt: skip
    done = tuner("plan", sweep)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "File name too long" in done.stderr


def test_words_of_other_tools_are_known():
    assert did_you_mean("lr", ["learning_rate", "layer_decay"]) == "; did you mean learning_rate?"
    assert (
        did_you_mean("eval_acc", ["eval_mcc", "eval_accuracy"]) == "; did you mean eval_accuracy?"
    )
    assert "known: a, b" in did_you_mean("lr", ["a", "b"])


def test_reports_load_neither_torch_nor_boto3():
    code = "import sys, reports; reports.write_report; print(sorted({'torch', 'boto3'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert out.stdout.strip() == "[]"


def test_changed_weights_are_refused(write_sweep, tiny_bert, tmp_path):
    import shutil

    from tuner.cli_run import _open_ledger

    shutil.copytree(tiny_bert, tmp_path / "mine")
    loaded = load_sweep(
        write_sweep(script=None, model="mine", task={"name": "demo"}, objective={"metric": "eval_f1"},
                    space={"epochs": {"int": [1, 2]}})
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    folder.claim(loaded)
    for _ in range(2):
        _open_ledger(folder, loaded, None).close()
    weights = load_file(tmp_path / "mine/model.safetensors")
    weights["pooler.dense.bias"] += 1
    save_file(weights, tmp_path / "mine/model.safetensors", {"format": "pt"})
    with pytest.raises(
        RunFolderError, match="the weights of model mine have changed since the first trial"
    ):
        _open_ledger(folder, loaded, None)


@pytest.mark.parametrize("name", ["why?", "50%", "{exp}"])
def test_a_folder_that_no_address_can_hold_is_refused(tuner, write_sweep, name):
    assert "which a database's address cannot hold" in error(
        tuner("run", write_sweep(), "--out", name)
    )


def test_what_another_process_is_just_writing_into_a_new_folder_is_no_obstacle(
    write_sweep, tmp_path
):
    """Workers that start together: one's half-written file, and one's whole that came in between."""
    loaded, folder = load_sweep(write_sweep()), RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / ".sweep.json.k3x9").touch()
    folder.claim(loaded)
    (folder.path / "data").mkdir()
    folder.claim(loaded)


def test_under_nohup_a_window_that_is_closed_ends_nothing(write_sweep):
    path = write_sweep(fixed={"sleep": 0.3}, budget={"trials": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    said = next(line for line in process.stdout if "started" in line)
    process.send_signal(signal.SIGHUP)
    said += process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    assert "2/2 done" in said


@pytest.mark.parametrize("sends", [True, False])
def test_a_window_that_is_closed_lets_the_trials_save(write_sweep, tmp_path, sends):
    """The terminal is gone before the signal comes; where none comes (disown), the sweep runs on."""
    import pty

    path = write_sweep(fixed={"sleep": 3.0 if sends else 0.5}, budget={"trials": 3})
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "run", str(path)], stdout=terminal, stderr=terminal,
        stdin=terminal, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "40"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while b"25%" not in shown:
        shown += os.read(main, 65536)
    os.close(main)
    if sends:
        process.send_signal(signal.SIGHUP)
    status = process.wait(timeout=PATIENCE)
    trials = json.loads((tmp_path / "runs/toy/report.json").read_text())["sections"]["trials"][
        "trials"
    ]
    outcomes = {t["status"] for t in trials}
    assert (status, outcomes) == ((129, {"interrupted"}) if sends else (0, {"finished"}))
