"""One surrogate of a table: its axes and trials, and whether it may be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reports.sensitivity.axis import Axis, Floats
from reports.sensitivity.bounds import pruned_bounds
from reports.sensitivity.interval import LEVEL, ROUNDING, Interval, of_draws
from reports.sensitivity.local import local_shares
from reports.sensitivity.result import Fit, Interaction
from reports.sensitivity.shares import Shares, sobol_shares
from reports.sensitivity.spread import Spread, spread_of
from reports.sensitivity.surrogate import Posterior, Surrogate
from reports.sensitivity.terms import Terms
from reports.sensitivity.trust import r_squared
from reports.trials import Column, TrialRow, TrialTable
from reports.wording import counted

ALONE = "changes one at a time do not show what a value does beside other values"
FEWEST_CONFIGURATIONS = 8
LARGE = 300  # trials from which on fewer products and draws are enough
LARGEST_SCORE = 1e150  # squares of larger ones are infinite
LEFT_OUT_DRAWS = 10


@dataclass(frozen=True)
class View:
    """One surrogate: the axes and trials that it is made of, and what it gives.

    `centre` is the winner. posterior and shares are None where too little is known for a surrogate.
    """

    axes: list[Axis]
    rows: list[TrialRow]
    group_N: NDArray[np.int_]
    positions_ND: Floats
    fit: Fit
    posterior: Posterior | None
    shares: Shares | None
    spread: Spread | None
    noise_from: str
    centre: TrialRow | None
    centre_D: Floats | None
    seed: int

    @cached_property
    def around_winner(self) -> list[Interval]:
        """Total shares around the winner, in the axes' order; of a view that has both."""
        assert self.posterior is not None
        assert self.centre_D is not None
        return local_shares(self.posterior, self.centre_D, self.seed, LEVEL)

    def index(self, name: str) -> int | None:
        """The number of the axis of this name."""
        return next((j for j, axis in enumerate(self.axes) if axis.name == name), None)

    def together(self, names: Sequence[str]) -> Interval | None:
        """The share of the variance in which at least one of several parameters has a part."""
        if self.shares is None:
            return None
        numbers = [j for j, axis in enumerate(self.axes) if axis.name in names]
        return of_draws(self.shares.of_any(numbers), LEVEL)

    def noise_share(self) -> Interval | None:
        """Seed noise as a share of all variance."""
        if self.posterior is None or self.shares is None:
            return None
        noise_S = self.posterior.noise_variance_S
        return of_draws(noise_S / (noise_S + self.shares.variance_S), LEVEL)

    def interactions(self) -> list[Interaction]:
        """What pairs cause only together, the largest first; not of a choice and what it switches on,
        of which no trial can tell.
        """
        if self.shares is None or not self.fit.trusted:
            return []
        switches = _switches(self.axes, self.positions_ND)
        found = [
            Interaction((self.axes[i].name, self.axes[j].name), of_draws(share_S, LEVEL))
            for (i, j), share_S in self.shares.pair_S.items()
            if (i, j) not in switches and (j, i) not in switches
        ]
        return sorted(found, key=lambda pair: -pair.share.estimate)


def view_of(
    table: TrialTable, axes: list[Axis], rows: list[TrialRow], centre: TrialRow | None, seed: int
) -> View:
    """Fits the surrogate on these axes to these rows, as far as they carry one."""
    positions_ND = positions_of(axes, rows)
    keys: dict[tuple[float, ...], int] = {}
    group_N = np.array(
        [keys.setdefault(tuple(np.nan_to_num(p, nan=-1.0)), len(keys)) for p in positions_ND],
        dtype=int,
    )
    finished = [t for t in rows if t.status == "finished"]
    configurations = len(set(group_N[_done(rows)].tolist()))
    told_by = "the model of the score alone"
    if len(finished) > configurations:
        told_by = "repeated configurations and the model of the score"
    spread = None
    if rows and axes and np.isfinite(positions_ND).all():
        _, first = np.unique(group_N, return_index=True)
        spread = spread_of(axes, positions_ND[first], seed)
    reason = _too_little(table, axes, finished, configurations)
    view = View(
        axes=axes,
        rows=rows,
        group_N=group_N,
        positions_ND=positions_ND,
        fit=Fit(
            r2=None,
            ceiling=None,
            trusted=False,
            reason=reason,
            finished=len(finished),
            pruned=len(rows) - len(finished),
            configurations=configurations,
        ),
        posterior=None,
        shares=None,
        spread=spread,
        noise_from=told_by,
        centre=centre,
        centre_D=positions_of(axes, [centre])[0] if centre else None,
        seed=seed,
    )
    return view if reason else _fitted(view, table)


def _too_little(
    table: TrialTable, axes: list[Axis], finished: list[TrialRow], configurations: int
) -> str:
    """Why no surrogate can be fitted; empty where one can."""
    if not axes:
        return "no hyperparameter was searched"
    if not finished:
        return "no trial finished"
    if table.is_one_at_a_time:
        return ALONE
    if configurations < FEWEST_CONFIGURATIONS:
        return (
            f"only {counted(configurations, 'configuration')} finished, and {FEWEST_CONFIGURATIONS} are the "
            "least that anything can be said from"
        )
    scores = np.array([t.objective for t in finished], dtype=float)
    if np.abs(scores).max() > LARGEST_SCORE:
        return f"the {table.metric} is too large to reckon with"
    if not scores.var() or np.ptp(scores) <= ROUNDING * np.abs(scores).max():
        same = len(set(scores)) == 1
        return f"every finished trial has the same {table.metric}" + ("" if same else ", nearly")
    return ""


def _fitted(view: View, table: TrialTable) -> View:
    """The view with its surrogate, its shares, and how far they are to be trusted."""
    large = len(view.rows) > LARGE
    terms = Terms(view.axes, 450 if large else 800)
    low_N, high_N = _bounds(table, view.rows)
    surrogate = Surrogate(terms, view.positions_ND, low_N, high_N)
    posterior, states_CH = surrogate.sample(
        np.random.default_rng([view.seed, 11]),
        draws=30 if large else 50,
        warm_up=30 if large else 50,
        functions=5 if large else 3,
    )
    every = max(1, len(states_CH) // LEFT_OUT_DRAWS)
    fold_N = _folds(view.group_N, view.positions_ND)
    predicted_N = surrogate.left_out(states_CH[::every], fold_N)
    r2, squares = r_squared(
        predicted_N, low_N, high_N, fold_N, np.random.default_rng([view.seed, 12])
    )
    noise_S = posterior.noise_variance_S * view.fit.finished
    ceiling = of_draws(np.maximum(0.0, 1 - noise_S / squares), LEVEL)
    reason = ""
    if r2.estimate <= 0:
        reason = (
            "the model of the score does not predict configurations that it has not seen any better than "
            "their mean does"
        )
    return replace(
        view,
        fit=replace(view.fit, r2=r2, ceiling=ceiling, trusted=not reason, reason=reason),
        posterior=posterior,
        shares=sobol_shares(posterior, _active(view.axes, terms, view.positions_ND)),
    )


def axis_of(column: Column) -> Axis:
    """The axis of a column's declared range."""
    step = column.step or (1.0 if column.kind == "int" else None)
    return Axis(
        column.name, column.low, column.high, log=column.log, step=step, choices=column.choices
    )


def positions_of(axes: list[Axis], rows: list[TrialRow]) -> Floats:
    """Where trials lie on the axes, (N, D); NaN where a trial has no such parameter."""
    positions = [
        [axis.position(t.params[axis.name]) if axis.name in t.params else np.nan for axis in axes]
        for t in rows
    ]
    return np.array(positions, dtype=float).reshape(len(rows), len(axes))


def inside(axes: list[Axis], trial: TrialRow) -> bool:
    """Whether a trial lies in the declared space; Optuna only warns of an enqueued one outside."""
    return all(axis.holds(trial.params[axis.name]) for axis in axes if axis.name in trial.params)


def scored_inside(axes: list[Axis], table: TrialTable) -> list[TrialRow]:
    """The trials of a table that say something of the score in the declared space."""
    scored = (t for t in table.trials if t.status in ("finished", "pruned"))
    return [t for t in scored if inside(axes, t)]


def _done(rows: list[TrialRow]) -> NDArray[np.bool_]:
    return np.array([t.status == "finished" for t in rows], dtype=bool)


def _bounds(table: TrialTable, rows: list[TrialRow]) -> tuple[Floats, Floats]:
    """Each trial's lowest and highest score: equal where it finished."""
    finished = [(t.curve, t.objective) for t in rows if t.objective is not None]
    pairs_at: dict[float, list[tuple[float, float]]] = {}
    pairs = [
        (t.objective, t.objective)
        if t.objective is not None
        else pruned_bounds(t.curve, finished, table.maximize, pairs_at)
        for t in rows
    ]
    low_N, high_N = np.array(pairs, dtype=float).T
    return low_N, high_N


def _folds(group_N: NDArray[np.int_], positions_ND: Floats) -> NDArray[np.int_]:
    """What is left out together: a configuration with all its seeds.

    A choice without the parameters that others have, in more than a fifth of all trials, is a region of
    its own: left out whole, nothing could tell of it. Its trials are left out one by one.
    """
    fold_N = group_N.copy()
    for group, count in zip(*np.unique(group_N, return_counts=True), strict=True):
        alone = np.flatnonzero(group_N == group)
        lacks_some = not np.isfinite(positions_ND[alone[0]]).all()
        if lacks_some and count > max(5, len(group_N) / 5):
            fold_N[alone] = len(group_N) + alone
    return fold_N


def _switches(axes: list[Axis], positions_ND: Floats) -> set[tuple[int, int]]:
    """Pairs (i, j) where a choice i says whether j exists at all, as far as the trials show."""
    exists_ND = np.isfinite(positions_ND)
    found = set()
    for j in np.flatnonzero(~exists_ND.all(axis=0)):
        for i, axis in enumerate(axes):
            if not axis.choices or i == j:
                continue
            rows = exists_ND[:, i]
            if rows.sum() < 2 * len(np.unique(positions_ND[rows, i])):  # it looks so by chance
                continue
            values = positions_ND[rows, i]
            there = [exists_ND[rows, j][values == value] for value in np.unique(values)]
            on, off = [part.all() for part in there], [not part.any() for part in there]
            if any(on) and any(off) and all(a or b for a, b in zip(on, off, strict=True)):
                found.add((i, int(j)))
    return found


def _active(axes: list[Axis], terms: Terms, positions_ND: Floats) -> Floats | None:
    """The part of the space in which all parameters of each product exist; None where all do.

    Over the declared choices, of which a sampler may have tried some far more often than others.
    """
    exists_ND = np.isfinite(positions_ND)
    if exists_ND.all():
        return None
    parents = sorted({i for i, _ in _switches(axes, positions_ND)})
    patterns, kind_N, count = np.unique(
        np.nan_to_num(positions_ND[:, parents], nan=-1.0), axis=0, return_inverse=True, return_counts=True
    )  # fmt: skip
    sizes = np.array([len(axes[i].choices) for i in parents], dtype=float)
    part = np.where(patterns >= 0, 1 / sizes, 1.0).prod(axis=1)
    weight_N = (part / count)[kind_N.ravel()]
    uses_PD = terms.uses_DP.T.astype(float)
    missing_NP = (~exists_ND).astype(float) @ uses_PD.T
    return np.asarray(weight_N @ (missing_NP == 0) / weight_N.sum())
