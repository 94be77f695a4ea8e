"""A sweep's schedule in AWS itself: EventBridge starts the tuning job, and nothing of ours has to run.

The payload is the very request that `tuner run` sends, but for the job's name: its end is the number that
EventBridge gives each firing, so that no two slots ask for the same job.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tuner.aws import jobs, request
from tuner.aws.session import Aws, AwsError, code_of, speaking
from tuner.errors import TunerError
from tuner.points import Points
from tuner.sweep import LoadedSweep
from tuner.sweep_file import Schedule

TARGET = "arn:{partition}:scheduler:::aws-sdk:sagemaker:createHyperParameterTuningJob"
FIRING = "<aws.scheduler.execution-id>"
FIRING_LENGTH = 16
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
LATEST_SECONDS = 3600
"""A firing that EventBridge could not deliver for so long goes to the dead letters"""


def expression(schedule: Schedule) -> str:
    """The schedule in EventBridge's form; TunerError for one that has none there.

    EventBridge counts days of the week from Sunday = 1, wants `?` for the day that is not meant, and
    cannot mean both.
    """
    minute, hour, day, month, weekday = schedule.cron.split()
    if day != "*" and weekday != "*":
        raise TunerError(
            f"schedule.cron {schedule.cron!r} names a day of the month and one of the week; EventBridge "
            "takes one of them"
        )
    if "#" in weekday or "L" in day.upper() + weekday.upper():
        raise TunerError(
            f"schedule.cron {schedule.cron!r}: `L` and `#` mean something else in EventBridge"
        )
    if weekday == "*":
        weekday = "?"
    else:
        day = "?"
        weekday = re.sub(r"(?<!/)\b[0-7]\b", lambda found: DAYS[int(found.group())], weekday)
    return f"cron({minute} {hour} {day} {month} {weekday} *)"


def name_of(loaded: LoadedSweep) -> str:
    """The schedule's name, which is the sweep's; of a long one its beginning and a digest."""
    return f"tuner-{loaded.short_name(58)}"


def stem_of(loaded: LoadedSweep) -> str:
    """What the names of its tuning jobs begin with; no job of `tuner run` or another sweep does."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", loaded.sweep.name).strip("-")[:9].strip("-") or "sweep"
    digest = hashlib.sha256(loaded.sweep.name.encode()).hexdigest()[:4]
    return f"{words}-{digest}s"  # with the firing's number 32 characters, AMT's limit


def schedule_request(
    loaded: LoadedSweep, place: request.Place, points: Points, role: str, dead_letters: str
) -> dict[str, Any]:
    """The CreateSchedule (and UpdateSchedule) request of a sweep that has a `schedule:`."""
    schedule = loaded.sweep.schedule
    assert schedule is not None
    is_grid = request.plan_of(loaded, 1).strategy == "Grid"
    trials = points.space.grid_size() if is_grid else points.search_total()
    payload = request.tuning_request(
        loaded, place, f"{stem_of(loaded)}-{FIRING}", trials, request.longest_seconds(loaded)
    )
    window: dict[str, Any] = {"Mode": "OFF"}
    if minutes := round(schedule.jitter_minutes):
        window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes}
    return {
        "Name": name_of(loaded),
        "Description": f"tuner: sweep {loaded.sweep.name}",
        "ScheduleExpression": expression(schedule),
        "ScheduleExpressionTimezone": schedule.timezone,
        "FlexibleTimeWindow": window,
        "State": "ENABLED",
        "Target": {
            "Arn": TARGET.format(partition=_partition(role)),
            "RoleArn": role,
            "Input": json.dumps(payload),
            # A second try would be a second tuning job where only the answer was lost.
            "RetryPolicy": {
                "MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": LATEST_SECONDS
            },
            "DeadLetterConfig": {"Arn": dead_letters},
        },
    }  # fmt: skip


def _partition(arn: str) -> str:
    """`aws`, or that of China or of a government: those of one account are in one."""
    return arn.split(":")[1]


def policies(
    loaded: LoadedSweep, aws_region: str, account: str, training_role: str, dead_letters: str
) -> dict[str, Any]:
    """What the schedule's role needs and no more: its permissions, and who may take it."""
    job = f"arn:{_partition(training_role)}:sagemaker:{aws_region}:{account}:hyper-parameter-tuning-job/{stem_of(loaded)}-*"
    actions = ["sagemaker:CreateHyperParameterTuningJob"]
    if loaded.sweep.sagemaker.tags:
        actions.append("sagemaker:AddTags")
    statements = [
        {"Effect": "Allow", "Action": actions, "Resource": job},
        {
            "Effect": "Allow", "Action": "iam:PassRole", "Resource": training_role,
            "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": dead_letters},
    ]  # fmt: skip
    trust = {
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }  # fmt: skip
    return {
        "permissions": {"Version": "2012-10-17", "Statement": statements},
        "trust": {"Version": "2012-10-17", "Statement": [trust]},
    }


def put(aws: Aws, asked: Mapping[str, Any]) -> bool:
    """Creates the schedule, or changes it to this; whether it is new."""
    try:
        with speaking("scheduler:CreateSchedule"):
            aws.scheduler.create_schedule(**asked)
        return True
    except AwsError as exc:
        if code_of(exc) != "ConflictException":
            raise
    with speaking("scheduler:UpdateSchedule"):
        aws.scheduler.update_schedule(**asked)
    return False


def read(aws: Aws, name: str) -> dict[str, Any] | None:
    """The schedule as AWS has it; None where there is none."""
    try:
        with speaking("scheduler:GetSchedule"):
            said: dict[str, Any] = aws.scheduler.get_schedule(Name=name)
            return said
    except AwsError as exc:
        if code_of(exc) == "ResourceNotFoundException":
            return None
        raise


def remove(aws: Aws, name: str) -> bool:
    """Removes the schedule; False where there was none. Tuning jobs that it started go on."""
    try:
        with speaking("scheduler:DeleteSchedule"):
            aws.scheduler.delete_schedule(Name=name)
        return True
    except AwsError as exc:
        if code_of(exc) == "ResourceNotFoundException":
            return False
        raise


def finished_jobs(aws: Aws, loaded: LoadedSweep) -> Iterator[tuple[str, datetime]]:
    """The tuning jobs that the schedule started and that are over, oldest first, with their start."""
    stem = stem_of(loaded)
    whole = re.compile(rf"{re.escape(stem)}-[A-Za-z0-9]{{1,{FIRING_LENGTH}}}")
    with speaking("sagemaker:ListHyperParameterTuningJobs"):
        pages = aws.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs")
        for page in pages.paginate(
            NameContains=f"{stem}-", SortBy="CreationTime", SortOrder="Ascending", MaxResults=100
        ):
            for found in page["HyperParameterTuningJobSummaries"]:
                name = str(found["HyperParameterTuningJobName"])
                over = found["HyperParameterTuningJobStatus"] in jobs.TUNING_TERMINAL
                if over and whole.fullmatch(name):
                    yield name, found["CreationTime"]
