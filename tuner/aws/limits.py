"""What AMT would refuse, found without one call to AWS.

The rules that join several fields are here; what the published model says of single ones is in
`shape`. Sources: the API reference of CreateHyperParameterTuningJob and the developer guide's
"Resource limits and requirements" for automatic model tuning, both read in November 2026.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec

from train_script.contract import evaluation_line
from tuner.aws.request import (
    LARGEST_SEED,
    Place,
    as_choice,
    has_local_storage,
    longest_seconds,
    plan_of,
    searched,
    static_hyperparameters,
    texts,
    training_request,
    tuning_request,
)
from tuner.aws.shape import request_problems
from tuner.processes import metric_pattern
from tuner.sweep import LoadedSweep, models_of

INSTALL = "make aws"
MOST_TUNABLE = 30
MOST_VALUES = 30
MOST_HYPERPARAMETERS = 100
MOST_JOBS = {"Bayesian": 750, "Hyperband": 750, "Grid": 750, "Random": 10_000}
MOST_PARALLEL = 100
USUAL_PARALLEL = 10
LONGEST_STATIC = 2500
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@/_-]+")
RESERVED = re.compile(r"sagemaker_|_tuning_objective_metric")
TOLD_ABOVE = re.compile(
    r"HyperParameter(s|Ranges)\b|ParameterRanges|RoleArn|RandomSeed|StrategyConfig|VpcConfig"
)
KEYS = {
    "InstanceType": "sagemaker.instance_type", "TrainingImage": "sagemaker.image",
    "Subnets": "sagemaker.subnets", "SecurityGroupIds": "sagemaker.security_groups",
    "Tags": "sagemaker.tags", "Environment": "sagemaker.environment",
    "KmsKeyId": "sagemaker.kms_key", "VolumeKmsKeyId": "sagemaker.kms_key",
    "ParentHyperParameterTuningJobs": "sagemaker.warm_start.parents",
    "InstanceConfigs": "sagemaker.instance_type", "InputDataConfig": "sagemaker.channels",
    "MaxRuntimeInSeconds": "budget.hours in seconds", "MetricName": "objective.metric",
}  # fmt: skip
"""Where a part of the request comes from in the sweep file."""
UNKNOWN = Place(
    "REGION", "arn:aws:iam::000000000000:role/ROLE", "BUCKET", "IMAGE",
    code="s3://BUCKET/source/sourcedir.tar.gz",
)  # fmt: skip
"""Stands for what only AWS or the user's environment can tell, so that a request can be checked."""


def is_installed() -> bool:
    """Whether the packages of the `sagemaker` extra are there."""
    return all(find_spec(name) is not None for name in ("boto3", "botocore"))


def known_place(loaded: LoadedSweep) -> Place:
    """What the sweep file and the environment already tell; the rest stands in capitals."""
    block = loaded.sweep.sagemaker
    channels = dict(block.channels)
    if loaded.task_options is not None:
        channels["training"] = "s3://BUCKET/data/"
    if loaded.uses_own_script and any(loaded.sends_model(m) for m in models_of(loaded.sweep)):
        channels["models"] = "s3://BUCKET/models/"
    return replace(
        UNKNOWN,
        channels=channels,
        region=block.region or UNKNOWN.region,
        role=role_of(loaded) or UNKNOWN.role,
        bucket=block.bucket or UNKNOWN.bucket,
        image=block.image or UNKNOWN.image,
    )


def sweep_problems(loaded: LoadedSweep) -> list[str]:
    """All that stands between this sweep and a tuning job, one sentence each."""
    place = known_place(loaded)
    if not is_installed():
        return [f"backend: sagemaker needs packages that are not installed: {INSTALL}"]
    found = list(_space_problems(loaded))
    found += _search_problems(loaded)
    found += _block_problems(loaded)
    found += _regex_problems(loaded)
    if not loaded.sweep.sagemaker.instance_types:
        return found
    seconds = longest_seconds(loaded)
    request = tuning_request(loaded, place, "sweep-00000000", loaded.sweep.budget.trials, seconds)
    broken = request_problems("CreateHyperParameterTuningJob", request)
    point = loaded.typical_point()
    request = training_request(loaded, place, "sweep-00000000-default", point, 0)
    broken += request_problems("CreateTrainingJob", request)
    if found:  # the sentences above say it better than the walk does
        broken = [problem for problem in broken if not TOLD_ABOVE.search(problem)]
    return list(dict.fromkeys([*found, *map(_in_the_files_words, broken)]))


def _in_the_files_words(problem: str) -> str:
    """A problem of the request with the sweep file's key for its place, where there is one."""
    place, _, rest = problem.partition(" ")
    for name, key in KEYS.items():
        if re.search(rf"\b{name}\b", place):
            part = place[place.index(name) :]
            return f"{key} {rest}" if part == name else f"{key}: {part} {rest}"
    return problem


def notes(loaded: LoadedSweep) -> list[str]:
    """What is well to know before: where AMT differs from the local backend."""
    sweep, plan = loaded.sweep, plan_of(loaded, loaded.sweep.budget.trials)
    told = [
        f"AMT's search trials all train with seed {sweep.search.seed}: AMT has no seed of its own "
        "for each; the confirmation uses fresh ones"
    ]
    if plan.strategy == "Bayesian":
        told.append(
            "AMT chooses its own first points: search.space_filling has no counterpart there"
        )
    if sweep.budget.stop_early:
        told.append(
            "budget.stop_early is AMT's own test of convergence there, which knows nothing of seed noise"
        )
    if sweep.budget.at_once > USUAL_PARALLEL:
        told.append(
            f"budget.parallel {sweep.budget.parallel} is more than the {USUAL_PARALLEL} training "
            "jobs at once that a new account may run; ask AWS for a higher quota"
        )
    return told


def _space_problems(loaded: LoadedSweep) -> Iterator[str]:
    tunable = searched(loaded)
    if not tunable:
        yield "space has no parameter with more than one value; AMT needs one"
    if len(tunable) > MOST_TUNABLE:
        yield f"space has {len(tunable)} parameters; AMT searches at most {MOST_TUNABLE}"
    for name, parameter in loaded.sweep.space.items():
        place = f"space.{name}"
        if RESERVED.match(name):
            yield f"{place} has a name that SageMaker keeps for itself"
        if len(name) == 1:
            yield (
                f"{place} would reach the script as -{name}: SageMaker's containers give names of "
                "one letter one dash; choose a longer name"
            )
        if parameter.when:
            yield f"{place} has when:, and AMT knows no conditional parameters; remove it"
        if as_choice(loaded, parameter):
            yield from _choice_problems(loaded, name)
            continue
        if parameter.step is not None and (parameter.kind == "float" or parameter.step != 1):
            yield (
                f"{place} has step: {parameter.step:g}, and AMT knows no steps; write choice: with "
                "the values, or leave step out"
            )
    for name in loaded.sweep.fixed:
        if RESERVED.match(name):
            yield f"fixed.{name} has a name that SageMaker keeps for itself"
        if len(name) == 1:
            yield f"fixed.{name} would reach the script as -{name}; choose a longer name"
    statics = static_hyperparameters(loaded, UNKNOWN)
    for name, text in statics.items():
        if len(text) > LONGEST_STATIC:
            yield (
                f"fixed.{name} has {len(text)} characters; SageMaker takes at most {LONGEST_STATIC}"
            )
    total = len(statics) + len(tunable) + 1  # and _tuning_objective_metric, which AMT adds
    if total > MOST_HYPERPARAMETERS:
        yield f"space and fixed make {total} hyperparameters; AMT takes at most {MOST_HYPERPARAMETERS}"


def _choice_problems(loaded: LoadedSweep, name: str) -> Iterator[str]:
    parameter = loaded.sweep.space[name]
    if parameter.size > MOST_VALUES:
        yield (
            f"space.{name} has {parameter.size} values; AMT takes at most {MOST_VALUES} of a choice"
        )
        return
    for text, times in Counter(texts(loaded, name, parameter)).items():
        if times > 1:
            yield f"space.{name} has {times} values that reach the script as {text!r}"


def _search_problems(loaded: LoadedSweep) -> Iterator[str]:
    search, block, budget = loaded.sweep.search, loaded.sweep.sagemaker, loaded.sweep.budget
    plan = plan_of(loaded, budget.trials)
    if block.strategy is None and search.sampler in ("qmc", "cmaes", "one_at_a_time"):
        yield (
            f"search.sampler {search.sampler} has no counterpart in AMT; "
            "name one with sagemaker.strategy: bayesian or random"
        )
    own_strategy = search.sampler in ("random", "grid")
    if block.strategy is None and own_strategy and search.pruner == "hyperband":
        yield (
            "search.pruner hyperband is a strategy of its own in AMT, beside "
            f"{search.sampler}; choose one with sagemaker.strategy"
        )
    if block.early_stopping is None and search.pruner == "halving":
        yield (
            "search.pruner halving has no counterpart in AMT; write pruner: hyperband or median, "
            "or set sagemaker.early_stopping"
        )
    if budget.at_once > MOST_PARALLEL:
        yield f"budget.parallel {budget.parallel} is more than AMT's {MOST_PARALLEL}"
    if plan.jobs is not None and plan.jobs > MOST_JOBS[plan.strategy]:
        more = "; sagemaker.strategy: random takes 10000" if plan.strategy != "Random" else ""
        yield (
            f"budget.trials {plan.jobs} is more than the {MOST_JOBS[plan.strategy]} training jobs "
            f"of AMT's {plan.strategy} strategy{more}"
        )
    sizes = [parameter.size for parameter in loaded.sweep.space.values()]
    points = math.prod(sizes)  # 0 where one has endlessly many values
    asked = min(plan.jobs or 0, points) if search.sampler == "grid" else plan.jobs or 0
    of_amt = asked - (search.start_with_default and loaded.default_point() is not None)
    if plan.strategy != "Grid" and 0 < points < of_amt:
        yield (
            f"the space has {points} points, and AMT refuses more training jobs than that: budget.trials "
            f"{plan.jobs}; lower it, or try all of them with search.sampler: grid"
        )
    if search.seed > LARGEST_SEED:
        yield f"search.seed {search.seed} is more than AMT's largest, {LARGEST_SEED}"
    if plan.strategy == "Grid":
        yield from _grid_problems(loaded)
    if plan.strategy == "Hyperband":
        yield from _hyperband_problems(loaded, plan.early_stopping)


def _grid_problems(loaded: LoadedSweep) -> Iterator[str]:
    for name, parameter in loaded.sweep.space.items():
        if not parameter.size:
            yield f"space.{name} has endlessly many values; AMT's grid needs step: or choice:"
    if any(p.size > MOST_VALUES for p in loaded.sweep.space.values()):
        return
    size, trials = loaded.space().grid_size(), loaded.sweep.budget.trials
    if size > trials:
        yield (f"AMT runs the whole grid: {size} training jobs, more than budget.trials {trials}")
    if loaded.sweep.sagemaker.early_stopping:
        yield "sagemaker.early_stopping: AMT's grid runs every training job to its end"
    if loaded.sweep.sagemaker.autotune:
        yield "sagemaker.autotune chooses the number of training jobs; a grid fixes it"


def _hyperband_problems(loaded: LoadedSweep, early_stopping: bool) -> Iterator[str]:
    sweep = loaded.sweep
    if early_stopping:
        yield "sagemaker.early_stopping must be off with Hyperband, which stops jobs itself"
    if (sweep.sagemaker.spot or sweep.sagemaker.retries) and not loaded.uses_own_script:
        yield (
            "sagemaker.spot and sagemaker.retries do not go with Hyperband: a script that resumes says its "
            "evaluations again, and AMT would count them twice"
        )
    epochs = sweep.fixed.get("epochs")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        where = "is not there" if epochs is None else f"{epochs!r} is no whole number above 0"
        where = "stands in space" if "epochs" in sweep.space else where
        yield (
            f"fixed.epochs {where}: AMT's Hyperband takes its largest budget from it; "
            "fix the epochs, or use sagemaker.strategy: bayesian"
        )
    elif loaded.uses_own_script and sweep.fixed.get("evaluations") != epochs:
        yield (
            "fixed.evaluations must equal fixed.epochs with Hyperband, which counts one "
            "evaluation as one epoch"
        )


def _block_problems(loaded: LoadedSweep) -> Iterator[str]:
    block, role = loaded.sweep.sagemaker, role_of(loaded)
    if role is None:
        yield (
            "sagemaker.role is missing: the ARN of a role that SageMaker may take, there or in "
            "$SAGEMAKER_ROLE (docs/sagemaker.md says how to make one)"
        )
    elif not ROLE.fullmatch(role):
        yield (f"sagemaker.role {role!r} is no role's ARN, as arn:aws:iam::123456789012:role/NAME")
    if not block.instance_types:
        yield "sagemaker.instance_type is empty; name at least one"
    if len(set(block.instance_types)) < len(block.instance_types):
        yield "sagemaker.instance_type names a type twice"
    if block.spot and len(block.instance_types) > 1:
        yield "sagemaker.spot does not go with several instance types; name one"
    if block.max_wait_hours is not None:
        if not block.spot:
            yield "sagemaker.max_wait_hours counts only with spot: true"
        elif block.max_wait_hours < block.max_hours:
            yield (
                f"sagemaker.max_wait_hours {block.max_wait_hours:g} must be at least max_hours "
                f"{block.max_hours:g}: it counts waiting and training together"
            )
    if block.kms_key and len({has_local_storage(kind) for kind in block.instance_types}) > 1:
        yield (
            "sagemaker.kms_key cannot encrypt the disks of some of sagemaker.instance_type, which have their own, "
            "and AMT asks all or none; name types of one kind"
        )
    if block.instance_count > 1 and not block.distributed:
        yield (
            f"sagemaker.instance_count {block.instance_count} without distributed: true would "
            "train the same trial on each machine"
        )
    if bool(block.subnets) != bool(block.security_groups):
        missing = "security_groups" if block.subnets else "subnets"
        yield f"sagemaker.{missing} is missing: a VPC needs subnets and security_groups"
    if block.warm_start and plan_of(loaded, 1).strategy == "Grid":
        yield "sagemaker.warm_start does not go with a grid, which tries every point anyway"
    for name, uri in block.channels.items():
        if not uri.startswith("s3://"):
            yield f"sagemaker.channels.{name} {uri!r} is not an s3:// address"
        if name in ("training", "models"):
            yield f"sagemaker.channels.{name} is a channel that the sweep fills itself"
    if block.source_dir is not None and loaded.uses_own_script:
        yield "sagemaker.source_dir is for a script of your own; train_script travels by itself"


def _regex_problems(loaded: LoadedSweep) -> Iterator[str]:
    """Tries the objective's regex on a line of the kind that the script prints."""
    metric = loaded.sweep.objective.metric
    line = example_line(loaded)
    found = metric_pattern(metric).search(line)
    if found is None or float(found.group(1)) != EXAMPLE_SCORE:
        yield f"objective.metric {metric}: the regex {metric_pattern(metric).pattern} misses {line}"


EXAMPLE_SCORE = 0.8912


def example_line(loaded: LoadedSweep) -> str:
    """A line as the script prints it, by the function with which it prints."""
    return evaluation_line(
        {"epoch": 1.0, "fraction": 0.25, loaded.sweep.objective.metric: EXAMPLE_SCORE}
    )


def role_of(loaded: LoadedSweep, environment: Mapping[str, str] = os.environ) -> str | None:
    """The role that the file or $SAGEMAKER_ROLE names."""
    return loaded.sweep.sagemaker.role or environment.get("SAGEMAKER_ROLE") or None
