"""The `sagemaker:` block of a sweep file: how the sweep becomes an AMT tuning job."""

from typing import Annotated, Literal

from pydantic import Field

from tuner.block import Block, Finite, Positive


class Completion(Block):
    """When AMT may end the tuning job before its last training job."""

    target: Finite | None = None
    """As soon as the objective reaches this value"""
    not_improving: Annotated[int, Field(ge=3)] | None = None
    """After so many training jobs in a row without a better one; AMT counts only 1 % or more as better"""
    convergence: bool = False
    """When AMT finds that its search has converged: that it gains 1 % or less"""


class WarmStart(Block):
    """Earlier tuning jobs that AMT learns from."""

    type: Literal["identical", "transfer"] = "identical"
    """`identical`: same data, script and space; `transfer`: any of them may differ"""
    parents: Annotated[list[str], Field(min_length=1, max_length=5)]
    """The names of one to five finished tuning jobs"""


class SageMakerBlock(Block):
    """Only `backend: sagemaker` reads it; every key has a default."""

    region: str | None = None
    """Left out: AWS's own configuration ($AWS_REGION, the profile)"""
    role: str | None = None
    """The ARN of the jobs' execution role; left out: $SAGEMAKER_ROLE"""
    bucket: str | None = None
    """Where script, data and models go; left out: sagemaker-REGION-ACCOUNT"""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=200)] = (
        "tuner"
    )
    """The folder in the bucket"""
    instance_type: list[str] | str = "ml.g4dn.xlarge"
    """One type, or up to six in the order of preference, for when the first has no capacity (AWS lists five for that, of m5 and c5)"""
    instance_count: Annotated[int, Field(ge=1, le=20)] = 1
    """Machines of each trial; more than one needs `distributed`"""
    volume_gb: Annotated[int, Field(ge=1, le=16384)] = 30
    """Disk of each machine"""
    usd_per_hour: dict[str, Positive] | Positive | None = None
    """The price of one machine, or one for each type; left out: that of `prices`, or unknown"""
    image: str | None = None
    """A container image of your own; left out: AWS's PyTorch training container"""
    pytorch: str = "2.10"
    """The version of that container"""
    strategy: Literal["bayesian", "random", "hyperband", "grid"] | None = None
    """Left out: what search.sampler and search.pruner correspond to"""
    early_stopping: bool | None = None
    """AMT's median rule on the metrics of running jobs; left out: on with the pruner `median`"""
    autotune: bool = False
    """AMT chooses ranges, strategy, early stopping and numbers of jobs itself"""
    completion: Completion = Completion()
    """When to end early"""
    warm_start: WarmStart | None = None
    """Earlier tuning jobs to learn from"""
    spot: bool = False
    """Spare capacity at a discount; interrupted trials resume from their checkpoints"""
    max_hours: Annotated[float, Field(gt=0, le=672)] = 6
    """A hard cap on each training job"""
    max_wait_hours: Annotated[float, Field(gt=0, le=672)] | None = None
    """With `spot`: training and waiting together; left out: twice `max_hours`"""
    retries: Annotated[int, Field(ge=1, le=30)] | None = None
    """How often AWS starts a job again after an internal error"""
    distributed: bool = False
    """Starts the script with torchrun, one process for each GPU of each machine"""
    source_dir: str | None = None
    """The folder that travels with a script of your own; left out: the Python files beside it"""
    channels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], str] = {}
    """More input for a script of your own: channel name to s3:// address"""
    subnets: list[str] = []
    """Run inside a VPC: its subnets"""
    security_groups: list[str] = []
    """Run inside a VPC: its security groups"""
    kms_key: str | None = None
    """Encrypts disks and results"""
    environment: dict[str, str] = {}
    """Environment variables of the script; no secrets: AWS shows them in every description"""
    tags: dict[str, str] = {}
    """Tags of every job, as for billing"""
    poll_seconds: Annotated[float, Field(gt=0, le=600)] = 20
    """How often the job is asked for its state"""

    @property
    def instance_types(self) -> list[str]:
        """The types in the order of preference."""
        named = self.instance_type
        return [named] if isinstance(named, str) else list(named)

    def usd_per_second(self, at_once: int) -> float:
        """Dollars a second of so many trials, on the dearest of the machines they may get."""
        prices = [self.price_of(kind) or 0.0 for kind in self.instance_types]
        return at_once * self.instance_count * max(prices) / 3600

    def price_of(self, instance_type: str) -> float | None:
        """Dollars an hour of one machine of this type; None where nobody has said so."""
        if isinstance(self.usd_per_hour, dict):
            return self.usd_per_hour.get(instance_type)
        return self.usd_per_hour if instance_type == self.instance_types[0] else None
