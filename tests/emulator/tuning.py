"""What stands for AMT: a controller that starts training jobs and ends them by AMT's rules.

Bayesian and Hyperband draw their points at random here: what AMT's models would choose, only AWS
knows. Its budgets, its five failures, its median rule and its completion criteria are AMT's.
"""

import hashlib
import itertools
import math
import random
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.emulator.service import Service, TrainingJob

TICK = 0.05
FAILURES = 5


class TuningJob(threading.Thread):
    """A tuning job; its attributes are what DescribeHyperParameterTuningJob tells."""

    def __init__(self, service: "Service", request: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.service, self.request = service, request
        self.job_name: str = request["HyperParameterTuningJobName"]
        self.config = request["HyperParameterTuningJobConfig"]
        self.jobs: list[TrainingJob] = []
        self.status, self.failure = "InProgress", ""
        self.gave_up = False
        self.created, self.ended = time.time(), None
        self.random = random.Random(self.config.get("RandomSeed", 0))
        self.grid = list(itertools.product(*(r["Values"] for r in self._ranges("Categorical"))))

    def run(self) -> None:
        """Until every job has ended, or a rule ends them."""
        limits = self.config["ResourceLimits"]
        most = limits.get("MaxNumberOfTrainingJobs") or len(self.grid)
        while True:
            running = [job for job in self.jobs if not job.is_over]
            if time.time() - self.created > limits.get("MaxRuntimeInSeconds", math.inf):
                self.stop()
            self.gave_up = self.gave_up or self._has_failed()
            if self.status == "Stopping" or self.gave_up or self._is_complete():
                for job in running:
                    job.stop()
                if not running:
                    break
            elif len(running) < limits["MaxParallelTrainingJobs"] and len(self.jobs) < most:
                self._start_next()
            elif not running and len(self.jobs) >= most:
                break
            elif self.config.get("TrainingJobEarlyStoppingType") == "Auto":
                self._stop_hopeless(running)
            time.sleep(TICK)
        self.ended = time.time()
        if self.gave_up:
            self.failure = (
                "No training job succeeded after 5 attempts. For additional details, please take a "
                "look at the training job failures by listing training jobs for the hyperparameter "
                "tuning job."
            )
        ended = "Failed" if self.failure else "Completed"
        self.status = "Stopped" if self.status == "Stopping" else ended

    def stop(self) -> None:
        """Ends the running jobs, then itself."""
        if self.status == "InProgress":
            self.status = "Stopping"

    def _has_failed(self) -> bool:
        failed = [job for job in self.jobs if job.status == "Failed"]
        return len(failed) >= FAILURES and not any(
            job.status in ("Completed", "Stopped") for job in self.jobs
        )

    def _is_complete(self) -> bool:
        """AMT's completion criteria: the target is reached, or nothing gets better."""
        criteria = self.config.get("TuningJobCompletionCriteria") or {}
        scores = [job.objective for job in self.jobs if job.status == "Completed"]
        values = [self._sign * score for score in scores if score is not None]
        target = criteria.get("TargetObjectiveMetricValue")
        if target is not None and any(value >= self._sign * target for value in values):
            return True
        patience = (criteria.get("BestObjectiveNotImproving") or {}).get(
            "MaxNumberOfTrainingJobsNotImproving"
        )
        if patience is None or len(values) <= patience:
            return False
        return max(values[:-patience]) >= max(values[-patience:])

    @property
    def _sign(self) -> int:
        kind = self.config["HyperParameterTuningJobObjective"]["Type"]
        return 1 if kind == "Maximize" else -1

    def _stop_hopeless(self, running: "list[TrainingJob]") -> None:
        """The median rule on running averages, as AMT's documentation describes it."""
        metric = self.config["HyperParameterTuningJobObjective"]["MetricName"]
        done = [
            job.container.history.get(metric, [])
            for job in self.jobs if job.status == "Completed"
        ]  # fmt: skip
        for job in running:
            seen = job.container.history.get(metric, [])
            comparable = [values[: len(seen)] for values in done if len(values) >= len(seen)]
            if not seen or len(comparable) < 3:
                continue
            middle = statistics.median(statistics.fmean(values) for values in comparable)
            if self._sign * statistics.fmean(seen) < self._sign * middle:
                job.stop()

    def _start_next(self) -> None:
        tuned = self._next_point()
        definition = self.request["TrainingJobDefinition"]
        digest = hashlib.sha256(repr((self.job_name, len(self.jobs), tuned)).encode()).hexdigest()
        resources = definition.get("ResourceConfig")
        if resources is None:
            resources = definition["HyperParameterTuningResourceConfig"]["InstanceConfigs"][0]
        metric = self.config["HyperParameterTuningJobObjective"]["MetricName"]
        request = {
            key: value for key, value in definition.items()
            if key not in ("StaticHyperParameters", "HyperParameterTuningResourceConfig")
        }  # fmt: skip
        request |= {
            "TrainingJobName": f"{self.job_name}-{len(self.jobs) + 1:03d}-{digest[:8]}",
            "ResourceConfig": resources,
            "HyperParameters": {
                **definition.get("StaticHyperParameters", {}),
                **tuned,
                "_tuning_objective_metric": metric,
            },
        }
        self.jobs.append(self.service.start(request, self.job_name, tuned))

    def _next_point(self) -> dict[str, str]:
        if self.config["Strategy"] == "Grid":
            names = [entry["Name"] for entry in self._ranges("Categorical")]
            return dict(zip(names, self.grid[len(self.jobs)], strict=True))
        return draw(self.config["ParameterRanges"], self.random)

    def _ranges(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.config["ParameterRanges"].get(f"{kind}ParameterRanges")
        return found or []

    def describe(self) -> dict[str, Any]:
        """DescribeHyperParameterTuningJob's answer."""
        from tests.emulator.service import arn

        count = dict.fromkeys(("Completed", "InProgress", "Failed", "Stopped"), 0)
        for job in self.jobs:
            status = "InProgress" if job.status == "Stopping" else job.status
            count[status] += 1
        succeeded = sum(job.objective is not None for job in self.jobs if job.is_over)
        answer = {
            **self.request,
            "HyperParameterTuningJobArn": arn("hyper-parameter-tuning-job", self.job_name),
            "HyperParameterTuningJobStatus": self.status,
            "CreationTime": self.created,
            "LastModifiedTime": time.time(),
            "TrainingJobStatusCounters": {
                "Completed": count["Completed"], "InProgress": count["InProgress"],
                "RetryableError": 0, "NonRetryableError": count["Failed"],
                "Stopped": count["Stopped"],
            },
            "ObjectiveStatusCounters": {
                "Succeeded": succeeded, "Pending": count["InProgress"],
                "Failed": len(self.jobs) - succeeded - count["InProgress"],
            },
        }  # fmt: skip
        if self.ended:
            answer["HyperParameterTuningEndTime"] = self.ended
        if self.failure:
            answer["FailureReason"] = self.failure
        return answer

    def summary(self) -> dict[str, Any]:
        """Its entry in ListHyperParameterTuningJobs."""
        said = self.describe()
        kept = (
            "HyperParameterTuningJobName", "HyperParameterTuningJobArn",
            "HyperParameterTuningJobStatus", "CreationTime", "LastModifiedTime",
            "TrainingJobStatusCounters", "ObjectiveStatusCounters",
        )  # fmt: skip
        strategy = said["HyperParameterTuningJobConfig"]["Strategy"]
        return {key: said[key] for key in kept} | {"Strategy": strategy}


def draw(ranges: dict[str, Any], rng: random.Random) -> dict[str, str]:
    """A random point of AMT's ranges, its numbers in AWS's spelling."""
    point: dict[str, str] = {}
    for entry in ranges.get("CategoricalParameterRanges", []):
        point[entry["Name"]] = rng.choice(entry["Values"])
    for kind in ("Integer", "Continuous"):
        for entry in ranges.get(f"{kind}ParameterRanges", []):
            low, high = float(entry["MinValue"]), float(entry["MaxValue"])
            if entry.get("ScalingType") == "Logarithmic":
                value = math.exp(rng.uniform(math.log(low), math.log(high)))
            else:
                value = rng.uniform(low, high)
            value = min(max(value, low), high)
            whole = kind == "Integer"
            point[entry["Name"]] = str(round(value)) if whole else java_text(value)
    return point


def java_text(value: float) -> str:
    """A number as a Java service prints it: 5.0E-5 and not 5e-05."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    mantissa, exponent = f"{value:.17e}".split("e")
    shortest = repr(float(value))
    if "e" in shortest:
        mantissa, exponent = shortest.split("e")
    else:
        mantissa = repr(float(mantissa))
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"
