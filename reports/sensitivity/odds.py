"""Which of the configurations that ran is really best, as far as the trials can say."""

from dataclasses import dataclass

import numpy as np

from reports.sensitivity.axis import Floats
from reports.sensitivity.interval import Interval, of_draws


@dataclass(frozen=True)
class Contender:
    """One configuration that ran: its true score as the surrogate sees it, and its chance."""

    trial: int
    probability_best: float
    score: Interval


@dataclass(frozen=True)
class Odds:
    """`contenders` by their chance of being best, the likeliest and the winner. `optimism` is how much the best observed search
    score lies above what that configuration really scores, positive meaning too good.

    The winner against the default: the chance that it is better, and by how much; None without both.
    """

    contenders: list[Contender]
    optimism: Interval
    beats_default: float | None
    over_default: Interval | None


def odds(
    values_CS: Floats,
    trial_C: list[int],
    observed_C: Floats,
    winner: int,
    default: int | None,
    maximize: bool,
    level: float,
    most: int = 5,
) -> Odds:
    """From S drawn true scores of C configurations; `winner`, `default` are rows of them.

    observed_C is each configuration's best search score, NaN where it has none.
    """
    sign = 1 if maximize else -1
    best_S = (sign * values_CS).argmax(axis=0)
    chance_C = np.bincount(best_S, minlength=len(trial_C)) / values_CS.shape[1]
    order = np.lexsort((np.array(trial_C), -sign * np.median(values_CS, axis=1), -chance_C))
    contenders = [
        Contender(trial_C[c], float(chance_C[c]), of_draws(values_CS[c], level))
        for place, c in enumerate(order)
        if place < most or c == winner
    ]
    top = int(np.nanargmax(sign * observed_C))
    optimism = of_draws(sign * (observed_C[top] - values_CS[top]), level)
    beats = over = None
    if default is not None and default != winner:
        gap_S = values_CS[winner] - values_CS[default]
        beats, over = float((sign * gap_S > 0).mean()), of_draws(gap_S, level)
    return Odds(contenders, optimism, beats, over)
