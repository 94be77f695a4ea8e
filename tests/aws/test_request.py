"""The translation: what AMT is asked for, and what the script gets out of it."""

import json
import math
import random
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sagemaker_training import environment as toolkit_environment
from sagemaker_training import mapping, params

from tests.emulator.tuning import draw
from train_script.config import OPTIONS, TUNABLE, TYPES, TrainConfig, parse_arguments
from tuner.aws.limits import UNKNOWN, sweep_problems
from tuner.aws.request import (
    as_decoded,
    for_container,
    job_stem,
    point_of,
    static_hyperparameters,
    training_request,
    tuning_request,
)
from tuner.aws.shape import request_problems
from tuner.sweep import load_sweep


@pytest.fixture(autouse=True, scope="module")
def _role():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGEMAKER_ROLE", "arn:aws:iam::123456789012:role/tuner")
        yield


FLOATS = [n for n in TUNABLE if TYPES[n] is float]
INTS = [n for n in TUNABLE if TYPES[n] is int and n not in ("seed", "early_stopping")]
TEXTS = [
    "schedule", "class_weights", "precision", "pooling", "augment", "gradient_checkpointing",
]  # fmt: skip


def _bounds(name: str) -> tuple[float, float]:
    rule = OPTIONS[name].metadata
    low = rule["low"] if rule["low"] is not None else 1e-6
    high = (
        next(rule[k] for k in ("high", "below") if rule[k] is not None)
        if (rule["high"] is not None or rule["below"] is not None)
        else 1e3
    )
    return low, high * 0.999 if rule["below"] is not None else high


@st.composite
def _parameter(draw_one, name: str) -> dict[str, object]:
    low, high = _bounds(name) if name not in TEXTS else (0, 0)
    if name in TEXTS:
        choices = [c for c in OPTIONS[name].metadata["choices"] if c != "synonyms"]
        return {"choice": draw_one(st.lists(st.sampled_from(choices), min_size=1, unique=True))}
    whole = TYPES[name] is int
    number = (
        st.integers(int(low), int(high))
        if whole
        else st.floats(low, high, allow_subnormal=False, exclude_min=low == 0, width=64)
    )
    values = sorted(draw_one(st.lists(number, min_size=2, max_size=6, unique=True)))
    if draw_one(st.booleans()):
        return {"choice": draw_one(st.permutations(values))}
    log = values[0] > 0 and draw_one(st.booleans())
    form: dict[str, object] = {"int" if whole else "float": [values[0], values[-1]]}
    return form | ({"scale": "log"} if log else {})


@st.composite
def _sweep(draw_one) -> dict[str, object]:
    names = draw_one(st.lists(st.sampled_from([*FLOATS, *INTS, *TEXTS]), min_size=1, unique=True))
    fixable = [n for n in (*FLOATS, *INTS) if n not in names]
    fixed = {}
    for name in draw_one(st.lists(st.sampled_from(fixable), unique=True)) if fixable else []:
        low, high = _bounds(name)
        fixed[name] = (
            draw_one(st.integers(int(low), int(high)))
            if TYPES[name] is int
            else draw_one(st.floats(low, high, exclude_min=low == 0, allow_subnormal=False))
        )
    return {
        "name": "parity",
        "task": {"name": "demo"},
        "model": "minilm-l6",
        "objective": {"metric": draw_one(st.sampled_from(["eval_f1", "eval_loss"]))},
        "space": {name: draw_one(_parameter(name)) for name in names},
        "fixed": fixed,
        "search": {"seed": draw_one(st.integers(0, 2**31 - 1))},
        "budget": {"trials": 2},  # of a finite space AMT takes no more than it has points
        "backend": "sagemaker",
    }


def toolkit_arguments(hyperparameters: dict[str, str], folder) -> list[str]:
    """The argument list that the container's own code makes of hyperparameters.json."""
    path = folder / "hyperparameters.json"
    path.write_text(json.dumps(hyperparameters))
    before = toolkit_environment.hyperparameters_file_dir
    toolkit_environment.hyperparameters_file_dir = str(path)
    try:
        read = toolkit_environment.read_hyperparameters()
    finally:
        toolkit_environment.hyperparameters_file_dir = before
    users = mapping.split_by_criteria(
        read, keys=params.SAGEMAKER_HYPERPARAMETERS, prefix=params.SAGEMAKER_PREFIX
    ).excluded
    return mapping.to_cmd_args(users)


@settings(
    max_examples=200, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(sweep=_sweep(), seed=st.integers(0, 2**32))
def test_both_backends_give_the_script_the_same_arguments(sweep, seed, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep, sort_keys=False))
    loaded = load_sweep(path)
    searched = [n for n, p in loaded.sweep.space.items() if p.size != 1]
    if not searched:
        assert "space has no parameter with more than one value" in sweep_problems(loaded)[0]
        return
    assert sweep_problems(loaded) == []
    request = tuning_request(loaded, UNKNOWN, "job", 10)
    # AMT draws a point and writes its numbers in its own way; the container's toolkit reads them.
    tuned = draw(request["HyperParameterTuningJobConfig"]["ParameterRanges"], random.Random(seed))
    sent = {**request["TrainingJobDefinition"]["StaticHyperParameters"], **tuned}
    sent["_tuning_objective_metric"] = loaded.sweep.objective.metric
    in_container = toolkit_arguments(sent, tmp_path)
    point = point_of(loaded, tuned)
    local = loaded.arguments(point, loaded.sweep.search.seed)
    assert in_container == local
    parsed = parse_arguments(local, {})
    assert parse_arguments(in_container, {}) == parsed
    for name, value in point.items():
        if name != "model":
            assert getattr(parsed, name) == value
    # And a training job of ours, at the same point, gets the same once more.
    own = training_request(loaded, UNKNOWN, "job", point, loaded.sweep.search.seed)
    assert toolkit_arguments(own["HyperParameters"], tmp_path) == local
    assert request_problems("CreateTrainingJob", own) == []


@pytest.mark.parametrize(
    "value",
    ["true", "1e5", "null", "NaN", '"quoted"', "[1, 2]", '{"a": 1}', "", "plain", "007", "é"],
)
def test_texts_that_look_like_json_reach_the_script_as_they_are(value, tmp_path):
    assert toolkit_arguments({"option": for_container(value)}, tmp_path) == ["--option", value]
    assert as_decoded(for_container(value)) == value


def test_values_of_a_choice_come_back_in_their_own_types(write_sweep):
    loaded = load_sweep(
        write_sweep(space={"flag": {"choice": [True, "true-ish", 3, 2.5, "a b"]},
                           "rate": {"float": [1e-5, 1e-1], "scale": "log"}})
    )  # fmt: skip
    entry = tuning_request(loaded, UNKNOWN, "job", 4)["HyperParameterTuningJobConfig"]
    sent = entry["ParameterRanges"]["CategoricalParameterRanges"][0]["Values"]
    back = [point_of(loaded, {"flag": text, "rate": "5.0E-5"}) for text in sent]
    assert [p["flag"] for p in back] == [True, "true-ish", 3, 2.5, "a b"]
    assert [type(p["flag"]) for p in back] == [bool, str, int, float, str]
    assert {p["rate"] for p in back} == {5e-5}
    with pytest.raises(ValueError, match="none of the sweep's choices"):
        point_of(loaded, {"flag": "9", "rate": "1e-3"})


def test_every_setting_of_the_block_is_in_the_request(write_sweep):
    block = {
        "instance_type": ["ml.g5.xlarge", "ml.g4dn.xlarge"], "volume_gb": 50, "retries": 3,
        "strategy": "bayesian", "early_stopping": True, "autotune": True, "distributed": True,
        "instance_count": 2, "max_hours": 2, "kms_key": "alias/key", "subnets": ["subnet-1"],
        "security_groups": ["sg-1"], "environment": {"NAME": "value"}, "tags": {"team": "nlp"},
        "completion": {"target": 0.9, "not_improving": 5, "convergence": True},
        "warm_start": {"type": "transfer", "parents": ["old-1", "old-2"]},
    }  # fmt: skip
    loaded = load_sweep(write_sweep(sagemaker=block, search={"seed": 0}, backend="sagemaker"))
    assert sweep_problems(loaded) == []
    request = tuning_request(loaded, UNKNOWN, "job-3", 20, 7200, parents=["job", "job-2"])
    config, definition = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    assert config["RandomSeed"] == 0
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert config["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2, "MaxRuntimeInSeconds": 7200,
    }  # fmt: skip
    assert config["TuningJobCompletionCriteria"] == {
        "TargetObjectiveMetricValue": 0.9,
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5},
        "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"},
    }
    assert config["ParameterRanges"]  # not dropped, as v3 of the SDK does with autotune
    assert request["Autotune"] == {"Mode": "Enabled"}
    parents = request["WarmStartConfig"]["ParentHyperParameterTuningJobs"]
    assert [p["HyperParameterTuningJobName"] for p in parents] == ["job-2", "job", "old-1", "old-2"]
    assert request["WarmStartConfig"]["WarmStartType"] == "TransferLearning"
    resources = definition["HyperParameterTuningResourceConfig"]
    assert resources["AllocationStrategy"] == "Prioritized"
    assert [c["InstanceType"] for c in resources["InstanceConfigs"]] == block["instance_type"]
    assert definition["OutputDataConfig"]["KmsKeyId"] == "alias/key"
    assert "VolumeKmsKeyId" not in resources  # these types have disks of their own
    assert definition["StaticHyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    assert definition["RetryStrategy"] == {"MaximumRetryAttempts": 3}
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}
    assert definition["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert definition["Environment"]["NAME"] == "value"
    assert request["Tags"] == [{"Key": "team", "Value": "nlp"}]
    assert request_problems("CreateHyperParameterTuningJob", request) == []


def test_spot_keeps_the_checkpoints_of_each_tuning_job_apart(write_sweep):
    loaded = load_sweep(write_sweep(sagemaker={"spot": True, "max_hours": 1}, backend="sagemaker"))
    definition = tuning_request(loaded, UNKNOWN, "job", 4)["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200,
    }  # fmt: skip
    assert definition["CheckpointConfig"]["S3Uri"] == "s3://BUCKET/tuner/checkpoints/job/"
    assert definition["Environment"]["CHECKPOINT_DIR"] == "/opt/ml/checkpoints"


@pytest.mark.parametrize(
    ("search", "strategy", "stopping"),
    [
        ({"sampler": "tpe"}, "Bayesian", "Auto"),
        ({"sampler": "gp", "pruner": "none"}, "Bayesian", "Off"),
        ({"sampler": "random"}, "Random", "Auto"),
        ({"sampler": "tpe", "pruner": "hyperband"}, "Hyperband", "Off"),
        ({"sampler": "grid"}, "Grid", "Off"),
    ],
)
def test_sampler_and_pruner_become_a_strategy(write_sweep, search, strategy, stopping):
    loaded = load_sweep(
        write_sweep(
            search=search, fixed={"epochs": 3}, backend="sagemaker", budget={"trials": 16},
            space={"rate": {"choice": [0.1, 0.2]}, "depth": {"int": [1, 8]}},
        )
    )  # fmt: skip
    assert sweep_problems(loaded) == []
    config = tuning_request(loaded, UNKNOWN, "job", 16)["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == strategy
    assert config["TrainingJobEarlyStoppingType"] == stopping
    if strategy == "Grid":
        assert "MaxNumberOfTrainingJobs" not in config["ResourceLimits"]
        assert set(config["ParameterRanges"]) == {"CategoricalParameterRanges"}
    if strategy == "Hyperband":
        assert config["StrategyConfig"]["HyperbandStrategyConfig"]["MaxResource"] == 3


def test_choice_of_one_value_is_sent_as_a_static_one(write_sweep):
    loaded = load_sweep(
        write_sweep(space={"rate": {"float": [0.1, 1.0]}, "mode": {"choice": ["well"]}})
    )
    assert static_hyperparameters(loaded, UNKNOWN)["mode"] == "well"
    ranges = tuning_request(loaded, UNKNOWN, "j", 2)["HyperParameterTuningJobConfig"]
    assert list(ranges["ParameterRanges"]) == ["ContinuousParameterRanges"]
    assert point_of(loaded, {"rate": "0.5"}) == {"rate": 0.5, "mode": "well"}


def test_job_names_are_amts_and_tell_sweeps_apart(write_sweep):
    loaded = load_sweep(write_sweep(name="a_very.long-name_for.a-sweep_indeed_yes"))
    one = job_stem(loaded, "run", UNKNOWN)
    assert one == job_stem(loaded, "run", UNKNOWN)
    other_code = replace(UNKNOWN, code="s3://BUCKET/source/other.tar.gz")
    other_data = replace(UNKNOWN, channels={"training": "s3://BUCKET/data/other/"})
    other_image = replace(UNKNOWN, image="other")
    places = (UNKNOWN, other_code, other_data, other_image)
    assert len({job_stem(loaded, "run", place) for place in places}) == 4
    assert job_stem(loaded, "other-run", UNKNOWN) != one
    models = ("bert-base-uncased", "roberta-base")  # of the hub: no channel has their hash
    hub = {job_stem(load_sweep(write_sweep(model=name)), "run", UNKNOWN) for name in models}
    assert len({one, *hub}) == 3
    request = tuning_request(loaded, UNKNOWN, f"{one}-99", 2)
    assert request_problems("CreateHyperParameterTuningJob", request) == []


@pytest.mark.parametrize(
    ("instance_type", "takes_key"),
    [("ml.m5.xlarge", True), ("ml.c5n.xlarge", True), ("ml.g4dn.xlarge", False),
     ("ml.r5d.large", False), ("ml.g6e.2xlarge", False), ("ml.p3.2xlarge", True)],
)  # fmt: skip
def test_key_for_the_disk_goes_only_where_aws_takes_one(write_sweep, instance_type, takes_key):
    block = {"instance_type": instance_type, "kms_key": "alias/key"}
    loaded = load_sweep(write_sweep(sagemaker=block))
    resources = tuning_request(loaded, UNKNOWN, "j", 2)["TrainingJobDefinition"]["ResourceConfig"]
    assert ("VolumeKmsKeyId" in resources) is takes_key


def test_key_for_the_disks_of_several_types_is_all_or_none(write_sweep):
    block = {"instance_type": ["ml.p3.2xlarge", "ml.g4dn.xlarge"], "kms_key": "alias/key"}
    loaded = load_sweep(write_sweep(sagemaker=block))
    assert any("kms_key cannot encrypt the disks of some" in p for p in sweep_problems(loaded))
    own = training_request(loaded, UNKNOWN, "j", {"rate": 1e-3, "depth": 1}, 0)
    assert (
        own["ResourceConfig"]["VolumeKmsKeyId"] == "alias/key"
    )  # the first type has a disk of AWS's


def test_a_step_of_a_float_is_no_step_to_amt_whatever_its_size(write_sweep):
    space = {
        "alpha": {"float": [0, 4], "step": 1, "default": 1},
        "depth": {"int": [1, 4], "step": 1, "default": 1},
    }
    problems = sweep_problems(load_sweep(write_sweep(space=space)))
    assert [p for p in problems if "AMT knows no steps" in p] == [
        "space.alpha has step: 1, and AMT knows no steps; write choice: with the values, or leave step out"
    ]


def test_each_part_of_a_sweep_draws_other_points(write_sweep):
    loaded = load_sweep(write_sweep(search={"sampler": "random", "seed": 2**31 - 1}))
    seeds = [
        tuning_request(loaded, UNKNOWN, "j", 2, part=part)["HyperParameterTuningJobConfig"][
            "RandomSeed"
        ]
        for part in (1, 2, 3)
    ]
    assert seeds == [2**31 - 1, 0, 1]


def test_number_rounded_out_of_its_range_is_moved_back(write_sweep):
    loaded = load_sweep(write_sweep())
    given = {"rate": "9.999999999999999E-6", "depth": "4"}
    assert point_of(loaded, given) == {"rate": 1e-5, "depth": 4}


def test_config_has_no_option_that_the_toolkit_would_shorten():
    assert all(len(name) > 1 for name in OPTIONS)
    assert not math.isnan(TrainConfig().learning_rate)
