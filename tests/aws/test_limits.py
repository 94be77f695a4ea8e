"""Every rule of AMT's, broken once: one sentence each, and no request."""

import pytest

from tuner.aws.limits import UNKNOWN, sweep_problems
from tuner.aws.request import tuning_request
from tuner.aws.shape import request_problems
from tuner.sweep import load_sweep


@pytest.fixture(autouse=True, scope="module")
def _role():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_ROLE", "arn:aws:iam::123456789012:role/tuner")
        yield


MANY = {f"option_{i}": {"float": [0.0, 1.0]} for i in range(31)}
SPACE = {"rate": {"float": [0.1, 1.0]}}


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ({"space": MANY}, "space has 31 parameters; AMT searches at most 30"),
        ({"space": {"rate": {"choice": list(range(31))}}}, "space.rate has 31 values; AMT takes"),
        ({"space": {"rate": {"float": [0.0, 1.0], "step": 0.1}}}, "AMT knows no steps"),
        (
            {"space": {**SPACE, "mode": {"choice": ["a", "b"]},
                       "more": {"int": [1, 3], "when": {"mode": "a"}}}},
            "space.more has when:, and AMT knows no conditional parameters",
        ),
        ({"space": {"rate": {"choice": [0.1]}}}, "no parameter with more than one value"),
        ({"space": {"x": {"float": [0.0, 1.0]}}}, "would reach the script as -x"),
        ({"space": {**SPACE, "mode": {"choice": [1, "1"]}}}, "2 values that reach the script as"),
        ({"fixed": {"mode": "x" * 2501}}, "fixed.mode has 2501 characters; SageMaker takes"),
        ({"fixed": {"sagemaker_mode": 1}}, "has a name that SageMaker keeps for itself"),
        (
            {"fixed": {f"option_{i}": 1 for i in range(100)}, "space": SPACE},
            "hyperparameters; AMT takes at most 100",
        ),
        ({"search": {"sampler": "qmc"}}, "search.sampler qmc has no counterpart in AMT"),
        ({"search": {"pruner": "halving"}}, "search.pruner halving has no counterpart in AMT"),
        ({"search": {"seed": 2**31}}, "is more than AMT's largest"),
        (
            {"space": {"mode": {"choice": ["a", "b"]}, "more": {"int": [1, 2]}}},
            "the space has 4 points, and AMT refuses more training jobs than that: budget.trials",
        ),
        (
            {"space": {"mode": {"choice": ["a", "b", "c", "d", "e"]}}},
            "the space has 5 points, and AMT refuses more training jobs than that: budget.trials 6",
        ),
        (
            {"search": {"pruner": "hyperband"}, "fixed": {"epochs": 3}, "sagemaker": {"spot": True}},
            "sagemaker.spot and sagemaker.retries do not go with Hyperband",
        ),
        ({"search": {"pruner": "hyperband"}}, "fixed.epochs is not there: AMT's Hyperband"),
        (
            {"search": {"pruner": "hyperband"}, "space": {"epochs": {"int": [1, 3]}}},
            "fixed.epochs stands in space",
        ),
        (
            {"search": {"pruner": "hyperband"}, "fixed": {"epochs": 3},
             "sagemaker": {"early_stopping": True}},
            "must be off with Hyperband",
        ),
        ({"search": {"sampler": "random", "pruner": "hyperband"}}, "a strategy of its own in AMT"),
        ({"budget": {"trials": 751}}, "more than the 750 training jobs of AMT's Bayesian"),
        (
            {"budget": {"trials": 10_001}, "search": {"sampler": "random"}},
            "more than the 10000 training jobs of AMT's Random",
        ),
        ({"budget": {"trials": 200, "parallel": 101}}, "budget.parallel 101 is more than AMT's"),
        (
            {"sagemaker": {"strategy": "grid"}, "space": {"depth": {"int": [1, 9]}}},
            "AMT runs the whole grid: 9 training jobs, more than budget.trials 6",
        ),
        ({"sagemaker": {"strategy": "grid"}}, "AMT's grid needs step: or choice:"),
        ({"sagemaker": {"instance_count": 2}}, "would train the same trial on each machine"),
        ({"sagemaker": {"subnets": ["subnet-1"]}}, "sagemaker.security_groups is missing"),
        ({"sagemaker": {"max_wait_hours": 3}}, "counts only with spot: true"),
        (
            {"sagemaker": {"spot": True, "max_hours": 4, "max_wait_hours": 3}},
            "must be at least max_hours 4",
        ),
        ({"sagemaker": {"instance_type": "ml.g4dn.xlrge"}}, "did you mean ml.g4dn.xlarge"),
        ({"sagemaker": {"instance_type": []}}, "sagemaker.instance_type is empty"),
        (
            {"sagemaker": {"spot": True, "instance_type": ["ml.g5.xlarge", "ml.g4dn.xlarge"]}},
            "spot does not go with several instance types",
        ),
        ({"sagemaker": {"channels": {"more": "/data"}}}, "is not an s3:// address"),
        ({"sagemaker": {"tags": {"a" * 129: "b"}}}, "sagemaker.tags: Tags[0].Key has 129 characters"),
        ({"sagemaker": {"tags": {"name": "a;b"}}}, "does not fit the pattern"),
        ({"sagemaker": {"environment": {f"V{i}": "1" for i in range(101)}}}, "entries; at most"),
        ({"sagemaker": {"subnets": [f"s-{i}" for i in range(17)], "security_groups": ["sg-1"]}},
         "17 entries; at most 16"),
        ({"sagemaker": {"image": "i" * 256}}, "sagemaker.image has 256 characters"),
        ({"budget": {"hours": 5000.0}}, "budget.hours in seconds 18000000 must be at most 15768000"),
        ({"sagemaker": {"channels": {"more": "s3:///x y"}}}, "sagemaker.channels: "),
        (
            {"sagemaker": {"strategy": "grid"}, "space": {"depth": {"int": [1, 60_000_000]}}},
            "space.depth has 60000000 values",
        ),
        (
            {"search": {"pruner": "hyperband"}, "fixed": {"epochs": 3.0}},
            "fixed.epochs 3.0 is no whole number",
        ),
        ({"sagemaker": {"role": "tuner"}}, "sagemaker.role 'tuner' is no role's ARN"),
    ],
)  # fmt: skip
def test_each_broken_rule_is_a_sentence(write_sweep, blocks, problem):
    loaded = load_sweep(write_sweep(backend="sagemaker", **blocks))
    assert any(problem in found for found in sweep_problems(loaded)), sweep_problems(loaded)


@pytest.mark.parametrize(
    "blocks",
    [
        {"space": {"mode": {"choice": ["a", "b", "c", "d", "e"], "default": "a"}}},  # ours is one of the six
        {"search": {"sampler": "grid"}, "sagemaker": {"strategy": "bayesian"}, "budget": {"trials": 20},
         "space": {"mode": {"choice": ["a", "b", "c"]}}},
    ],
)  # fmt: skip
def test_no_more_jobs_are_counted_than_amt_is_asked_for(write_sweep, blocks):
    loaded = load_sweep(write_sweep(backend="sagemaker", **blocks))
    assert not [found for found in sweep_problems(loaded) if "more training jobs" in found]


def test_all_problems_are_told_at_once(write_sweep):
    loaded = load_sweep(
        write_sweep(
            backend="sagemaker", search={"sampler": "qmc", "pruner": "halving"},
            sagemaker={"instance_count": 2, "subnets": ["subnet-1"]},
        )
    )  # fmt: skip
    assert len(sweep_problems(loaded)) == 4


def _planted(write_sweep):
    return tuning_request(load_sweep(write_sweep(backend="sagemaker")), UNKNOWN, "job", 4)


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("HyperParameterTuningJobName", "a" * 33, "has 33 characters; at most 32"),
        ("HyperParameterTuningJobName", "has_underscore", "does not fit the pattern"),
        ("HyperParameterTuningJobConfig.Strategy", "Guess", "'Guess' is unknown"),
        (
            "HyperParameterTuningJobConfig.ResourceLimits.MaxRuntimeInSeconds", 119,
            "119 must be at least 120",
        ),
        (
            "HyperParameterTuningJobConfig.ResourceLimits.MaxParallelTrainingJobs", "2",
            "must be a whole number, not '2'",
        ),
        ("TrainingJobDefinition.RoleArn", "tuner", "RoleArn has 5 characters; at least 20"),
        (
            "TrainingJobDefinition.OutputDataConfig.S3OutputPath", "bucket/prefix",
            "does not fit the pattern",
        ),
        ("TrainingJobDefinition.Nonsense", 1, "Nonsense is not part of the request"),
        ("TrainingJobDefinition.EnableManagedSpotTraining", "yes", "must be true or false"),
        ("TrainingJobDefinition.AlgorithmSpecification", {}, "TrainingInputMode is missing"),
        ("Tags", [{"Key": "a", "Value": "b"}] * 51, "has 51 entries; at most 50"),
    ],
)  # fmt: skip
def test_walk_over_the_published_model_finds_what_botocore_lets_pass(
    write_sweep, place, value, problem
):
    request = _planted(write_sweep)
    *parents, last = place.split(".")
    part = request
    for parent in parents:
        part = part[parent]
    part[last] = value
    found = request_problems("CreateHyperParameterTuningJob", request)
    assert any(problem in sentence for sentence in found), found


def test_missing_role_is_a_problem_that_names_both_ways(write_sweep, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_ROLE")
    (problem,) = sweep_problems(load_sweep(write_sweep(backend="sagemaker")))
    assert "sagemaker.role is missing" in problem
    assert "$SAGEMAKER_ROLE" in problem
