"""SageMaker's operations on tuning and training jobs, with their limits and their errors."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.emulator.container import Container
from tests.emulator.rules import violations

TERMINAL = ("Completed", "Failed", "Stopped")
ACCOUNT = "123456789012"
REGION = "eu-west-1"


class Refused(Exception):
    """An error as AWS answers it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


class TrainingJob(threading.Thread):
    """A training job that really runs; its attributes are what DescribeTrainingJob tells."""

    def __init__(
        self, service: "Service", request: dict[str, Any], tuning_job: str | None,
        tuned: dict[str, str],
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self.service, self.request, self.tuning_job, self.tuned = (
            service,
            request,
            tuning_job,
            tuned,
        )
        self.job_name: str = request["TrainingJobName"]
        self.status, self.secondary, self.failure = "InProgress", "Starting", ""
        self.created = time.time()
        self.started: float | None = None
        self.ended: float | None = None
        self.interruptions = 0
        self.asked_to_stop = ""
        self.container = Container(service.folder / self.job_name, request, service.client)

    def run(self) -> None:
        """Starting, Downloading, Training (again after each spot interruption), Uploading."""
        try:
            self.secondary = "Downloading"
            self.container.prepare()
            self.started = time.time()
            while True:
                self.secondary = "Training"
                if self.asked_to_stop:
                    break
                status = self.container.train(self._limit())
                if not self.container.interrupted:
                    break
                self.secondary = "Interrupted"
                self.interruptions += 1
                self.container.interrupted = False
            if self.asked_to_stop or self.container.timed_out:
                self._end("Stopped", self.asked_to_stop or "MaxRuntimeExceeded")
            elif status == 0:
                self.secondary = "Uploading"
                self.container.upload()
                self._end("Completed", "Completed")
            else:
                self.failure = self.container.failure_reason(status)
                self._end("Failed", "Failed")
        except Exception as exc:  # noqa: BLE001 - a fault of the emulator is a failed job, and seen
            self.failure = f"InternalServerError: {type(exc).__name__}: {exc}"
            self._end("Failed", "Failed")

    def _limit(self) -> float:
        return float(self.request["StoppingCondition"]["MaxRuntimeInSeconds"])

    def _end(self, status: str, secondary: str) -> None:
        self.container.flush_log()
        self.ended = time.time()
        self.secondary, self.status = secondary, status

    def stop(self, why: str = "Stopped") -> None:
        """SIGTERM, as StopTrainingJob sends it."""
        if self.status == "InProgress":
            self.asked_to_stop = why
            self.status = "Stopping"
            self.container.terminate()

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def objective(self) -> float | None:
        """The last value of the first metric."""
        definitions = self.request["AlgorithmSpecification"].get("MetricDefinitions") or []
        return self.container.metrics.get(definitions[0]["Name"]) if definitions else None

    def describe(self) -> dict[str, Any]:
        """DescribeTrainingJob's answer."""
        bucket = self.request["OutputDataConfig"]["S3OutputPath"]
        answer = {
            key: self.request[key]
            for key in (
                "TrainingJobName", "AlgorithmSpecification", "RoleArn", "InputDataConfig",
                "OutputDataConfig", "ResourceConfig", "StoppingCondition", "HyperParameters",
                "EnableManagedSpotTraining", "CheckpointConfig", "Environment",
            )
            if key in self.request
        }  # fmt: skip
        answer |= {
            "TrainingJobArn": arn("training-job", self.job_name),
            "TrainingJobStatus": self.status, "SecondaryStatus": self.secondary,
            "CreationTime": self.created, "LastModifiedTime": self.ended or time.time(),
            "FinalMetricDataList": [
                {"MetricName": name, "Value": value, "Timestamp": time.time()}
                for name, value in self.container.metrics.items()
            ],
        }  # fmt: skip
        if self.tuning_job:
            answer["TuningJobArn"] = arn("hyper-parameter-tuning-job", self.tuning_job)
        if self.started:
            answer["TrainingStartTime"] = self.started
        if self.failure:
            answer["FailureReason"] = self.failure[:1024]
        if self.ended and self.started:
            seconds = round(self.ended - self.started)
            answer |= {"TrainingEndTime": self.ended, "TrainingTimeInSeconds": seconds}
            share = 0.3 if self.request.get("EnableManagedSpotTraining") else 1.0
            answer["BillableTimeInSeconds"] = max(1, round(share * seconds))
        if self.status == "Completed":
            model = f"{bucket.rstrip('/')}/{self.job_name}/output/model.tar.gz"
            answer["ModelArtifacts"] = {"S3ModelArtifacts": model}
        return answer

    def summary(self) -> dict[str, Any]:
        """One entry of ListTrainingJobsForHyperParameterTuningJob."""
        said = self.describe()
        keys = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus",
                "TrainingStartTime", "TrainingEndTime", "FailureReason")  # fmt: skip
        summary = {key: said[key] for key in keys if key in said}
        summary["TunedHyperParameters"] = self.tuned
        return summary


def arn(kind: str, name: str) -> str:
    """The ARN of a job."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"


class Service:
    """All jobs of the account, and the operations on them."""

    def __init__(self, folder: Path, client: Callable[[str], Any]) -> None:
        self.folder, self.client = folder, client
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forgets every job."""
        from tests.emulator.tuning import TuningJob

        for left in self.folder.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        self.training: dict[str, TrainingJob] = {}
        self.tuning: dict[str, TuningJob] = {}
        self.on_start: Callable[[TrainingJob], None] | None = None

    def end(self) -> None:
        """Ends every process that still runs."""
        for tuning in list(self.tuning.values()):
            tuning.stop()
        for job in list(self.training.values()):
            job.stop()
        for job in list(self.training.values()):
            job.container.kill()
            job.join(timeout=20)
        for tuning in list(self.tuning.values()):
            tuning.join(timeout=20)

    def start(
        self, request: dict[str, Any], tuning_job: str | None = None,
        tuned: dict[str, str] | None = None,
    ) -> TrainingJob:  # fmt: skip
        """A training job, started."""
        job = TrainingJob(self, request, tuning_job, tuned or {})
        with self.lock:
            self.training[job.job_name] = job
        if self.on_start:
            self.on_start(job)
        job.start()
        return job

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """What AWS answers; Refused is its error."""
        method = getattr(self, f"_{operation}", None)
        if method is None:
            raise Refused("UnknownOperationException", f"{operation} is not emulated")
        if broken := violations(operation, request):
            raise Refused("ValidationException", "; ".join(broken))
        answer: dict[str, Any] = method(request)
        return answer

    def _CreateTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = request["TrainingJobName"]
        with self.lock:
            if name in self.training:
                raise Refused("ResourceInUse", f"Job name must be unique; {name} is in use")
            self.start(request)
        return {"TrainingJobArn": arn("training-job", name)}

    def _DescribeTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._training(request).describe()

    def _StopTrainingJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        job = self._training(request)
        if job.is_over:
            raise Refused("ValidationException", f"The training job is {job.status}")
        job.stop()
        return {}

    def _training(self, request: dict[str, Any]) -> TrainingJob:
        name = request["TrainingJobName"]
        if name not in self.training:
            raise Refused("ValidationException", "Requested resource not found.")
        return self.training[name]

    def _CreateHyperParameterTuningJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        from tests.emulator.tuning import TuningJob

        name = request["HyperParameterTuningJobName"]
        with self.lock:
            if name in self.tuning:
                raise Refused("ResourceInUse", f"A tuning job with the name {name} exists")
            for parent in (request.get("WarmStartConfig") or {}).get(
                "ParentHyperParameterTuningJobs", []
            ):
                found = self.tuning.get(parent["HyperParameterTuningJobName"])
                if found is None or found.status not in TERMINAL:
                    raise Refused("ValidationException", f"{parent} is no finished tuning job")
            self.tuning[name] = TuningJob(self, request)
            self.tuning[name].start()
        return {"HyperParameterTuningJobArn": arn("hyper-parameter-tuning-job", name)}

    def _DescribeHyperParameterTuningJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._tuning_job(request).describe()

    def _StopHyperParameterTuningJob(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._tuning_job(request).stop()
        return {}

    def _ListTrainingJobsForHyperParameterTuningJob(  # noqa: N802
        self, request: dict[str, Any]
    ) -> dict[str, Any]:
        jobs = sorted(self._tuning_job(request).jobs, key=lambda job: job.created)
        if request.get("SortOrder") == "Descending":
            jobs.reverse()
        size, start = request.get("MaxResults", 10), int(request.get("NextToken", 0))
        page = {"TrainingJobSummaries": [job.summary() for job in jobs[start : start + size]]}
        if start + size < len(jobs):
            page["NextToken"] = str(start + size)  # type: ignore[assignment]
        return page

    def _ListHyperParameterTuningJobs(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        jobs = sorted(self.tuning.values(), key=lambda job: job.created)
        found = [job for job in jobs if request.get("NameContains", "") in job.job_name]
        size, start = request.get("MaxResults", 10), int(request.get("NextToken", 0))
        page = {
            "HyperParameterTuningJobSummaries": [j.summary() for j in found[start : start + size]]
        }
        if start + size < len(found):
            page["NextToken"] = str(start + size)  # type: ignore[assignment]
        return page

    def _tuning_job(self, request: dict[str, Any]) -> Any:
        name = request["HyperParameterTuningJobName"]
        if name not in self.tuning:
            raise Refused("ResourceNotFound", f"Amazon SageMaker can't find the tuning job {name}")
        return self.tuning[name]
