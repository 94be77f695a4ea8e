"""What the service refuses: the published model, and the rules of the developer guide.

Written apart from tuner/aws/limits.py, so that each can find the other's faults.
"""

import math
import re
from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator


@cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("sagemaker")


def violations(operation: str, request: dict[str, Any]) -> list[str]:
    """Why AWS would refuse the request; empty where it would not."""
    shape = _model().operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    found = [report.generate_report()] if report.has_errors() else []
    found += _broken(shape, request, operation)
    if operation == "CreateHyperParameterTuningJob" and not found:
        found += _tuning(request)
    return found


def _broken(shape: Any, value: Any, place: str) -> list[str]:
    """Maxima, patterns and enumerations of the model."""
    kind, rules = shape.type_name, shape.metadata
    if kind == "structure":
        return [
            problem
            for name, item in value.items()
            if name in shape.members
            for problem in _broken(shape.members[name], item, f"{place}.{name}")
        ]
    found = []
    if kind in ("string", "list", "map") and len(value) > rules.get("max", len(value)):
        found.append(f"{place} is longer than {rules['max']}")
    if kind == "list":
        for item in value:
            found += _broken(shape.member, item, place)
    if kind == "string":
        if value not in rules.get("enum", [value]):
            found.append(f"{place}: {value} is not in its enumeration")
        pattern = rules.get("pattern")
        if pattern and "\\p" not in pattern and not re.fullmatch(pattern, value):
            found.append(f"{place}: {value} does not match {pattern}")
    if kind in ("integer", "long") and value > rules.get("max", value):
        found.append(f"{place}: {value} is above {rules['max']}")
    return found


def _tuning(request: dict[str, Any]) -> list[str]:
    config = request["HyperParameterTuningJobConfig"]
    definition = request["TrainingJobDefinition"]
    ranges, limits = config.get("ParameterRanges", {}), config["ResourceLimits"]
    numeric = ranges.get("IntegerParameterRanges", []) + ranges.get("ContinuousParameterRanges", [])
    choices = ranges.get("CategoricalParameterRanges", [])
    static = definition.get("StaticHyperParameters", {})
    names = [entry["Name"] for entry in (*numeric, *choices)]
    strategy, jobs = config["Strategy"], limits.get("MaxNumberOfTrainingJobs")
    found = []

    def check(holds: bool, problem: str) -> None:
        if not holds:
            found.append(problem)

    check(len(names) <= 30, "more than 30 hyperparameters to tune")
    check(len(names) == len(set(names)), "a hyperparameter is tuned twice")
    check(not set(names) & set(static), "a hyperparameter is tuned and static")
    check(len(names) + len(static) + 1 <= 100, "more than 100 hyperparameters")
    check(bool(names), "nothing to tune")
    for entry in choices:
        values = entry["Values"]
        check(len(values) == len(set(values)), f"{entry['Name']} has a value twice")
        check(len(values) > 1, f"{entry['Name']} has one value")
    for entry in numeric:
        low, high = float(entry["MinValue"]), float(entry["MaxValue"])
        check(low < high, f"{entry['Name']}: the minimum is not below the maximum")
        if entry.get("ScalingType") == "Logarithmic":
            check(low > 0, f"{entry['Name']}: a logarithmic scale needs a minimum above 0")
    check(limits["MaxParallelTrainingJobs"] <= 100, "more than 100 training jobs at once")
    most = 10_000 if strategy == "Random" else 750
    check(jobs is None or jobs <= most, f"more than {most} training jobs")
    if not ranges.get("ContinuousParameterRanges") and strategy != "Grid" and jobs is not None:
        points = math.prod(len(entry["Values"]) for entry in choices) * math.prod(
            int(e["MaxValue"]) - int(e["MinValue"]) + 1 for e in numeric
        )
        check(points >= jobs, "You don't have enough combinations of hyperparameter ranges")
    if strategy == "Grid":
        check(not numeric, "a grid takes categorical hyperparameters only")
    else:
        check(jobs is not None or "Autotune" in request, "MaxNumberOfTrainingJobs is missing")
    if strategy == "Hyperband":
        check(config.get("TrainingJobEarlyStoppingType") != "Auto", "Hyperband stops jobs itself")
    check(
        any(
            metric["Name"] == config["HyperParameterTuningJobObjective"]["MetricName"]
            for metric in definition["AlgorithmSpecification"].get("MetricDefinitions", [])
        ),
        "the objective is not among the metric definitions",
    )
    check(
        ("ResourceConfig" in definition) != ("HyperParameterTuningResourceConfig" in definition),
        "one of ResourceConfig and HyperParameterTuningResourceConfig is needed",
    )
    wait = definition["StoppingCondition"].get("MaxWaitTimeInSeconds")
    if definition.get("EnableManagedSpotTraining"):
        run = definition["StoppingCondition"]["MaxRuntimeInSeconds"]
        check(wait is not None and wait >= run, "spot needs MaxWaitTime of at least MaxRuntime")
    else:
        check(wait is None, "MaxWaitTime goes with spot only")
    return found
