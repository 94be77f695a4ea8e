"""What a training job's description and log mean for its trial."""

import time
from datetime import UTC, datetime

import pytest

from tuner.aws.jobs import (
    TrainingJob,
    ending_of,
    facts_of,
    is_whole,
    objective_of,
    read_log,
    read_output,
    was_stopped_with,
)
from tuner.aws.session import connect
from tuner.sagemaker_block import SageMakerBlock

GROUP = "/aws/sagemaker/TrainingJobs"
WHOLE = ['{"fraction": 0.5, "score": 0.5}', '{"final": true, "score": 0.9}']


def job(status="Completed", metrics=None, ended=1000.0, **more):
    """A training job of this state."""
    facts = {
        "name": "job", "status": status, "secondary": status, "hyperparameters": {}, "failure": "",
        "started": None, "ended": datetime.fromtimestamp(ended, UTC), "wall_seconds": 60.0,
        "billable_seconds": 1800.0, "instance_type": "ml.g4dn.xlarge", "instance_count": 2,
        "metrics": metrics or {}, "model": "", "arn": "",
    }  # fmt: skip
    return TrainingJob(**facts | more)


@pytest.mark.parametrize(
    ("lines", "metrics", "whole", "value"),
    [
        (WHOLE, {"score": 0.5}, True, 0.9),  # the log is ahead of the metrics
        (WHOLE[:1], {}, False, 0.5),  # cut, and nothing to hold it against
        (WHOLE[:1], {"score": 0.9}, False, 0.9),  # cut, and AWS knows better
        (['{"score": 0.123456789}'], {"score": 0.12345679}, True, 0.123456789),
        ([], {"score": 0.7}, False, 0.7),
        (['{"final": true, "score": NaN}'], {"score": 0.7}, True, None),
    ],
)
def test_the_whole_log_decides_and_else_aws(lines, metrics, whole, value):
    output = read_output("score", lines)
    assert is_whole(job(metrics=metrics), output, lines, "score") is whole
    assert objective_of(job(metrics=metrics), output, lines, "score") == value


def test_log_of_a_job_that_was_started_again_is_read_whole(emulator):
    logs = emulator.client("logs")
    for stream, line in (("job/algo-1-2", WHOLE[1]), ("job/algo-1-1", WHOLE[0]),
                         ("job/algo-2-1", "noise"), ("job-2/algo-1-1", "another job")):  # fmt: skip
        logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        events = [{"timestamp": round(time.time() * 1000), "message": line}]
        logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
    assert read_log(connect(), "job") == (f"{GROUP}/job/algo-1-2", WHOLE)


@pytest.mark.parametrize(
    ("begun", "after_its_end", "with_it"),
    [
        (6, -1.0, True),  # criteria ended it with four to go, and what ran with it
        (6, -600.0, False),  # hopeless, long before
        (10, -1.0, False),  # hopeless, and the last one
    ],
)
def test_what_ran_when_the_completion_criteria_were_met_was_not_hopeless(
    begun, after_its_end, with_it
):
    said = {
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningEndTime": datetime.fromtimestamp(2000.0, UTC),
        "TrainingJobStatusCounters": {"Completed": begun - 1, "Stopped": 1},
        "HyperParameterTuningJobConfig": {
            "TrainingJobEarlyStoppingType": "Auto", "ResourceLimits": {"MaxNumberOfTrainingJobs": 10},
        },
    }  # fmt: skip
    assert was_stopped_with(said, job("Stopped", ended=2000.0 + after_its_end), None) is with_it


@pytest.mark.parametrize(
    ("early_stopping", "status", "asked", "with_it"),
    [
        ("Auto", "InProgress", None, False),
        ("Auto", "Completed", None, False),
        ("Off", "Completed", None, True),  # its completion criteria ended it
        ("Auto", "Stopped", None, True),
        ("Auto", "Stopped", 1500.0, False),  # it had ended before a person asked
        ("Auto", "Stopped", 500.0, True),
    ],
)
def test_hopeless_and_stopped_jobs_are_told_apart(early_stopping, status, asked, with_it):
    said = {
        "HyperParameterTuningJobStatus": status,
        "HyperParameterTuningJobConfig": {"TrainingJobEarlyStoppingType": early_stopping},
    }
    assert was_stopped_with(said, job("Stopped"), asked) is with_it
    ending = ending_of(job("Stopped"), 0.5, stopped_by_us=with_it, lines=[], metric="score")
    assert ending.outcome == ("interrupted" if with_it else "pruned")


def test_a_job_that_was_stopped_after_its_last_word_has_finished():
    """As Hyperband stops a job at its last epoch; one whose score is no number has not."""
    for with_it in (True, False):
        facts = {"stopped_by_us": with_it, "lines": [], "metric": "score", "said_its_end": True}
        assert ending_of(job("Stopped"), 0.5, **facts).outcome == "finished"
        assert ending_of(job("Stopped"), None, **facts).outcome != "finished"


@pytest.mark.parametrize(
    ("block", "cost"),
    [
        ({"usd_per_hour": 0.8}, 0.8),
        ({}, None),
        ({"usd_per_hour": 0.8, "instance_type": ["ml.g5.xlarge", "ml.g4dn.xlarge"]}, None),
        ({"usd_per_hour": {"ml.g5.xlarge": 1.0, "ml.g4dn.xlarge": 0.6}}, 0.6),
    ],
)
def test_cost_is_that_of_the_instances_that_ran_or_unknown(block, cost):
    facts = facts_of(job(), SageMakerBlock(**block))  # half an hour on two machines
    assert facts.get("cost_usd") == cost
    assert facts["billable_seconds"] == 1800.0
