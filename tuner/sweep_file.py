"""A sweep file as models: every key with its default and what it is (see docs/reference.md)."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from tuner.block import Block, Positive
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
    symmetric: bool = False
    """Task `file`: the order of a pair does not affect its label, so `augment: swap` may be used"""
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

    sampler: Literal["tpe", "random", "qmc", "grid", "one_at_a_time", "gp", "cmaes"] = "tpe"
    """How points are chosen; `qmc` is a scrambled Sobol sequence, `one_at_a_time` the default with each of its values changed alone"""
    pruner: Literal["median", "halving", "hyperband", "none"] = "median"
    """What stops hopeless trials, at equal shares of their schedules"""
    space_filling: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The share of the trials spread evenly before an adaptive sampler takes over"""
    start_with_default: bool = True
    """The first trial is the default configuration, to which the winner is compared"""
    seed: Annotated[int, Field(ge=0, le=4_000_000_000)] = 0
    """Decides every point; search trial n trains with seed + n, one on fresh seeds from seed + 100,000 up, on SageMaker all trials of the search with seed"""


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
    parallel: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials at once; the cores are divided between them. `auto` measures at the start what is fastest here, up to 16, and is 1 on SageMaker and for a script of your own"""
    hours: Positive | None = None
    """A hard cap on the time on the clock; trials in flight are stopped and can be resumed later"""
    usd: Positive | None = None
    """A hard cap on the money, what is in flight included; needs prices"""
    stop_early: bool = False
    """End the search when what it could still gain is probably (90 %) less than the noise between seeds"""
    silent_minutes: Positive | None = 60
    """Here, a trial that prints nothing for so long hangs, is killed and has failed; null: never"""

    @property
    def at_once(self) -> int:
        """Trials at once; 1 for an `auto` that nobody has settled by a measurement."""
        return 1 if self.parallel == "auto" else self.parallel


class Email(Block):
    """A mail to people, through a mail server of yours."""

    to: Annotated[list[str], Field(min_length=1)]
    """Whom it is sent to"""
    sender: str
    """The address that it is from"""
    server: Annotated[str, Field(pattern=r"^[^\s:]+(:[0-9]{1,5})?$")]
    """HOST or HOST:PORT; 587 with STARTTLS where left out, 465 is TLS from the start"""
    user: str | None = None
    """The login, where the server wants one"""
    password: Annotated[str, Field(pattern=r"^\$[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """$NAME of the environment variable that holds the password"""


class Tell(Block):
    """Who is told what came of a slot."""

    when: Literal["change", "always"] = "change"
    """Only where something changed or went wrong, or after each slot"""
    webhook: Annotated[str, Field(pattern=r"^(https?://|\$[A-Za-z_])")] | None = None
    """An address that takes JSON as Slack's do, or $NAME of the environment variable that holds it"""
    email: Email | None = None
    """A mail"""
    link: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """The address under which runs/NAME-slots/ is served, so that the message can link to the report"""


class Schedule(Block):
    """When the sweep runs by itself: see `tuner schedule`."""

    cron: str
    """Minute, hour, day of month, month, day of week, as in cron: "0 6 * * MON" (quoted)"""
    timezone: str = "UTC"
    """The time zone of `cron`, as in Europe/Berlin"""
    jitter_minutes: Annotated[float, Field(ge=0, le=1440)] = 0
    """The start is delayed by up to so long, each slot by its own chance, so that not all start at once"""
    missed: Literal["once", "skip"] = "once"
    """Where nobody was there at the time of slots: run the newest of them, or none"""
    overlap: Literal["queue", "skip"] = "queue"
    """Where the slot before still runs: wait for it, or leave this one out"""
    warm: bool = True
    """The last slot's winner is run early, and its trials tell the sampler where to look first; not for the samplers grid and one_at_a_time, nor on SageMaker"""
    tell: Tell = Tell()
    """Who is told"""

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        why = ""
        try:
            CronSim(text, datetime.now(UTC))
        except CronSimError as exc:
            why = str(exc).lower()
        if not why and len(text.split()) != 5:  # cronsim takes six as well, with seconds
            why = f"{len(text.split())} fields"
        if why:
            raise ValueError(f"is no schedule ({why}): five fields as in cron, such as 0 6 * * MON")
        return text

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError("is no time zone: write one such as Europe/Berlin, or UTC") from exc
        return name


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
    schedule: Schedule | None = None
    """When it runs by itself, and who is told what came of it"""
    prices: dict[str, Positive] = {}
    """Dollars an hour: `here` for this machine, or by instance type; beside ~/.config/tuner/prices.yaml"""
    storage: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://)")] | None = None
    """The ledger's database, for many machines; left out: a file in the run folder"""
    backend: Literal["local", "sagemaker"] = "local"
    """Where trials run: this machine, or SageMaker Automatic Model Tuning"""
    sagemaker: SageMakerBlock = SageMakerBlock()
    """How, on SageMaker"""
