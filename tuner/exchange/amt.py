"""A finished AMT tuning job, ours or not, as a ledger."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from tuner.aws import jobs
from tuner.aws.request import CHOSEN_BY, as_decoded
from tuner.aws.session import Aws
from tuner.errors import TunerError
from tuner.ledger import Ledger
from tuner.sagemaker_block import SageMakerBlock
from tuner.space import Scalar


@dataclass(frozen=True)
class TuningJob:
    """What a tuning job's description says of its objective and its space."""

    name: str
    metric: str
    direction: str
    regex: str | None
    distributions: dict[str, BaseDistribution]
    strategy: str
    status: str
    region: str
    said: Mapping[str, Any]


def read_tuning_job(aws: Aws, name: str) -> TuningJob:
    """The tuning job of this name; TunerError where there is none or it is not over."""
    said = jobs.read_tuning_job(aws, name)
    if said is None:
        raise TunerError(f"there is no tuning job {name} in {aws.region} of account {aws.account}")
    status = said["HyperParameterTuningJobStatus"]
    if status not in jobs.TUNING_TERMINAL:
        raise TunerError(f"tuning job {name} is {status}: import it when it is over")
    config = said["HyperParameterTuningJobConfig"]
    definition = said.get("TrainingJobDefinition")
    if definition is None or "ParameterRanges" not in config:
        raise TunerError(
            f"tuning job {name} has several training job definitions (several algorithms); "
            "a report compares trials of one space"
        )
    objective = config["HyperParameterTuningJobObjective"]
    regexes = {
        metric["Name"]: metric["Regex"]
        for metric in definition["AlgorithmSpecification"].get("MetricDefinitions") or []
    }
    return TuningJob(
        name=name,
        metric=objective["MetricName"],
        direction=objective["Type"].lower(),
        regex=regexes.get(objective["MetricName"]),
        distributions=distributions_of(config["ParameterRanges"]),
        strategy=config["Strategy"],
        status=status,
        region=aws.region,
        said=said,
    )


def distributions_of(ranges: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """AMT's ranges as Optuna's distributions; a reverse logarithmic scale counts as linear."""
    found: dict[str, BaseDistribution] = {}
    for entry in ranges.get("ContinuousParameterRanges") or []:
        low, high = float(entry["MinValue"]), float(entry["MaxValue"])
        log = entry.get("ScalingType") == "Logarithmic"
        found[entry["Name"]] = FloatDistribution(low, high, log=log)
    for entry in ranges.get("IntegerParameterRanges") or []:
        low, high = round(float(entry["MinValue"])), round(float(entry["MaxValue"]))
        log = entry.get("ScalingType") == "Logarithmic"
        found[entry["Name"]] = IntDistribution(low, high, log=log)
    for entry in ranges.get("CategoricalParameterRanges") or []:
        found[entry["Name"]] = CategoricalDistribution(typed(entry["Values"]))
    return found


def typed(texts: list[str]) -> list[Scalar]:
    """The values of a choice in the one type that fits all of them: int, float, bool, else text."""
    words = [as_decoded(text) for text in texts]
    kinds: tuple[Callable[[str], Scalar], ...] = (int, _number, _boolean)
    for kind in kinds:
        try:
            values = [kind(word) for word in words]
        except (ValueError, KeyError):
            continue
        if len(set(values)) == len(values):
            return values
    return list(words)


def _number(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return value


def _boolean(word: str) -> bool:
    return {"true": True, "false": False, "True": True, "False": False}[word]


def bring_in(
    aws: Aws,
    tuning_job: TuningJob,
    ledger: Ledger,
    say: Callable[[str], None],
    curves: bool = True,
    block: SageMakerBlock | None = None,
) -> int:
    """Adds the training jobs that the ledger lacks, each once; how many were added.

    `block` knows what an hour of their instances costs.
    """
    known = {t.user_attrs.get("training_job") for t in ledger.read_trials()}
    added = 0
    for summary in jobs.list_jobs(aws, tuning_job.name):
        if summary["TrainingJobName"] in known:
            continue
        job = jobs.read_job(aws, summary["TrainingJobName"])
        if job is None:
            say(f"training job {summary['TrainingJobName']} is no longer on AWS; left out")
            continue
        stream, lines = jobs.read_log(aws, job.name) if curves else ("", [])
        ledger.study.add_trial(_trial(tuning_job, job, summary, stream, lines, block))
        added += 1
        if added % 25 == 0:
            say(f"{added} training jobs read")
    return added


def _trial(
    tuning_job: TuningJob, job: jobs.TrainingJob, summary: Mapping[str, Any], stream: str,
    lines: list[str], block: SageMakerBlock | None,
) -> optuna.trial.FrozenTrial:  # fmt: skip
    params = {
        name: _value(distribution, job.hyperparameters[name])
        for name, distribution in tuning_job.distributions.items()
        if name in job.hyperparameters
    }
    output = jobs.read_output(tuning_job.metric, lines)
    curve = output.curve or _counted(tuning_job, lines)
    value = jobs.objective_of(job, output, lines, tuning_job.metric)
    final = summary.get("FinalHyperParameterTuningJobObjectiveMetric") or {}
    if value is None and final:
        value = float(final["Value"])
    with_it = jobs.was_stopped_with(tuning_job.said, job, None)
    ending = jobs.ending_of(
        job, value, stopped_by_us=with_it, lines=lines, metric=tuning_job.metric,
        said_its_end=output.is_at_end,
    )  # fmt: skip
    facts = jobs.facts_of_trial(job, block or SageMakerBlock(), output, ending, stream, lines) | {
        "purpose": "search",
        "chosen_by": CHOSEN_BY.get(tuning_job.strategy, "adaptive"),
        "tuning_job": tuning_job.name,
    }
    if job.hyperparameters.get("seed", "").isdigit():
        facts["seed"] = int(job.hyperparameters["seed"])
    if curve and output.fraction is None:
        facts["steps"] = "evaluations"
    last = curve[max(curve)] if curve else None
    values = {TrialState.COMPLETE: value, TrialState.PRUNED: last}
    trial = create_trial(
        state=ending.state,
        value=values.get(ending.state),
        params=params,
        distributions={name: tuning_job.distributions[name] for name in params},
        user_attrs=facts,
        intermediate_values=dict(curve),
    )
    trial.datetime_start, trial.datetime_complete = _local(job.started), _local(job.ended)
    return trial


def _counted(tuning_job: TuningJob, lines: list[str]) -> dict[int, float]:
    """The objective at each evaluation, by the tuning job's own regex; steps are counts from 1."""
    if tuning_job.regex is None:
        return {}
    try:
        pattern = re.compile(tuning_job.regex)
    except re.error:  # AWS reads a few patterns that Python does not
        return {}
    found = [match.group(1) for line in lines if (match := pattern.search(line)) and match.groups()]
    curve: dict[int, float] = {}
    for text in found:
        try:
            curve[len(curve) + 1] = float(text)
        except ValueError:
            continue
    return curve


def _value(distribution: BaseDistribution, text: str) -> Scalar:
    """A hyperparameter's text as a value of its distribution."""
    word = as_decoded(text)
    if isinstance(distribution, CategoricalDistribution):
        by_text = {str(choice): choice for choice in distribution.choices}
        by_text |= {word.lower(): choice for word, choice in by_text.items()}
        found = by_text.get(word, by_text.get(word.lower()))
        if found is None:
            found = next((c for c in distribution.choices if _same_number(c, word)), None)
        if found is None:
            raise TunerError(f"{text!r} is none of the choices {distribution.choices}")
        return found
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    number = min(max(float(word), distribution.low), distribution.high)  # AWS may round outwards
    return round(number) if isinstance(distribution, IntDistribution) else number


def _same_number(choice: Any, word: str) -> bool:
    try:
        return float(choice) == float(word)
    except (TypeError, ValueError):
        return False


def _local(moment: datetime | None) -> datetime | None:
    """Optuna keeps times without a zone, in this machine's."""
    return moment and moment.astimezone().replace(tzinfo=None)
