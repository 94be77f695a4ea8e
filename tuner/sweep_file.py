"""A sweep file as models: every key with its default and what it is (see docs/reference.md)."""

from typing import Annotated, Literal

from pydantic import Field

from tuner.block import Block
from tuner.sagemaker_block import SageMakerBlock
from tuner.space import Parameter, Scalar

DEFAULT_SCRIPT = "train_script/train.py"


class TaskBlock(Block):
    """What the model learns. Left out for a script of your own that reads its own data."""

    name: str = "file"
    """`mrpc`, `cola`, `demo`, or `file` for your own data"""
    data: str | None = None
    """A folder or file, beside the sweep file; left out: the hub, or generated for `demo`"""
    validation: str | None = None
    """Task `file`: a validation file of its own; left out: a share of the training data"""
    text: list[str] | str = []
    """Task `file`: the text column, or two for pairs"""
    label: str = ""
    """Task `file`: the label column"""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share set apart where there is no validation file; never from test data"""
    limit: Annotated[int, Field(ge=0)] = 0
    """Use only so many training examples, stratified; 0: all"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the split, the limit and the demo; the same for all trials"""


class Objective(Block):
    """The number by which trials are compared."""

    metric: Annotated[str, Field(min_length=1)]
    """A metric of the script; for your own script the name in the JSON lines it prints"""
    direction: Literal["maximize", "minimize"] | None = None
    """Known for the script's own metrics; needed for others"""


class Search(Block):
    """How points are chosen and hopeless trials stopped."""

    sampler: Literal["tpe", "random", "qmc", "grid", "gp", "cmaes"] = "tpe"
    """How points are chosen; `qmc` is a scrambled Sobol sequence"""
    pruner: Literal["median", "halving", "hyperband", "none"] = "median"
    """What stops hopeless trials, at equal shares of their schedules"""
    space_filling: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The share of the trials spread evenly before an adaptive sampler takes over"""
    start_with_default: bool = True
    """The first trial is the default configuration, to which the winner is compared"""
    seed: Annotated[int, Field(ge=0, le=4_000_000_000)] = 0
    """Decides every point; trial n trains with seed + n"""


class Confirm(Block):
    """The best configurations and the default are run again on fresh seeds."""

    top: Annotated[int, Field(ge=0)] = 1
    """How many of the best; 0: no confirmation, and so an optimistic winner"""
    seeds: Annotated[int, Field(ge=1)] = 2
    """Fresh seeds for each, the same ones for all"""


class Budget(Block):
    """What the sweep may use."""

    trials: Annotated[int, Field(ge=1)] = 20
    """Trials of search; confirmation comes on top, and `tuner plan` says how many in all"""
    parallel: Annotated[int, Field(ge=1)] = 1
    """Trials at once; the cores are divided between them"""
    hours: Annotated[float, Field(gt=0)] | None = None
    """A hard cap on the time on the clock; trials in flight are stopped and can go on later"""
    usd: Annotated[float, Field(gt=0)] | None = None
    """A hard cap on the money, what is in flight included; needs prices"""
    silent_minutes: Annotated[float, Field(gt=0)] | None = 60
    """Here, a trial that prints nothing for so long hangs, is killed and has failed; null: never"""


class Sweep(Block):
    """A whole sweep file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    """Names the study and the folder under runs/; left out: the file's own name"""
    script: str = DEFAULT_SCRIPT
    """The script here, or any other that keeps the training contract, beside the sweep file"""
    task: TaskBlock | None = None
    """What the model learns"""
    model: str | None = None
    """A hub name, a folder, or minilm-l6; left out: the script's default"""
    objective: Objective
    """The number by which trials are compared"""
    space: Annotated[dict[str, Parameter], Field(min_length=1)]
    """The searched hyperparameters, by name"""
    fixed: dict[str, Scalar] = {}
    """Options of the script that all trials share"""
    search: Search = Search()
    """How points are chosen"""
    confirm: Confirm = Confirm()
    """Re-runs on fresh seeds"""
    budget: Budget = Budget()
    """What the sweep may use"""
    prices: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Dollars an hour: `here` for this machine, or by instance type; beside ~/.config/tuner/prices.yaml"""
    storage: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://)")] | None = None
    """The ledger's database, for many machines; left out: a file in the run folder"""
    backend: Literal["local", "sagemaker"] = "local"
    """Where trials run: this machine, or SageMaker Automatic Model Tuning"""
    sagemaker: SageMakerBlock = SageMakerBlock()
    """How, on SageMaker"""
