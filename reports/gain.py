"""What a search could still gain over the winner that it has, against the noise between seeds.

Each function that the trials allow (surrogate.py) has a best place somewhere; how much better it is
there than at the winner is what even an endless search could gain. Where that is less than what another
seed does to the score, more trials cannot show anything: the search may end. Of a sweep that began with
what an earlier one found, both are on one surrogate, in which the run is one more choice (compare.py).
Source: Makarova et al. 2022 (stop when the regret that is possible is below the noise). How often it
stops too early is in docs/calibration.md.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.study import Study
from threadpoolctl import threadpool_limits

from reports.runs import in_run, view_of_runs
from reports.sensitivity.axis import all_over
from reports.sensitivity.interval import LEVEL, Interval, of_draws
from reports.trials import TrialRow, TrialTable, read_table
from reports.view import axis_of, inside, positions_of, scored_inside, view_of
from reports.winner import find_winner
from reports.wording import alike, counted

MOST_CHANCE = 0.1
"""Of a gain above the noise, at which the search may end; see docs/calibration.md"""
PLACES = 1024
FEWEST_TRIALS = 8
"""Finished search trials of this run, below which nothing is said"""


@dataclass(frozen=True)
class GainLeft:
    """What the best place could still gain over the winner, and the seed noise's standard deviation, in
    the score's unit. `chance` is how probable it is that the gain is above that noise. Where the model
    foresees nothing (not `foresees`), that noise may hold more than what seeds do.
    """

    gain: Interval
    noise_sd: float
    chance: float
    trials: int
    foresees: bool

    @property
    def is_nothing(self) -> bool:
        """Whether no more trials are worth their time."""
        return self.chance < MOST_CHANCE

    def as_fact(self) -> dict[str, Any]:
        """Plain data for the ledger."""
        return asdict(self) | {"sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What it is, with its figures."""
        middle, high, noise = alike(self.gain.estimate, self.gain.high, self.noise_sd)
        text = (
            f"after {counted(self.trials, 'finished search trial')} the best place would gain about {middle} "
            f"over the winner (at most {high}, {(1 + LEVEL) / 2:.0%}), and "
            + (
                f"another seed alone changes the score by about {noise}"
                if self.foresees
                else f"what no hyperparameter explains, most of it the seed's, changes the score by about {noise}"
            )
        )
        return f"nothing left to gain: {text}" if self.is_nothing else text


def gain_left(study: Study, seed: int = 0) -> GainLeft | None:
    """What the search of a study could still gain; None where there are too few trials to say so."""
    return gain_of_table(read_table(study), seed)


def gain_of_table(table: TrialTable, seed: int = 0) -> GainLeft | None:
    """The same for a table that has been read."""
    trials = len(table.finished("search"))
    winner = find_winner(table)
    if winner is None or trials < FEWEST_TRIALS:
        return None
    axes = [axis for axis in map(axis_of, table.columns) if axis.size]
    now = scored_inside(axes, table)
    before = [t for t in _earlier(table) if inside(axes, t)]
    with threadpool_limits(limits=1, user_api="blas"):
        if before:
            view = view_of_runs(table, axes, before, now, seed)
        else:
            view = view_of(table, axes, now, None, seed)
        if view.posterior is None:
            return None
        tried_ND = positions_of(axes, [table.by_number(winner.number), *now])
        spread_MD = all_over(axes, PLACES, np.random.default_rng([seed, 73]))
        places_MD = np.vstack([tried_ND, spread_MD])
        sign = 1.0 if table.maximize else -1.0
        values_MS = sign * view.posterior.values(in_run(places_MD, 1) if before else places_MD)
    gain_S = values_MS.max(axis=0) - values_MS[0]
    noise_S = np.sqrt(view.posterior.noise_variance_S)
    return GainLeft(
        of_draws(gain_S, LEVEL), float(noise_S.mean()), float((gain_S > noise_S).mean()), trials,
        view.fit.trusted,
    )  # fmt: skip


def _earlier(table: TrialTable) -> list[TrialRow]:
    """The trials that the sweep began with (`tuner run --warm`), as the ledger has them."""
    found = (table.facts.get("warm") or {}).get("trials") or []
    return [
        TrialRow(
            number=-1 - i, status="finished", purpose="search", chosen_by=str(t.get("chosen_by")),
            params=dict(t["params"]), objective=float(t["value"]), curve=[],
        )
        for i, t in enumerate(found)
    ]  # fmt: skip
