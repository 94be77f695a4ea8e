"""A sweep as requests to SageMaker: plain dicts, made without one call to AWS.

One request dict and not the SDK's tuner classes: those lose settings (see docs/decisions.md), and
the same dict is what a schedule sends.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train_script.config import METRICS
from tuner.processes import metric_pattern
from tuner.sagemaker_block import SageMakerBlock
from tuner.space import Parameter, Point
from tuner.sweep import LoadedSweep, as_text
from tuner.sweep_file import Sweep

CONTAINER_ROOT = "/opt/ml"
CHOSEN_BY = {"Bayesian": "adaptive", "Hyperband": "adaptive", "Random": "random", "Grid": "grid"}
"""What the ledger calls the points of each strategy."""
TORCHRUN = "sagemaker_torch_distributed_enabled"
LARGEST_SEED = 2**31 - 1
MOST_TEXTS = 100
"""More values of a choice than AMT takes; so a range of millions is not written out to be refused."""
LOCAL_STORAGE = re.compile(r"ml\.(g[4-9]|p3dn|p[4-6]|trn|[a-z]+\d+[a-z]*d[.])")
"""Instance types with disks of their own: AWS takes no key for these, and encrypts them in hardware."""
SHORTEST_RUN_SECONDS = 120
"""AMT accepts no shorter limit for a whole tuning job."""
LONGEST_RUN_SECONDS = 15_768_000
"""Nor a longer one: half a year."""


@dataclass(frozen=True)
class Place:
    """What the sweep file does not say: where things are on AWS."""

    region: str
    role: str
    bucket: str
    image: str
    code: str = ""
    program: str = "train_script/train.py"
    channels: Mapping[str, str] = field(default_factory=dict)

    def uri(self, *parts: str) -> str:
        """An address in the bucket."""
        return "s3://" + "/".join([self.bucket, *parts])


@dataclass(frozen=True)
class Plan:
    """What AMT is asked to do: its strategy, and how many training jobs of its own."""

    strategy: str
    early_stopping: bool
    jobs: int | None


def plan_of(loaded: LoadedSweep, trials: int) -> Plan:
    """The strategy that sampler and pruner correspond to, where the block names none."""
    search, block = loaded.sweep.search, loaded.sweep.sagemaker
    strategy = block.strategy
    if strategy is None:
        if search.sampler in ("random", "grid"):
            strategy = "random" if search.sampler == "random" else "grid"
        else:
            strategy = "hyperband" if search.pruner == "hyperband" else "bayesian"
    stopping = block.early_stopping
    if stopping is None:
        stopping = search.pruner == "median" and strategy in ("bayesian", "random")
    return Plan(strategy.capitalize(), stopping, None if strategy == "grid" else trials)


def longest_seconds(loaded: LoadedSweep, elapsed: float = 0.0, spent: float = 0.0) -> float | None:
    """The time limit of a tuning job, which AWS keeps even where nobody follows; None: no bound."""
    bounds = seconds_by_cap(loaded, elapsed, spent)
    return max(60.0, min(bounds.values())) if bounds else None


def seconds_by_cap(loaded: LoadedSweep, elapsed: float, spent: float) -> dict[str, float]:
    """How long a tuning job may still run by each cap of the budget.

    What is left of `budget.hours` after `elapsed` seconds, and what the money that is left after `spent`
    dollars pays for at full width, where there is a price.
    """
    budget, bounds = loaded.sweep.budget, {}
    if budget.hours is not None:
        bounds["budget.hours"] = budget.hours * 3600 - elapsed
    rate = loaded.sweep.sagemaker.usd_per_second(budget.at_once)
    if budget.usd is not None and rate:
        bounds["budget.usd"] = min((budget.usd - spent) / rate, LONGEST_RUN_SECONDS)
    return bounds


def tuning_request(
    loaded: LoadedSweep,
    place: Place,
    name: str,
    trials: int,
    seconds: float | None = None,
    parents: Sequence[str] = (),
    part: int = 1,
) -> dict[str, Any]:
    """The CreateHyperParameterTuningJob request for `trials` training jobs in at most `seconds`.

    `part` counts the tuning jobs of a sweep that was stopped or enlarged: each has a random seed of
    its own, or it would draw the same points again. `parents` are the earlier ones to learn from.
    """
    sweep, block = loaded.sweep, loaded.sweep.sagemaker
    plan = plan_of(loaded, trials)
    limits: dict[str, Any] = {
        "MaxParallelTrainingJobs": min(sweep.budget.at_once, trials),
    }
    if plan.jobs is not None:
        limits["MaxNumberOfTrainingJobs"] = plan.jobs
    if seconds is not None:
        limits["MaxRuntimeInSeconds"] = max(SHORTEST_RUN_SECONDS, round(seconds))
    config: dict[str, Any] = {
        "Strategy": plan.strategy,
        "HyperParameterTuningJobObjective": {
            "Type": loaded.direction.capitalize(),
            "MetricName": sweep.objective.metric,
        },
        "ResourceLimits": limits,
        "ParameterRanges": parameter_ranges(loaded),
        "TrainingJobEarlyStoppingType": "Auto" if plan.early_stopping else "Off",
        "RandomSeed": (sweep.search.seed + part - 1) % (LARGEST_SEED + 1),
    }
    if plan.strategy == "Hyperband":
        epochs = sweep.fixed.get("epochs", 1)
        config["StrategyConfig"] = {
            "HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}
        }
    if criteria := _completion(sweep):
        config["TuningJobCompletionCriteria"] = criteria
    request: dict[str, Any] = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": {
            "StaticHyperParameters": static_hyperparameters(loaded, place),
            **_definition(loaded, place, name, tuning=True),
        },
    }
    if block.autotune:
        request["Autotune"] = {"Mode": "Enabled"}
    learns = plan.strategy in ("Bayesian", "Random")  # AWS documents warm start for these
    if warm := _warm_start(block, parents if learns else ()):
        request["WarmStartConfig"] = warm
    if block.tags:
        request["Tags"] = _tags(block)
    return request


def training_request(
    loaded: LoadedSweep, place: Place, name: str, point: Point, seed: int,
    seconds: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The CreateTrainingJob request of one trial at this point: the default, or a confirmation.

    `seconds` bounds it below `sagemaker.max_hours`.
    """
    passed = loaded.hyperparameters(point) | {"seed": seed}
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "HyperParameters": _toolkit(loaded, place)
        | {key: for_container(as_text(value)) for key, value in passed.items()},
        **_definition(loaded, place, name, tuning=False),
    }
    if seconds is not None:
        stopping = request["StoppingCondition"]
        stopping["MaxRuntimeInSeconds"] = min(stopping["MaxRuntimeInSeconds"], round(seconds))
    if block_tags := _tags(loaded.sweep.sagemaker):
        request["Tags"] = block_tags
    return request


def parameter_ranges(loaded: LoadedSweep) -> dict[str, list[dict[str, Any]]]:
    """The searched parameters as AMT's three kinds of ranges. A choice of one value is no range."""
    ranges: dict[str, list[dict[str, Any]]] = {
        "ContinuousParameterRanges": [],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for name, parameter in searched(loaded).items():
        if as_choice(loaded, parameter):
            values = [for_container(text) for text in texts(loaded, name, parameter)]
            ranges["CategoricalParameterRanges"].append({"Name": name, "Values": values})
            continue
        low, high = parameter.bounds
        kind = "Continuous" if parameter.kind == "float" else "Integer"
        ranges[f"{kind}ParameterRanges"].append(
            {
                "Name": name,
                "MinValue": as_text(low),
                "MaxValue": as_text(high),
                "ScalingType": "Logarithmic" if parameter.scale == "log" else "Linear",
            }
        )
    return {kind: entries for kind, entries in ranges.items() if entries}


def searched(loaded: LoadedSweep) -> dict[str, Parameter]:
    """The parameters that AMT searches: those with more than one value."""
    return {name: p for name, p in loaded.sweep.space.items() if p.size != 1}


def as_choice(loaded: LoadedSweep, parameter: Parameter) -> bool:
    """Whether AMT gets a list of values: for choices, and for all of a grid (AMT's rule)."""
    grid = plan_of(loaded, 1).strategy == "Grid"
    return parameter.choice is not None or (grid and parameter.size > 0)


def texts(loaded: LoadedSweep, name: str, parameter: Parameter) -> list[str]:
    """Every value of a choice (or of a grid's range) as the script gets it."""
    return [as_text(loaded.as_passed(name, value)) for value in parameter.grid(MOST_TEXTS)]


def static_hyperparameters(loaded: LoadedSweep, place: Place) -> dict[str, str]:
    """What every training job of the tuning job gets, the toolkit's own keys among it."""
    single = {name: p.grid()[0] for name, p in loaded.sweep.space.items() if p.size == 1}
    passed = {
        name: value
        for name, value in loaded.hyperparameters(single).items()
        if name not in searched(loaded)
    }
    passed["seed"] = loaded.sweep.search.seed
    return _toolkit(loaded, place) | {
        name: for_container(as_text(value)) for name, value in passed.items()
    }


def point_of(loaded: LoadedSweep, given: Mapping[str, str]) -> Point:
    """The point, in its own types, of a training job's hyperparameters (all texts).

    A number that AWS rounded out of its range is moved back into it. Raises ValueError for a text
    that is none of the parameter's values.
    """
    point: Point = {}
    for name, parameter in loaded.space().parameters.items():
        if name not in given:
            if parameter.size != 1:
                raise ValueError(f"the training job has no hyperparameter {name}")
            point[name] = parameter.grid()[0]
            continue
        text = as_decoded(given[name])
        if parameter.kind == "choice":
            values = parameter.grid(MOST_TEXTS)
            by_text = dict(zip(texts(loaded, name, parameter), values, strict=True))
            if text not in by_text:
                raise ValueError(f"{name} {text!r} is none of the sweep's choices")
            point[name] = by_text[text]
        else:
            low, high = parameter.bounds
            number = min(max(float(text), low), high)
            point[name] = round(number) if parameter.kind == "int" else number
    return point


def for_container(text: str) -> str:
    """The text as a hyperparameter that reaches the script unchanged.

    The container's toolkit reads each value as JSON where it can and passes `str()` of that: `true`
    would arrive as `True`, `1e5` as `100000.0`. Such a text is sent as a JSON string.
    """
    return text if as_decoded(text) == text else json.dumps(text)


def as_decoded(text: str) -> str:
    """The word that the container's toolkit makes of a hyperparameter."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        return ",".join(f"{key}={value[key]}" for key in sorted(value))
    return "" if value is None else str(value)


def job_stem(loaded: LoadedSweep, run_name: str, place: Place) -> str:
    """The name that all jobs of a run begin with: the same sweep, data and code give the same name.

    Data, models and code count by the hashes in their addresses, wherever they lie here. So a
    second launch, also from another machine, finds the running job. 28 characters at most, which
    leaves AMT's limit of 32 room for the part.
    """
    sweep = loaded.sweep
    kept = sweep.model_dump(
        include={"name", "objective", "space", "fixed", "search"},
        exclude_defaults=True, by_alias=True,
    )  # fmt: skip
    if sweep.model is not None and not loaded.sends_model(sweep.model):  # the hub's, by its name
        kept["model"] = sweep.model
    task = (
        sweep.task.model_dump(exclude={"data", "validation", "symmetric"}) if sweep.task else None
    )
    block = sweep.sagemaker.model_dump(include={"strategy", "autotune", "warm_start", "completion"})
    stands_on = [place.code, place.program, place.image, dict(place.channels)]
    identity = json.dumps([run_name, kept, task, block, stands_on], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    words = re.sub(r"[^A-Za-z0-9]+", "-", loaded.sweep.name).strip("-")[:19].strip("-")
    return f"{words}-{digest}" if words else f"sweep-{digest}"


def _definition(loaded: LoadedSweep, place: Place, name: str, *, tuning: bool) -> dict[str, Any]:
    """The parts that a tuning job's training jobs and a training job of its own share."""
    block = loaded.sweep.sagemaker
    seconds = round(block.max_hours * 3600)
    stopping: dict[str, Any] = {"MaxRuntimeInSeconds": seconds}
    if block.spot:
        wait = block.max_wait_hours or min(2 * block.max_hours, 672)
        stopping["MaxWaitTimeInSeconds"] = round(wait * 3600)
    output: dict[str, Any] = {"S3OutputPath": place.uri(block.prefix, "output")}
    environment = dict(block.environment)
    definition: dict[str, Any] = {
        "AlgorithmSpecification": {
            "TrainingImage": place.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metric_definitions(loaded),
        },
        "RoleArn": place.role,
        "OutputDataConfig": output,
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": block.spot,
    }
    if block.spot or block.retries:  # both start a job again, from its last checkpoint
        # One folder for all jobs of a tuning job: the script adds its own below it. With a slash at
        # the end, or the folders of longer names would come down too.
        definition["CheckpointConfig"] = {
            "S3Uri": place.uri(block.prefix, "checkpoints", name, ""),
            "LocalPath": f"{CONTAINER_ROOT}/checkpoints",
        }
        environment["CHECKPOINT_DIR"] = f"{CONTAINER_ROOT}/checkpoints"
    if environment:
        definition["Environment"] = environment
    if place.channels:
        definition["InputDataConfig"] = [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel, uri in sorted(place.channels.items())
        ]
    types = block.instance_types or [""]
    if tuning and len(types) > 1:
        resources: dict[str, Any] = {
            "AllocationStrategy": "Prioritized",
            "InstanceConfigs": [
                {
                    "InstanceType": kind,
                    "InstanceCount": block.instance_count,
                    "VolumeSizeInGB": block.volume_gb,
                }
                for kind in types
            ],
        }
    else:
        resources = {
            "InstanceType": types[0],
            "InstanceCount": block.instance_count,
            "VolumeSizeInGB": block.volume_gb,
        }
    if block.kms_key:
        output["KmsKeyId"] = block.kms_key
        if not has_local_storage(types[0]):  # of several the sweep's problems are told before
            resources["VolumeKmsKeyId"] = block.kms_key
    key = "HyperParameterTuningResourceConfig" if tuning and len(types) > 1 else "ResourceConfig"
    definition[key] = resources
    if block.subnets or block.security_groups:
        definition["VpcConfig"] = {
            "Subnets": block.subnets,
            "SecurityGroupIds": block.security_groups,
        }
    if block.retries is not None:
        definition["RetryStrategy"] = {"MaximumRetryAttempts": block.retries}
    return definition


def has_local_storage(instance_type: str) -> bool:
    """Whether its disks are its own: encrypted by the machine, and not with anybody's key."""
    return LOCAL_STORAGE.match(f"{instance_type}.") is not None


def metric_definitions(loaded: LoadedSweep) -> list[dict[str, str]]:
    """The objective first, then what else this project's script prints."""
    names = [loaded.sweep.objective.metric]
    if loaded.uses_own_script:
        names += [name for name in (*METRICS, "train_loss") if name not in names]
    return [{"Name": name, "Regex": metric_pattern(name).pattern} for name in names]


def _toolkit(loaded: LoadedSweep, place: Place) -> dict[str, str]:
    """How the container's toolkit finds the script, and starts it."""
    keys = {"sagemaker_program": place.program, "sagemaker_submit_directory": place.code}
    if loaded.sweep.sagemaker.distributed:
        keys[TORCHRUN] = "true"
    return keys


def _completion(sweep: Sweep) -> dict[str, Any]:
    wanted = sweep.sagemaker.completion
    criteria: dict[str, Any] = {}
    if wanted.target is not None:
        criteria["TargetObjectiveMetricValue"] = wanted.target
    if wanted.not_improving is not None:
        criteria["BestObjectiveNotImproving"] = {
            "MaxNumberOfTrainingJobsNotImproving": wanted.not_improving
        }
    if wanted.convergence or sweep.budget.stop_early:
        criteria["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return criteria


def _warm_start(block: SageMakerBlock, parents: Sequence[str]) -> dict[str, Any]:
    """The sweep's own earlier parts first, the newest of them; then those that the file names."""
    named = list(block.warm_start.parents) if block.warm_start else []
    every = [*reversed(parents), *named][:5]
    if not every:
        return {}
    transfer = block.warm_start is not None and block.warm_start.type == "transfer"
    return {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": n} for n in every],
        "WarmStartType": "TransferLearning" if transfer else "IdenticalDataAndAlgorithm",
    }


def _tags(block: SageMakerBlock) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in block.tags.items()]
