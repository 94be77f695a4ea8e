"""Every command and every file that the documentation shows is run here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.sweep import check_outside, load_sweep

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What keeps a documented sweep short enough for a test.
SHORT = [
    "budget.trials=2",
    "budget.parallel=1",  # how many at once are fastest is measured in tests/tuner/test_sharing.py
    "confirm.top=0",
    "task.limit=32",
    "fixed.evaluations=1",
    "fixed.max_length=16",
]

TINY = "tiny-bert"
LIKE_MRPC = re.compile(r"sweeps/(cola|choices)\.yaml|runs/(cola|mrpc-seeds)")
"""Sweeps that differ from MRPC's by settings alone, and what is done with them: `make test-slow` has them"""


def blocks(language):
    found = []
    for page in PAGES:
        found += re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)
    return found


def commands():
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_bert):
    """A folder as the documentation assumes it: the sweeps, MRPC's files, a study, a finished run."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(tiny_bert, folder / TINY)
    for name in ("sweeps", "train_script", "bench"):
        shutil.copytree(ROOT / name, folder / name)
    data = folder / "path" / "to" / "MRPC"
    data.mkdir(parents=True)
    cola = folder / "path" / "to" / "CoLA"
    cola.mkdir()
    sentences = [f"source\t{i % 2}\t\tsentence {i} ." for i in range(40)]
    for name in ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv"):
        (cola / name).write_text("\n".join(sentences) + "\n")
    rows = [f"{i % 2}\t{i}\t{i}\tsentence {i} .\tphrase {i} ." for i in range(40)]
    for name in ("train.tsv", "dev.tsv"):
        (data / name).write_text("\n".join(["Quality\tid\tid\ta\tb", *rows]) + "\n")
    (folder / "results.csv").write_text("learning_rate,f1\n1e-5,0.6\n1e-4,0.8\n1e-3,0.5\n")
    study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="my-study")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=3)
    settings = " ".join(f"--set {setting}" for setting in SHORT)
    done = subprocess.run(
        ["make", "tune", f"ARGS={settings} --out {folder}/runs/demo"], cwd=ROOT, text=True,
        capture_output=True, timeout=PATIENCE, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"report: {folder}/runs/demo/report.html"
    for slot in (
        "20260105T0600Z",
        "20260112T0600Z",
    ):  # tests/tuner/test_cli_schedule.py runs real ones
        shutil.copytree(folder / "runs/demo", folder / "runs/demo-slots" / slot)
    return folder


def shell(command, folder):
    words = shlex.split(command)
    if words[:2] == ["tuner", "run"] or words[:3] == ["tuner", "schedule", "once"]:
        words += [word for setting in SHORT for word in ("--set", setting)]
        if "sweeps/choices.yaml" in words:  # all changes, or none
            words += ["--set", "space={schedule: {choice: [linear, cosine]}}"]
        if "model=minilm-l6" in words or words[1] == "schedule":  # `make tune` has the real one
            words += ["--set", f"model={TINY}"]
    if words[:2] == ["python", "train_script/train.py"] and "--help" not in words:
        words += ["--train_limit", "32", "--epochs", "1", "--max_length", "16"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip


def is_of_aws(words):
    """Whether the command asks AWS; then it is run against the emulator."""
    return bool({"sagemaker", "amt", "--amt-job", "demo-aws"} & set(words))


@pytest.fixture(scope="module")
def aws_place(place):
    """The same place, with AWS at hand; a tuning job takes the name that the documentation has."""
    from tests.emulator import Emulator

    with Emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        more = [f"model={TINY}", "sagemaker.poll_seconds=0.5", "sagemaker.image=plain"]

        def run(words):
            if words[:2] == ["tuner", "run"]:
                words = words + [word for setting in more for word in ("--set", setting)]
            if "my-tuning-job" in words:
                words[words.index("my-tuning-job")] = next(iter(emulator.service.tuning))
            return shell(shlex.join(words), place)

        yield run


def marked(command):
    return pytest.param(command, marks=pytest.mark.slow) if LIKE_MRPC.search(command) else command


@pytest.mark.parametrize("command", [marked(command) for command in commands()])
def test_documented_command_works(command, place, request):
    words = shlex.split(command)
    if is_of_aws(words):
        done = request.getfixturevalue("aws_place")(words)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    if words[:2] == ["tuner", "plan"] and "both" in words:
        words = ["env", "SAGEMAKER_ROLE=arn:aws:iam::123456789012:role/tuner", *words]
        command = shlex.join(words)
    if words[0] == "make":
        # The recipes themselves are run by CI (test, check) and by the fixture (tune).
        shown = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        return
    if words[0] == "optuna-dashboard":  # started by test_ledger_opens_in_optuna_dashboard
        assert (place / words[1].removeprefix("sqlite:///")).exists()
        return
    done = shell(command, place)
    if command == "tuner run sweeps/mrpc.yaml":  # from the hub, which no test may reach
        assert done.returncode == 2
        assert "minilm-l6 needs no network" in done.stderr
        return
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("code", [c for c in blocks("python") if "from reports import" in c])
def test_documented_python_works(code, place):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_make_tune_runs_a_sweep_and_names_its_report(place):
    assert (place / "runs/demo/report.html").stat().st_size > 1_000_000


def test_make_help_lists_every_target():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "tune", "test", "check", "bench", "report", "help"):
        assert f"make {target} " in shown


def test_documented_sweep_files_load(place):
    (place / "reviews.csv").write_text(
        "review,stars\n" + "".join(f"text {i},{i % 3}\n" for i in range(30))
    )
    (place / "parabola.py").write_text(next(b for b in blocks("python") if "argparse" in b))
    sweeps = [block for block in blocks("yaml") if "objective:" in block]
    assert len(sweeps) >= 3
    for i, text in enumerate(sweeps):
        path = place / f"documented{i}.yaml"
        path.write_text(text)
        loaded = load_sweep(path)
        if "bert-base-uncased" not in text:
            check_outside(loaded)


def test_script_of_the_contract_page_can_be_tuned(place, tuner_process):
    (place / "parabola.py").write_text(next(b for b in blocks("python") if "argparse" in b))
    text = next(b for b in blocks("yaml") if "parabola.py" in b)
    (place / "parabola.yaml").write_text(text)
    done = tuner_process("run", "parabola.yaml", "--set", "budget.trials=6", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "winner: trial" in done.stdout


def test_ready_sweep_files_have_names_of_their_own():
    names = [yaml.safe_load(path.read_text())["name"] for path in (ROOT / "sweeps").glob("*.yaml")]
    assert len(set(names)) == len(names) >= 3


def test_pages_link_only_to_files_that_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_policies_allow_just_what_the_code_asks_for():
    """Each request in the code is in the documented policy, and the other way round."""
    import json

    policies = [json.loads(block) for block in blocks("json")]
    trust, _, yours = policies
    assert trust["Statement"][0]["Action"] == "sts:AssumeRole"
    allowed = set()
    for statement in yours["Statement"]:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    source = "".join(
        path.read_text() for path in (ROOT / "tuner").rglob("*.py") if "aws" in str(path)
        or path.name == "sagemaker.py"
    )  # fmt: skip
    asked = set(re.findall(r'(?:speaking|_taken)\("([a-z0-9]+:[A-Za-z]+)"[,)]', source))
    assert asked <= allowed
    assert allowed - asked == {"iam:PassRole", "sagemaker:AddTags"}  # come with the creations
