"""What AWS says of a training job, and what that means for a trial."""

import math
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from tuner.aws.session import Aws, AwsError, code_of, speaking
from tuner.errors import TunerError
from tuner.output import Ending, TrialOutput
from tuner.sagemaker_block import SageMakerBlock

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TERMINAL = ("Completed", "Failed", "Stopped")
TUNING_TERMINAL = ("Completed", "Failed", "Stopped", "DeleteFailed")
TAIL_LINES = 20
LONGEST_FAILURE = 500
SINGLE_PRECISION = 1e-5
CLOCK_SECONDS = 5.0
SECONDS_TO_STOP = 120.0
"""What AWS gives a job to end"""


@dataclass(frozen=True)
class TrainingJob:
    """One training job as DescribeTrainingJob tells it. Seconds are None where AWS has none yet."""

    name: str
    status: str
    secondary: str
    hyperparameters: dict[str, str]
    failure: str
    started: datetime | None
    ended: datetime | None
    wall_seconds: float | None
    billable_seconds: float | None
    instance_type: str
    instance_count: int
    metrics: dict[str, float]
    model: str
    arn: str

    @property
    def is_over(self) -> bool:
        """Whether nothing about it changes any more."""
        return self.status in TERMINAL


def read_job(aws: Aws, name: str) -> TrainingJob | None:
    """The training job of this name, None where there is none. One request."""
    try:
        with speaking("sagemaker:DescribeTrainingJob"):
            said = aws.sagemaker.describe_training_job(TrainingJobName=name)
    except AwsError as exc:
        if is_missing(exc):
            return None
        raise
    resources = said.get("ResourceConfig") or {}
    seconds = said.get("TrainingTimeInSeconds")
    started, ended = said.get("TrainingStartTime"), said.get("TrainingEndTime")
    if seconds is None and started and ended:
        seconds = (ended - started).total_seconds()
    return TrainingJob(
        name=name,
        status=said["TrainingJobStatus"],
        secondary=said.get("SecondaryStatus", ""),
        hyperparameters=dict(said.get("HyperParameters") or {}),
        failure=str(said.get("FailureReason") or ""),
        started=started or said.get("CreationTime"),
        ended=ended or said.get("LastModifiedTime"),
        wall_seconds=None if seconds is None else float(seconds),
        billable_seconds=said.get("BillableTimeInSeconds"),
        instance_type=str(resources.get("InstanceType", "")),
        instance_count=int(resources.get("InstanceCount", 1) or 1),
        metrics={m["MetricName"]: float(m["Value"]) for m in said.get("FinalMetricDataList") or []},
        model=str((said.get("ModelArtifacts") or {}).get("S3ModelArtifacts", "")),
        arn=str(said.get("TrainingJobArn", "")),
    )


def ended_by_its_time_limit(tuning_job: dict[str, Any]) -> bool:
    """Whether a tuning job that is over ran for as long as its request lets it."""
    limits = tuning_job["HyperParameterTuningJobConfig"]["ResourceLimits"]
    ended = tuning_job.get("HyperParameterTuningEndTime")
    if ended is None or "MaxRuntimeInSeconds" not in limits:
        return False
    seconds = (ended - tuning_job["CreationTime"]).total_seconds()
    return bool(seconds >= limits["MaxRuntimeInSeconds"])


def read_tuning_job(aws: Aws, name: str) -> dict[str, Any] | None:
    """AWS's description of a tuning job, None where there is none. One request."""
    try:
        with speaking("sagemaker:DescribeHyperParameterTuningJob"):
            said: dict[str, Any] = aws.sagemaker.describe_hyper_parameter_tuning_job(
                HyperParameterTuningJobName=name
            )
            return said
    except AwsError as exc:
        if is_missing(exc):
            return None
        raise


def is_missing(exc: AwsError) -> bool:
    """Whether AWS means that there is no job of this name. It says so in two ways."""
    code = code_of(exc)
    missing = "not found" in str(exc).lower() or "could not find" in str(exc).lower()
    return code in ("ResourceNotFound", "ResourceNotFoundException") or (
        code == "ValidationException" and missing
    )


def list_jobs(aws: Aws, tuning_job: str) -> Iterator[dict[str, Any]]:
    """The summaries of a tuning job's training jobs, oldest first; a request for each hundred."""
    with speaking("sagemaker:ListTrainingJobsForHyperParameterTuningJob"):
        pages = aws.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        for page in pages.paginate(
            HyperParameterTuningJobName=tuning_job,
            SortBy="CreationTime", SortOrder="Ascending", MaxResults=100,
        ):  # fmt: skip
            yield from page["TrainingJobSummaries"]


def read_log(aws: Aws, job: str) -> tuple[str, list[str]]:
    """The newest log stream of the job's first machine, and the lines of all of its streams.

    Empty where there are none yet.
    """
    lines: list[str] = []
    try:
        with speaking("logs:DescribeLogStreams"):
            found = aws.logs.describe_log_streams(
                logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/"
            )["logStreams"]
        if not found:
            return "", []
        # JOB/algo-1-… is the machine that evaluates; each start of it has a stream of its own.
        streams = sorted(s["logStreamName"] for s in found)
        first = [name for name in streams if name.startswith(f"{job}/algo-1-")] or streams[:1]
        with speaking("logs:GetLogEvents"):
            for stream in first:
                lines += _lines_of(aws, stream)
        return f"{LOG_GROUP}/{first[-1]}", lines
    except AwsError as exc:
        if is_missing(exc):
            return "", []
        raise


def _lines_of(aws: Aws, stream: str) -> Iterator[str]:
    token: dict[str, str] = {}
    while True:
        page = aws.logs.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, **token
        )
        for event in page["events"]:
            yield event["message"].rstrip("\n")
        if page["nextForwardToken"] == token.get("nextToken"):
            return
        token = {"nextToken": page["nextForwardToken"]}


def read_output(metric: str, lines: list[str]) -> TrialOutput:
    """What the lines say of the objective: read as the local backend reads a script's stdout."""
    output = TrialOutput(metric)
    for line in lines:
        output.take(line)
    return output


def ending_of(
    job: TrainingJob,
    value: float | None,
    *,
    stopped_by_us: bool,
    lines: Sequence[str],
    metric: str,
    said_its_end: bool = False,
) -> Ending:
    """How the trial ended.

    AMT's early stopping and a person's stop both leave `Stopped`; `stopped_by_us` tells them apart.
    A script that `said_its_end` came to it, whatever stopped it then: Hyperband stops jobs at their last epoch.
    """
    if job.status == "Completed" or (
        job.status == "Stopped" and said_its_end and value is not None
    ):
        if value is None:
            why = f'ended without printing a finite "{metric}"'
            return Ending("failed", TrialState.FAIL, why)
        return Ending("finished", TrialState.COMPLETE)
    if job.status == "Stopped":
        if job.secondary == "MaxRuntimeExceeded":
            return Ending("failed", TrialState.FAIL, "ran longer than sagemaker.max_hours")
        if job.secondary == "MaxWaitTimeExceeded":
            return Ending(
                "failed", TrialState.FAIL, "waited for spot capacity longer than max_wait_hours"
            )
        if stopped_by_us:
            return Ending("interrupted", TrialState.FAIL, "it was stopped with its tuning job")
        return Ending("pruned", TrialState.PRUNED)
    return Ending("failed", TrialState.FAIL, failure_of(job, lines))


def was_stopped_with(tuning_job: Mapping[str, Any], job: TrainingJob, asked: float | None) -> bool:
    """Whether a stopped training job ended with its tuning job, and not because it was hopeless.

    AMT stops hopeless jobs only under early stopping or Hyperband. `asked` is when a person asked
    for the stop (seconds since 1970), None where only AWS's console knows.
    """
    config = tuning_job.get("HyperParameterTuningJobConfig") or {}
    prunes = (
        config.get("TrainingJobEarlyStoppingType") == "Auto"
        or config.get("Strategy") == "Hyperband"
        or "Autotune" in tuning_job
    )
    if not prunes:
        return True
    status = tuning_job.get("HyperParameterTuningJobStatus")
    if status == "Completed" and _has_some_left(tuning_job):
        # Its completion criteria ended it, and with it what was running then.
        ended = tuning_job.get("HyperParameterTuningEndTime")
        if ended is None or job.ended is None:
            return False
        return bool(job.ended.timestamp() >= ended.timestamp() - SECONDS_TO_STOP)
    if status not in ("Stopping", "Stopped"):
        return False
    # AWS tells whole seconds, and clocks differ.
    return asked is None or job.ended is None or job.ended.timestamp() >= asked - CLOCK_SECONDS


def _has_some_left(tuning_job: Mapping[str, Any]) -> bool:
    """Whether it has begun fewer training jobs than it might have."""
    limits = (tuning_job.get("HyperParameterTuningJobConfig") or {}).get("ResourceLimits") or {}
    counters = tuning_job.get("TrainingJobStatusCounters") or {}
    return sum(map(int, counters.values())) < int(limits.get("MaxNumberOfTrainingJobs") or 0)


def failure_of(job: TrainingJob, lines: Sequence[str]) -> str:
    """Why it failed, in one line: the script's own last words, else what AWS says."""
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")[:LONGEST_FAILURE]
    reason = " ".join(job.failure.split())
    return reason[:LONGEST_FAILURE] or "failed, and AWS gives no reason"


def facts_of_trial(
    job: TrainingJob,
    block: SageMakerBlock,
    output: TrialOutput,
    ending: Ending,
    stream: str,
    lines: Sequence[str],
) -> dict[str, Any]:
    """All attributes that a finished training job gives its trial (docs/ledger.md)."""
    facts = facts_of(job, block) | {
        "outcome": ending.outcome,
        "evaluations": output.evaluations,
        "metrics": output.last_record or job.metrics,
    }
    if stream:
        facts["log"] = stream
    if ending.failure:
        facts |= {"failure": ending.failure, "stderr_tail": list(lines[-TAIL_LINES:])}
    if output.evaluations and output.fraction is None:
        facts["steps"] = "evaluations"
    return facts


def facts_of(job: TrainingJob, block: SageMakerBlock) -> dict[str, Any]:
    """The attributes that a trial on SageMaker has beside those of every trial."""
    usd_per_hour = block.price_of(job.instance_type)
    facts: dict[str, Any] = {
        "training_job": job.name,
        "instance": f"{job.instance_count} x {job.instance_type}" if job.instance_type else "",
        "model_uri": job.model,
    }
    if job.wall_seconds is not None:
        facts["wall_seconds"] = job.wall_seconds
    if job.billable_seconds is not None:
        facts["billable_seconds"] = float(job.billable_seconds)
        if usd_per_hour is not None:
            hours = job.billable_seconds * job.instance_count / 3600
            facts["cost_usd"] = round(hours * usd_per_hour, 6)
    return {key: value for key, value in facts.items() if value != ""}


def fetch_model(aws: Aws, uri: str, folder: Path) -> None:
    """Downloads a model.tar.gz and unpacks it; TunerError for one that is not what a job writes."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "model.tar.gz"
        with speaking("s3:GetObject"):
            aws.s3.download_file(bucket, key, str(packed))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(packed) as tar:
                tar.extractall(folder, filter="data")  # refuses paths that lead out of the folder
        except tarfile.TarError as exc:
            raise TunerError(f"{uri} cannot be unpacked: {exc}") from exc


def is_whole(job: TrainingJob, output: TrialOutput, lines: Sequence[str], metric: str) -> bool:
    """Whether all of the job's log has arrived, as far as one can tell.

    A script that says how far it is tells it; else AWS's last value does, which is the same number
    in single precision. Of a job that did not complete nobody knows what more there was to come.
    """
    if output.final is not None or output.fraction == 1:
        return True
    if job.status != "Completed":
        return bool(lines)
    theirs = job.metrics.get(metric)
    if output.value is None or theirs is None:
        return False
    return abs(output.value - theirs) <= SINGLE_PRECISION * max(1.0, abs(theirs))


def objective_of(
    job: TrainingJob, output: TrialOutput, lines: Sequence[str], metric: str
) -> float | None:
    """The script's own last value where its log is whole, else AWS's; None for one not finite."""
    theirs = job.metrics.get(metric)
    if is_whole(job, output, lines, metric) or theirs is None:
        return output.value if output.has_finite_value else None
    return theirs if math.isfinite(theirs) else None
