"""What an analysis gives: plain data, the shape of report.json's `sensitivity`."""

from dataclasses import asdict, dataclass
from typing import Any

from reports.plain import plain
from reports.sensitivity.effects import Effect, EffectMap
from reports.sensitivity.expected_best import BestOfN
from reports.sensitivity.interval import Interval
from reports.sensitivity.local import SafeRange, Step
from reports.sensitivity.odds import Odds
from reports.sensitivity.spread import Spread
from reports.winner import Winner

SCHEMA = 1


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter's part in the score.

    `main` and `total` are Sobol shares over the declared space, alone and with others; `local` is
    the total share around the winner. None where the trials do not carry them (`verdict` then is
    "cannot tell"). `active_in` is the number of trials in which the parameter existed; shares of one
    that does not always exist are over the part of the space where it does.
    """

    name: str
    main: Interval | None
    total: Interval | None
    local: Interval | None
    verdict: str
    sentence: str
    more_trials: int | None
    safe_range: SafeRange | None
    effect: Effect | None
    around: Effect | None
    active_in: int
    conditional: bool


@dataclass(frozen=True)
class Interaction:
    """Share of the variance that two hyperparameters cause only together."""

    names: tuple[str, str]
    share: Interval


@dataclass(frozen=True)
class Fit:
    """How far the surrogate is to be trusted.

    `r2` is the share of the variance of left-out configurations' scores that it predicts (of a pruned
    one, of the distance to its bounds), `ceiling` what seed noise leaves possible. Not `trusted`:
    shares are withheld, for `reason`.
    """

    r2: Interval | None
    ceiling: Interval | None
    trusted: bool
    reason: str
    finished: int
    pruned: int
    configurations: int


@dataclass(frozen=True)
class Failures:
    """What makes trials fail: total shares of the tendency to fail, and the clearest split."""

    failed: int
    trials: int
    total: dict[str, Interval]
    sentence: str


@dataclass(frozen=True)
class Analysis:
    """Everything that the trials say about the hyperparameters. `to_dict` is for JSON.

    `over_default` is the winner's mean on fresh seeds minus the default's, None where they do not tell.
    `has_pairs` says whether the surrogate has functions of pairs, without which `interactions` is empty.
    `fixable` are hyperparameters that may be fixed all at once: together they have a part in at most
    `fixable_share` of the variance. `outside` trials lie outside the declared space and are left out.
    `noise_share` is seed noise as a share of all variance, `noise_sd` its standard deviation in the
    score's unit; `noise_from` says what they rest on. `maps` are the largest interactions' ones.
    """

    metric: str
    maximize: bool
    level: float
    seed: int
    winner: Winner | None
    over_default: Interval | None
    outside: int
    parameters: dict[str, Parameter]
    fixable: list[str]
    fixable_share: Interval | None
    interactions: list[Interaction]
    has_pairs: bool
    maps: list[EffectMap]
    noise_share: Interval | None
    noise_sd: Interval | None
    noise_from: str
    fit: Fit
    spread: Spread | None
    failures: Failures | None
    odds: Odds | None
    path: list[Step]
    best_of_n: BestOfN | None
    best_of_n_refused: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts, lists and dicts; what is not finite is None."""
        return {"schema": SCHEMA, **plain(asdict(self))}
