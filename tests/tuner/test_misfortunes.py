"""What happens to sweeps: full disks, hangs, floods, floods of children, lost folders. All of it for real."""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from tests import PATIENCE
from tests.conftest import ROOT
from tuner.backends import Outcome
from tuner.backends import local as local_backend
from tuner.backends.local import LocalBackend
from tuner.cli_run import retype
from tuner.errors import LedgerAway, SweepFailed
from tuner.ledger import Ledger
from tuner.processes import Masker, _Lines, processes_of, secrets_in
from tuner.progress import PlainView
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep
from tuner.workers import Workers


@pytest.fixture
def sweep_of(write_sweep, tmp_path):
    """Runs a sweep of the toy script; its outcome and its ledger."""

    def run(**blocks):
        loaded = load_sweep(write_sweep(**blocks))
        folder = RunFolder(tmp_path / "run")
        folder.claim(loaded)
        ledger = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
        return LocalBackend(loaded).run(ledger, folder, PlainView()), ledger

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; `grow` gives it more, `read_only` takes writing away."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*words):
        return subprocess.run(["mount", *words, place], capture_output=True, check=False).returncode

    # Only root may mount, and a container may forbid it even to root.
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        pytest.skip("no file system can be mounted here")
    yield place, lambda options: mount("-o", f"remount,{options}")
    subprocess.run(["umount", "-l", place], check=False)


@pytest.fixture
def little_memory():
    """A control group of 700 MB; a process whose number is written to the file is in it."""
    groups = Path("/sys/fs/cgroup")
    parent = groups / "memory" if (groups / "memory").is_dir() else groups
    group = parent / f"tuner-test-{os.getpid()}"
    limit = "memory.max" if (groups / "cgroup.controllers").exists() else "memory.limit_in_bytes"
    try:
        group.mkdir()
        (group / limit).write_text("700000000")
    except OSError:
        with suppress(OSError):
            group.rmdir()
        # Only root may make one, and a container may forbid it even to root.
        pytest.skip("no control group can be made here")
    yield group / "cgroup.procs"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            group.rmdir()
            break
        except OSError:
            time.sleep(0.1)


def until_deaf(folder, times=1):
    """Until the toy of trial 0 ignores SIGTERM, having begun so many times."""
    log, deadline = folder / "trials/0000/stderr.log", time.monotonic() + PATIENCE
    while not log.exists() or log.read_text().count("deaf") < times:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def start(path, out, group=None):
    """`tuner run` in the background, its words in a pipe; in a control group where one is given."""
    enter = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group)] if group else []
    return subprocess.Popen(
        [*enter, sys.executable, "-m", "tuner.cli", "run", str(path), "--out", str(out)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until(process, word):
    """Reads the process's words up to one."""
    said = ""
    while word not in said:
        line = process.stdout.readline()
        assert line, f"{word!r} was never said: {said}"
        said += line
    return said


def test_a_full_disk_ends_the_sweep_with_a_sentence_and_it_goes_on_with_more(
    small_disk, write_sweep, tuner_process
):
    place, remount = small_disk
    path = write_sweep(fixed={"mode": "flood"}, budget={"trials": 5, "parallel": 1})
    done = tuner_process("run", path, "--out", place / "run")
    assert done.returncode == 1, done.stdout
    assert "disk is full" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert remount("size=60m") == 0
    again = tuner_process("run", path, "--out", place / "run")
    assert again.returncode == 0, again.stderr
    ledger = Ledger.load(f"sqlite:///{place}/run/study.db")
    assert [t.state for t in ledger.read_trials()] == [TrialState.COMPLETE] * 5


def test_a_folder_that_can_only_be_read_is_said_before_anything_runs(
    small_disk, write_sweep, tuner
):
    place, remount = small_disk
    assert remount("ro") == 0
    done = tuner("run", write_sweep(), "--out", place / "run")
    assert done.returncode == 2
    assert "is not writable (Read-only file system); choose another with --out" in done.stderr


def test_a_run_folder_that_is_deleted_ends_the_sweep_with_a_sentence(write_sweep, tmp_path):
    path = write_sweep(fixed={"sleep": 0.5}, budget={"trials": 50, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "25%")
    shutil.rmtree((tmp_path / "run").rename(tmp_path / "gone"))  # it is written to meanwhile
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "is lost to this process" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_trial_folders_that_are_deleted_cost_their_checkpoints_only(write_sweep, tmp_path, tuner):
    fixed = {"sleep": 0.3, "checkpoint": True}
    path = write_sweep(fixed=fixed, budget={"trials": 3, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "50%")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    shutil.rmtree(tmp_path / "run/trials")
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    states = [t.state for t in Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()]
    assert states == [TrialState.COMPLETE] * 3


def test_a_trial_that_hangs_is_killed_and_has_failed(sweep_of):
    budget = {"trials": 2, "parallel": 2, "silent_minutes": 0.02}
    _, ledger = sweep_of(fixed={}, space={"mode": {"choice": ["well", "hangs"]}} | RATE, budget=budget,
                         search={"sampler": "grid"})  # fmt: skip
    (hung,) = [t for t in ledger.read_trials() if t.params["mode"] == "hangs"]
    assert hung.state == TrialState.FAIL
    assert "printed nothing for 0.02 min (budget.silent_minutes)" in hung.user_attrs["failure"]


RATE = {"rate": {"choice": [0.001], "default": 0.001}}


def test_a_progress_bar_on_one_line_is_a_sign_of_life(sweep_of):
    budget = {"trials": 1, "silent_minutes": 0.05}
    _, ledger = sweep_of(fixed={"mode": "bar"}, budget=budget)
    assert [t.state for t in ledger.read_trials()] == [TrialState.COMPLETE]


def test_a_machine_that_was_paused_is_no_trial_that_hangs(sweep_of, monkeypatch):
    """Tuner and trial stand still together, as when a virtual machine is paused."""
    monkeypatch.setattr(local_backend, "FROZEN_SECONDS", 2.0)
    paused = []

    def tick(self):
        children = psutil.Process().children()
        if children and not paused:
            time.sleep(0.5)
            paused.append([child.suspend() for child in children])
            time.sleep(4.0)
            for child in children:
                child.resume()

    monkeypatch.setattr(PlainView, "tick", tick)
    budget = {"trials": 1, "silent_minutes": 0.05}
    _, ledger = sweep_of(fixed={"sleep": 0.3}, budget=budget)
    assert paused
    assert [t.state for t in ledger.read_trials()] == [TrialState.COMPLETE]


def test_a_limit_of_null_reaches_the_workers(write_sweep, tmp_path):
    loaded = load_sweep(write_sweep(budget={"trials": 1, "silent_minutes": None}))
    folder = RunFolder(tmp_path / "run")
    folder.claim(loaded)
    folder.keep_sweep(loaded)
    assert folder.load_sweep().sweep.budget.silent_minutes is None


def test_a_trial_that_eats_the_memory_is_killed_by_the_system_and_the_sweep_goes_on(
    write_sweep, tmp_path, little_memory
):
    path = write_sweep(
        space={"mode": {"choice": ["eats", "well"]}} | RATE, budget={"trials": 2, "parallel": 1},
        search={"sampler": "grid"},
    )  # fmt: skip
    process = start(path, tmp_path / "run", group=little_memory)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "was killed from outside (often the system's answer to memory running out)" in said
    by_mode = {
        t.params["mode"]: t for t in Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    }
    assert by_mode["well"].state == TrialState.COMPLETE
    assert by_mode["eats"].state == TrialState.FAIL
    assert by_mode["eats"].user_attrs["kills"] == 3


def test_a_trial_killed_from_outside_goes_on_twice_and_then_has_failed(sweep_of):
    _, ledger = sweep_of(
        space={"mode": {"choice": ["well", "killed"]}} | RATE, budget={"trials": 2, "parallel": 1},
        search={"sampler": "grid"},
    )  # fmt: skip
    (killed,) = [t for t in ledger.read_trials() if t.params["mode"] == "killed"]
    assert killed.user_attrs["kills"] == 3
    assert "memory running out" in killed.user_attrs["failure"]


def test_a_child_in_a_session_of_its_own_does_not_outlive_its_trial(sweep_of):
    before = {*psutil.pids()}
    _, ledger = sweep_of(fixed={"mode": "daemon"}, budget={"trials": 1})
    (trial,) = ledger.read_trials()
    assert trial.state == TrialState.COMPLETE
    deadline = time.monotonic() + 60  # of its own it ends in 601 s
    while [
        p for p in psutil.process_iter(["cmdline"])
        if p.pid not in before and p.info["cmdline"] == ["sleep", "601"]
    ]:  # fmt: skip
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_flood_of_output_fills_neither_disk_nor_memory(sweep_of, tmp_path, monkeypatch):
    monkeypatch.setattr("tuner.processes.LOG_LIMIT", 100_000)
    _, ledger = sweep_of(fixed={"mode": "flood"}, budget={"trials": 1})
    (trial,) = ledger.read_trials()
    assert trial.state == TrialState.COMPLETE
    assert len(trial.user_attrs["evaluations"]) == 4
    assert "cut off" in trial.user_attrs["log_fault"]
    assert (tmp_path / "run/trials/0000/stdout.log").stat().st_size < 110_000


def test_of_a_progress_bar_its_last_state_is_kept(sweep_of):
    with pytest.raises(SweepFailed) as caught:
        sweep_of(fixed={"mode": "fails beside a bar"}, budget={"trials": 5})
    assert "no such thing no such thing" in str(caught.value)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("text", "lines"),
    [(b"a\r\nb\r\n", ["a", "b"]), (b"1 %\r2 %\r3 %\nok\n", ["3 %", "ok"]), (b"\r1\r\r\n", ["1"])],
)  # fmt: skip
def test_a_carriage_return_begins_a_line_anew_where_more_follows(text, lines, chunk):
    cut = _Lines(overwrites=True)
    found = [line for at in range(0, len(text), chunk) for line in cut.feed(text[at : at + chunk])]
    assert found == lines


def test_an_infinite_score_is_a_failure_and_not_the_winner(sweep_of):
    _, ledger = sweep_of(
        space={"mode": {"choice": ["well", "infinite"]}} | RATE, budget={"trials": 2},
        search={"sampler": "grid"},
    )  # fmt: skip
    (failed,) = [t for t in ledger.read_trials() if t.state == TrialState.FAIL]
    assert failed.user_attrs["failure"] == "score is inf, not a finite number"


def test_numbers_and_depths_that_nobody_expects_cost_one_trial_at_most(
    write_sweep, tmp_path, tuner
):
    path = write_sweep(
        space={"mode": {"choice": ["well", "huge", "nests"]}} | RATE, budget={"trials": 3},
        search={"sampler": "grid"},
    )  # fmt: skip
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    by_mode = {
        t.params["mode"]: t for t in Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    }
    assert by_mode["huge"].user_attrs["failure"] == "score is inf, not a finite number"
    assert by_mode["nests"].state == TrialState.COMPLETE
    assert by_mode["nests"].user_attrs["metrics"] == {"score": by_mode["nests"].value}
    assert (tmp_path / "run/report.html").is_file()


def test_a_clock_that_is_set_back_moves_nothing(sweep_of, monkeypatch):
    """Hours, silence and who is gone are counted by clocks that nobody sets."""
    began = time.time()
    steps = iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: began - 3600 * next(steps))
    outcome, ledger = sweep_of(budget={"trials": 3, "parallel": 2, "hours": 1})
    assert outcome is Outcome.FINISHED
    assert all(t.user_attrs["wall_seconds"] > 0 for t in ledger.read_trials())
    assert 0 < ledger.study.user_attrs["elapsed_seconds"] < 60


def test_secrets_reach_neither_log_nor_ledger_nor_report(write_sweep, tmp_path, tuner, monkeypatch):
    monkeypatch.setenv("HUB_TOKEN", "hf-very-secret-word")
    path = write_sweep(
        space={"mode": {"choice": ["well", "tells"]}} | RATE, budget={"trials": 2},
        search={"sampler": "grid"},
    )  # fmt: skip
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "the token is ***" in done.stdout
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            assert b"very-secret" not in file.read_bytes(), file


SECRETS = ["four-word-long-secret", "a-line-of-a-key", "another-line-of-it", "in-an-address"]


@pytest.mark.parametrize("size", [1, 3, 20, 1000])
def test_secrets_are_hidden_wherever_the_output_is_cut(size):
    environment = {
        "PGPASSWORD": SECRETS[0], "TLS_PRIVATE_KEY": f"{SECRETS[1]}\n{SECRETS[2]}\nshort\n",
        "DATABASE_URL": f"postgresql://me:{SECRETS[3]}@db/x", "PWD": "/home/somebody", "LANG": "C" * 9,
    }  # fmt: skip
    masker = Masker(secrets_in(environment))
    said = f"{' and '.join(SECRETS)}\n{SECRETS[0]}{SECRETS[0]} in /home/somebody {SECRETS[1]}"
    data = said.encode()
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    shown = b"".join(masker.feed(chunk) for chunk in chunks) + masker.rest()
    assert shown == b"*** and *** and *** and ***\n****** in /home/somebody ***"


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_secret_that_another_begins_with_is_hidden_whole(cut):
    masker = Masker([b"ABCDEFGH", b"ABCDEFGHIJKLMNOP"])
    said = b"ABCDEFGHIJKLMNOP and ABCDEFGH"
    assert masker.feed(said[:cut]) + masker.feed(said[cut:]) + masker.rest() == b"*** and ***"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MYSQL_PWD", "APIKEY", "WANDB_API_KEY", "PGPASSWORD"],
)
def test_variables_that_are_named_like_secrets_are_known(name):
    assert secrets_in({name: "a-long-word"}) == [b"a-long-word"]


def test_the_command_to_go_on_shows_no_password():
    words = retype(Path("s.yaml"), ["storage=postgresql://me:hidden@db/x"], None)
    assert words == "s.yaml --set 'storage=postgresql://me:***@db/x'"


def test_nobody_else_can_read_the_trials(sweep_of, tmp_path):
    before = os.umask(0o022)
    try:
        sweep_of(budget={"trials": 1})
    finally:
        os.umask(before)
    for folder in ("run/trials", "run/trials/0000"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_trial_that_saves_in_silence_is_not_taken_to_hang(write_sweep, tmp_path):
    """For longer than a script may be silent while it trains."""
    fixed = {"sleep": 0.3, "evaluations": 20, "mode": "saves"}
    path = write_sweep(fixed=fixed, budget={"trials": 1, "silent_minutes": 0.05})
    process = start(path, tmp_path / "run")
    until(process, "5%")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    (trial,) = Ledger.load(f"sqlite:///{tmp_path}/run/study.db").in_flight()
    assert "failure" not in trial.user_attrs


def test_what_a_ledger_says_to_run_is_not_run(write_sweep, tmp_path, tuner):
    """Somebody with access to the database changes the arguments of a trial that is to go on."""
    path = write_sweep(fixed={"sleep": 0.25, "evaluations": 20}, budget={"trials": 1})
    process = start(path, tmp_path / "run")
    until(process, "5%")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    (trial,) = ledger.in_flight()
    harm = ["--rate", "0.5", "; touch harm", "../../harm"]
    ledger.study._storage.set_trial_user_attr(trial._trial_id, "arguments", harm)
    ledger.set("script", "/bin/false")
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    (trial,) = Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == pytest.approx(-0.2)  # rate 1e-4, depth 2: what the parameters say


def test_a_second_signal_ends_at_once_and_says_so(write_sweep, tmp_path):
    path = write_sweep(fixed={"sleep": 15.0, "mode": "deaf"}, budget={"trials": 2, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "started")
    until_deaf(tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    until(process, "waiting for 1 running trial(s) to save")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while processes_of(str(tmp_path / "run/trials/0000/checkpoint")):
        assert time.monotonic() - began < 25, "neither the trial's minute nor the 30 s to save"
        time.sleep(0.1)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143


def test_ctrl_c_is_heard_while_another_worker_has_the_turn(write_sweep, tmp_path):
    path = write_sweep(budget={"trials": 2, "parallel": 1})
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/study.db.turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        process = start(path, tmp_path / "run")
        until(process, "to search")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "trial   0" not in said


def test_what_a_dead_tuner_left_running_is_ended_also_at_a_cap(write_sweep, tmp_path, tuner):
    path = write_sweep(fixed={"sleep": 60.0, "mode": "deaf"}, budget={"trials": 1, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "started")
    until_deaf(tmp_path / "run")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    place = str(tmp_path / "run/trials/0000/checkpoint")
    assert processes_of(place)
    done = tuner("run", path, "--out", tmp_path / "run", "--set", "budget.hours=0.000001")
    assert "trial 0 still runs without its tuner; it is ended first" in done.stdout, done.stderr
    assert processes_of(place) == []
    # With time, it is waited for without being deaf oneself.
    process = start(path, tmp_path / "run")
    until(process, "started")
    until_deaf(tmp_path / "run", times=2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    again = start(path, tmp_path / "run")
    until(again, "it is ended first")
    began = time.monotonic()
    while processes_of(place):
        assert time.monotonic() - began < 25, "the trial alone would have 30 s to save"
        if again.poll() is None:
            again.send_signal(signal.SIGINT)
        time.sleep(0.3)
    again.communicate(timeout=PATIENCE)
    assert again.returncode == 130


def test_a_trial_that_was_made_by_a_call_whose_answer_was_lost_is_run(sweep_of, monkeypatch):
    start_at, lost = Ledger.start_at, []

    def losing(self, *args, **options):
        trial = start_at(self, *args, **options)
        if trial.number == 1 and not lost:
            lost.append(trial)
            raise LedgerAway("the answer is lost")
        return trial

    monkeypatch.setattr(Ledger, "start_at", losing)
    outcome, ledger = sweep_of(budget={"trials": 3, "parallel": 2})
    assert outcome is Outcome.FINISHED
    assert lost
    assert [t.state for t in ledger.read_trials()] == [TrialState.COMPLETE] * 3


def test_two_run_folders_on_one_database_file_run_each_trial_once(write_sweep, tmp_path):
    path = write_sweep(
        storage="sqlite:///shared.db", fixed={"sleep": 0.1}, budget={"trials": 8, "parallel": 2},
        search={"pruner": "none"},
    )  # fmt: skip
    both = [start(path, tmp_path / name) for name in ("one", "two")]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trials = Ledger.load(f"sqlite:///{tmp_path}/shared.db").read_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8


def test_a_second_run_is_refused_with_the_way_to_help(write_sweep, tmp_path, tuner):
    path = write_sweep(fixed={"sleep": 1.0}, budget={"trials": 5, "parallel": 1})
    process = start(path, tmp_path / "run")
    until(process, "25%")
    second = tuner("run", path, "--out", tmp_path / "run")
    assert second.returncode == 2
    assert f"is being run by process {process.pid}" in second.stderr
    assert "tuner worker" in second.stderr
    helper = tuner("worker", tmp_path / "run")
    assert helper.returncode == 0, helper.stderr
    process.communicate(timeout=PATIENCE)
    trials = Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 5
    assert len({t.user_attrs["worker"] for t in trials}) == 2


def test_stop_ends_every_worker_of_this_machine(write_sweep, tmp_path, tuner):
    path = write_sweep(fixed={"sleep": 0.5}, budget={"trials": 50, "parallel": 1})
    first = start(path, tmp_path / "run")
    until(first, "25%")
    helper = subprocess.Popen(
        [sys.executable, "-m", "tuner.cli", "worker", str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(helper, "25%")
    stopped = tuner("stop", tmp_path / "run")
    assert stopped.returncode == 0, stopped.stderr
    assert str(first.pid) in stopped.stdout
    assert str(helper.pid) in stopped.stdout
    for process in (first, helper):
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE)
        assert process.returncode == 143
    assert json.loads((tmp_path / "run/report.json").read_text())


def test_a_signal_that_comes_while_the_database_is_asked_is_heard(sweep_of, monkeypatch):
    """`tuner stop` is looked for in the ledger, which says no, and just then Ctrl-C comes."""

    def asks_and_is_interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        return False

    monkeypatch.setattr(Workers, "beat", lambda self: True)
    monkeypatch.setattr(Workers, "stop_asked", asks_and_is_interrupted)
    outcome, _ = sweep_of(fixed={"sleep": 0.2}, budget={"trials": 2})
    assert outcome is Outcome.STOPPED


def test_a_trial_that_others_have_ended_meanwhile_is_left_to_them(sweep_of, monkeypatch):
    """As after a laptop's sleep: the trial's words come before the look at who has it."""
    take_in = local_backend._LocalRun._take_in

    def late(self, running):
        if running.trial.number == 0:
            self.ledger.study.tell(running.trial.number, 0.5)
        take_in(self, running)

    monkeypatch.setattr(local_backend._LocalRun, "_take_in", late)
    outcome, ledger = sweep_of(fixed={"sleep": 0.2}, budget={"trials": 2, "parallel": 1})
    assert outcome is Outcome.FINISHED
    assert [t.state for t in ledger.read_trials()] == [TrialState.COMPLETE] * 2
    assert ledger.read_trials()[0].value == 0.5


@pytest.mark.parametrize("elsewhere", ["this configuration cannot work", "another"])
def test_a_broken_machine_does_not_use_up_what_others_could_run(write_sweep, tmp_path, elsewhere):
    """Five failures with the same words here; there is a success elsewhere, and a failure."""
    loaded = load_sweep(write_sweep(fixed={"mode": "fails"}, budget={"trials": 9, "parallel": 1}))
    folder = RunFolder(tmp_path / "run")
    folder.claim(loaded)
    ledger = Ledger.create(folder.ledger_url(), loaded.sweep.name, loaded.direction)
    done = {"purpose": "search", "arguments": [], "worker": "another"}
    for words, state in (({}, TrialState.COMPLETE), ({"failure": elsewhere}, TrialState.FAIL)):
        trial = ledger.start_at({}, {}, done)
        ledger.finish(trial, 1.0, state, words | {"outcome": "failed" if words else "finished"})
    backend = LocalBackend(loaded)
    if elsewhere == "another":
        with pytest.raises(SweepFailed, match="5 trials failed here with the same words"):
            backend.run(ledger, folder, PlainView())
        assert len(ledger.read_trials()) == 7
    else:  # it is the configurations, and how many of them fail is a result
        assert backend.run(ledger, folder, PlainView()) is Outcome.FINISHED
        assert len(ledger.read_trials()) == 9
