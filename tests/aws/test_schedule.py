"""A schedule in AWS: its request, its role, its slots brought in. The emulator fires it."""

import json
from datetime import UTC, datetime

import optuna
import pytest

from tests import PATIENCE
from tuner.aws import events, request
from tuner.cli_slots import book_of, name_of
from tuner.errors import TunerError
from tuner.ledger import Ledger
from tuner.points import Points
from tuner.schedule.book import FAILED
from tuner.sweep import load_sweep
from tuner.sweep_file import Schedule

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:late"
SCHEDULER = "arn:aws:iam::123456789012:role/scheduler"
NO_DEFAULT = {"start_with_default": False}


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 6 * * MON", "cron(0 6 ? * MON *)"),
        ("0 6 * * 1-5", "cron(0 6 ? * MON-FRI *)"),
        ("*/15 6,18 * * 0,6", "cron(*/15 6,18 ? * SUN,SAT *)"),
        ("30 2 1 */3 *", "cron(30 2 1 */3 ? *)"),
        ("0 0 * * *", "cron(0 0 * * ? *)"),
    ],
)
def test_the_expression_means_the_same_in_eventbridge(cron, expected):
    assert events.expression(Schedule(cron=cron)) == expected


@pytest.mark.parametrize("cron", ["0 6 1 * MON", "0 6 * * MON#2", "0 6 L * *"])
def test_what_eventbridge_cannot_mean_is_said(cron):
    with pytest.raises(TunerError, match="EventBridge"):
        events.expression(Schedule(cron=cron))


def test_names_are_of_this_sweeps_schedule_alone(aws_sweep):
    stems = {
        events.stem_of(load_sweep(aws_sweep(name=name)))
        for name in ("weekly", "weekly-2", "weekly.2", "a" * 60, "a" * 59, "_".join("abc"))
    }
    assert len(stems) == 6
    assert all(len(stem) + 1 + events.FIRING_LENGTH <= 32 for stem in stems)
    long = [load_sweep(aws_sweep(name="a" * 62 + last)) for last in "bc"]
    assert len({events.name_of(loaded) for loaded in long}) == 2
    assert all(len(events.name_of(loaded)) == 64 for loaded in long)
    slot = datetime(2026, 11, 22, 6, tzinfo=UTC)
    assert len({name_of(loaded, slot) for loaded in long}) == 2


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [({}, None), ({"hours": 2.0}, 7200), ({"usd": 4.0}, 3600), ({"usd": 4.0, "hours": 0.5}, 1800)],
)
def test_a_slot_that_nobody_follows_is_kept_to_its_budget_by_aws(aws_sweep, tuner, budget, seconds):
    path = aws_sweep(
        name="weekly", search=NO_DEFAULT, budget={"trials": 8, "parallel": 2} | budget,
        schedule={"cron": "0 6 * * MON"}, prices={"ml.g4dn.xlarge": 2.0},
    )  # fmt: skip
    loaded = load_sweep(path)
    place = request.Place(
        "cn-north-1", "arn:aws-cn:iam::1:role/t", "bucket", "image", "s3://b/c", "x.py", {}
    )
    role = SCHEDULER.replace("arn:aws:", "arn:aws-cn:")
    asked = events.schedule_request(
        loaded, place, Points(loaded, Ledger(optuna.create_study())), role, QUEUE
    )
    limits = json.loads(asked["Target"]["Input"])["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits.get("MaxRuntimeInSeconds") == seconds
    planned = tuner("plan", path).stdout
    assert (f'"MaxRuntimeInSeconds": {seconds}' in planned) is (seconds is not None), planned
    assert asked["Target"]["Arn"].startswith("arn:aws-cn:scheduler:::")


def test_a_schedule_is_made_shown_changed_fired_brought_in_and_removed(
    aws_sweep, emulator, tuner, tmp_path
):
    def sweep(cron="0 6 * * MON", trials=2):
        return aws_sweep(
            name="weekly", search=NO_DEFAULT, budget={"trials": trials, "parallel": 2},
            schedule={"cron": cron, "timezone": "Europe/Berlin", "jitter_minutes": 10},
        )  # fmt: skip

    words = ["--dead-letters", QUEUE]
    printed = tuner("schedule", "aws", sweep(), "--policy", *words)
    assert printed.returncode == 0, printed.stderr
    policy = json.loads(printed.stdout)
    create, role, queue = policy["permissions"]["Statement"]
    assert create["Action"] == ["sagemaker:CreateHyperParameterTuningJob"]
    assert create["Resource"].endswith(":hyper-parameter-tuning-job/weekly-8850s-*")
    assert role["Resource"] == "arn:aws:iam::123456789012:role/tuner"
    assert queue == {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE}
    assert "*" not in json.dumps(policy).replace("weekly-8850s-*", "")
    missing = tuner("schedule", "aws", sweep(), *words)
    assert "--role is missing" in missing.stderr
    assert tuner("schedule", "aws", sweep(), "--show").returncode == 2
    assert emulator.count("CreateHyperParameterTuningJob") == 0

    made = tuner("schedule", "aws", sweep("0 5 * * SUN", 1), "--role", SCHEDULER, *words)
    assert made.returncode == 0, made.stderr
    assert (
        "schedule tuner-weekly created in eu-west-1: cron(0 5 ? * SUN *) Europe/Berlin"
        in made.stdout
    )
    changed = tuner("schedule", "aws", path := sweep(), "--role", SCHEDULER, *words)
    assert "changed in eu-west-1: cron(0 6 ? * MON *)" in changed.stdout
    shown = tuner("schedule", "aws", path, "--show")
    assert '"MaxNumberOfTrainingJobs": 2' in shown.stdout
    target = emulator.client("scheduler").get_schedule(Name="tuner-weekly")
    assert target["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert target["Target"]["DeadLetterConfig"]["Arn"] == QUEUE
    assert target["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}

    none = tuner("import", "amt", "--scheduled", path)
    assert none.stdout.startswith("0 tuning jobs added")
    numbers = []
    for _ in range(2):
        numbers.append(emulator.fire("tuner-weekly"))
        job = emulator.service.tuning[f"weekly-8850s-{numbers[-1]}"]
        job.join(timeout=PATIENCE)
        job.created -= 60 * (2 - len(numbers))  # a slot is a minute, and these are seconds apart
    brought = tuner("import", "amt", "--scheduled", path)
    assert brought.returncode == 0, brought.stderr
    assert "2 tuning jobs added" in brought.stdout
    slots = sorted((tmp_path / "runs/weekly-slots").glob("2*Z"))
    assert len(slots) == 2
    for slot in slots:
        ledger = Ledger.load(f"sqlite:///{slot}/study.db")
        assert [t.state.name for t in ledger.read_trials()] == ["COMPLETE"] * 2
        ledger.close()
    said = json.loads((slots[1] / "summary.json").read_text())
    assert said["verdict"] in ("same", "cannot tell")
    assert tuner("import", "amt", "--scheduled", path).stdout.startswith("0 tuning jobs added")

    failing = aws_sweep(
        name="weekly", fixed={"mode": "fails"}, search=NO_DEFAULT, budget={"trials": 2, "parallel": 2},
        schedule={"cron": "0 6 * * MON", "timezone": "Europe/Berlin"},
    )  # fmt: skip
    assert tuner("schedule", "aws", failing, "--role", SCHEDULER, *words).returncode == 0
    job = emulator.service.tuning[f"weekly-8850s-{emulator.fire('tuner-weekly')}"]
    job.join(timeout=PATIENCE)
    job.created += 60
    assert "1 tuning jobs added" in tuner("import", "amt", "--scheduled", failing).stdout
    last = book_of(load_sweep(failing)).entries()[-1]
    assert last.state == FAILED
    assert "error" in last.said

    removed = tuner("schedule", "aws", path, "--remove")
    assert "schedule tuner-weekly removed" in removed.stdout
    assert "was not there" in tuner("schedule", "aws", path, "--remove").stdout


def test_a_sweep_without_a_schedule_is_told_so(aws_sweep, tuner):
    done = tuner("schedule", "aws", aws_sweep(), "--show")
    assert done.returncode == 2
    assert "has no `schedule:`; add one" in done.stderr
    assert "name a tuning job, or a sweep file" in tuner("import", "amt").stderr
