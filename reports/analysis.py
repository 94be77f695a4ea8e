"""From a study to what its trials say about the hyperparameters, and how sure that is.

from reports import analyze
result = analyze(study, seed=0)
result.parameters["learning_rate"].total     # Interval(estimate, low, high)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits

from reports.errors import ReportError
from reports.sensitivity.axis import Axis, Floats
from reports.sensitivity.bounds import pruned_bounds
from reports.sensitivity.expected_best import BestOfN, expected_best
from reports.sensitivity.failures import failures_of
from reports.sensitivity.interval import Interval, of_draws
from reports.sensitivity.local import Step, local_shares, path, safe_range
from reports.sensitivity.odds import Odds, odds
from reports.sensitivity.result import Analysis, Failures, Fit, Interaction, Parameter
from reports.sensitivity.shares import Shares, sobol_shares
from reports.sensitivity.spread import Spread, spread_of
from reports.sensitivity.surrogate import Posterior, Surrogate
from reports.sensitivity.terms import Terms
from reports.sensitivity.trust import r_squared
from reports.sensitivity.verdict import (
    CANNOT_TELL,
    MATTERS,
    MATTERS_ABOVE,
    MOST_FACTOR,
    more_trials,
    verdict_of,
)
from reports.trials import Column, TrialRow, TrialTable, read_table, table_of
from reports.winner import find_winner

LEVEL = 0.9
FEWEST_CONFIGURATIONS = 8
LARGE = 300  # trials from which on fewer products and draws are enough
LARGEST_SCORE = 1e150  # squares of larger ones are infinite
LEFT_OUT_DRAWS = 10
UNIT_METRICS = ("accuracy", "f1", "precision", "recall", "auc", "roc_auc", "balanced_accuracy")


def analyze(
    study: Study | Sequence[FrozenTrial], seed: int = 0, direction: str | None = None
) -> Analysis:
    """What the trials of a study (or a list of trials, with their direction) say.

    The same trials and seed give the same numbers on the same machine. Raises ReportError for
    several objectives, or for a list of trials without "maximize" or "minimize".
    """
    if isinstance(study, Study):
        return analyze_table(read_table(study), seed)
    if direction not in ("maximize", "minimize"):
        raise ReportError("a list of trials needs direction='maximize' or 'minimize'")
    return analyze_table(table_of(study, maximize=direction == "maximize"), seed)


def analyze_table(table: TrialTable, seed: int = 0) -> Analysis:
    """The same for a table that has been read."""
    # Small matrices: a second BLAS thread only waits, and the order of sums would depend on it.
    with threadpool_limits(limits=1, user_api="blas"):
        return _analyze(table, seed)


def _analyze(table: TrialTable, seed: int) -> Analysis:
    columns = [column for column in table.columns if _axis(column).size]
    search = [t for t in table.trials if t.purpose == "search"]
    axes = [_axis(column) for column in columns]
    rows = [
        t for t in table.trials
        if t.status in ("finished", "pruned")
        and all(axis.holds(t.params[axis.name]) for axis in axes if axis.name in t.params)
    ]  # fmt: skip
    view = _view(table, columns, rows, seed)
    best = _best_of_n(table)
    return Analysis(
        metric=table.metric,
        maximize=table.maximize,
        level=LEVEL,
        seed=seed,
        parameters={
            column.name: _parameter(table, column, rows, view, seed) for column in table.columns
        },
        interactions=view.interactions(),
        noise_share=view.noise_share(),
        noise_sd=of_draws(np.sqrt(view.posterior.noise_variance_S), LEVEL)
        if view.posterior
        else None,
        noise_from=view.noise_from,
        fit=view.fit,
        spread=view.spread,
        failures=_failures(columns, search, seed),
        odds=_odds(table, view),
        path=_path(table, view),
        best_of_n=best if isinstance(best, BestOfN) else None,
        best_of_n_refused=best if isinstance(best, str) else "",
    )


@dataclass(frozen=True)
class _View:
    """One surrogate: the axes and trials that it is made of, and what it gives."""

    axes: list[Axis]
    rows: list[TrialRow]
    group_N: NDArray[np.int_]
    positions_ND: Floats
    fit: Fit
    posterior: Posterior | None
    shares: Shares | None
    spread: Spread | None
    noise_from: str
    centre_D: Floats | None
    seed: int

    @cached_property
    def around_winner(self) -> list[Interval]:
        """Total shares around the winner, in the axes' order; of a view that has both."""
        assert self.posterior is not None
        assert self.centre_D is not None
        return local_shares(self.posterior, self.centre_D, self.seed, LEVEL)

    def index(self, name: str) -> int | None:
        return next((j for j, axis in enumerate(self.axes) if axis.name == name), None)

    def noise_share(self) -> Interval | None:
        if self.posterior is None or self.shares is None:
            return None
        noise_S = self.posterior.noise_variance_S
        return of_draws(noise_S / (noise_S + self.shares.variance_S), LEVEL)

    def interactions(self) -> list[Interaction]:
        if self.shares is None or not self.fit.trusted:
            return []
        found = [
            Interaction((self.axes[i].name, self.axes[j].name), of_draws(share_S, LEVEL))
            for (i, j), share_S in self.shares.pair_S.items()
        ]
        return sorted(found, key=lambda pair: -pair.share.estimate)


def _view(table: TrialTable, columns: list[Column], rows: list[TrialRow], seed: int) -> _View:
    """Fits the surrogate of these columns to these rows, as far as they carry one."""
    axes = [_axis(column) for column in columns]
    finished = [t for t in rows if t.status == "finished"]
    positions_ND = np.array(
        [[_position(axis, t) for axis in axes] for t in rows], dtype=float
    ).reshape(len(rows), len(axes))
    keys: dict[tuple[float, ...], int] = {}
    group_N = np.array(
        [keys.setdefault(tuple(np.nan_to_num(p, nan=-1.0)), len(keys)) for p in positions_ND],
        dtype=int,
    )
    done_N = np.array([t.status == "finished" for t in rows], dtype=bool)
    configurations = len(set(group_N[done_N].tolist()))
    conditional = bool(np.isnan(positions_ND).any())
    repeated = len(finished) > configurations
    noise_from = "repeated configurations and the surrogate" if repeated else "the surrogate alone"
    spread = None
    if len(keys) and axes and not conditional:
        first = [int(np.flatnonzero(group_N == g)[0]) for g in range(len(keys))]
        spread = spread_of(axes, positions_ND[first], seed)

    def give(fit: Fit, posterior: Posterior | None = None, shares: Shares | None = None) -> _View:
        return _View(
            axes, rows, group_N, positions_ND, fit, posterior, shares, spread, noise_from,
            _centre(table, axes), seed,
        )  # fmt: skip

    def refuse(reason: str) -> _View:
        pruned = len(rows) - len(finished)
        return give(Fit(None, None, False, reason, len(finished), pruned, configurations))

    if not axes:
        return refuse("no hyperparameter was searched")
    if not finished:
        return refuse("no trial finished")
    if len({t.objective for t in finished}) == 1:
        return refuse(f"every finished trial has the same {table.metric}")
    if max(abs(t.objective or 0.0) for t in finished) > LARGEST_SCORE:
        return refuse(f"the {table.metric} is too large to reckon with")
    if configurations < FEWEST_CONFIGURATIONS:
        return refuse(
            f"only {configurations} configurations finished, and {FEWEST_CONFIGURATIONS} are the "
            "least that anything can be said from"
        )
    surrogate = Surrogate(
        Terms(axes, 800 if len(rows) <= LARGE else 450), positions_ND, *_bounds(table, rows)
    )
    large = len(rows) > LARGE
    posterior, states_CH = surrogate.sample(
        np.random.default_rng([seed, 11]),
        draws=30 if large else 50,
        warm_up=30 if large else 50,
        functions=5 if large else 3,
    )
    every = max(1, len(states_CH) // LEFT_OUT_DRAWS)
    fold_N = _folds(group_N)
    predicted_N, actual_N = surrogate.left_out(states_CH[::every], fold_N)
    r2 = r_squared(
        predicted_N[done_N], actual_N[done_N], fold_N[done_N], np.random.default_rng([seed, 12])
    )
    observed = float(actual_N[done_N].var())
    ceiling = of_draws(np.maximum(0.0, 1 - posterior.noise_variance_S / observed), LEVEL)
    reason = ""
    if r2.estimate <= 0:
        reason = (
            "the surrogate does not predict configurations that it has not seen any better than "
            "their mean does"
        )
    fit = Fit(
        r2, ceiling, not reason, reason, len(finished), len(rows) - len(finished), configurations
    )
    return give(fit, posterior, sobol_shares(posterior, _active(surrogate.terms, positions_ND)))


def _parameter(
    table: TrialTable, column: Column, rows: list[TrialRow], view: _View, seed: int
) -> Parameter:
    """One parameter's part; where it does not always exist, from the trials in which it does."""
    active = [t for t in rows if column.name in t.params]
    conditional = 0 < len(active) < len(rows)
    everywhere = len(rows)
    if conditional:
        inside = [
            c for c in table.columns
            if _axis(c).size and all(c.name in t.params for t in active)
            and (c.name == column.name or len({str(t.params[c.name]) for t in active}) > 1)
        ]  # fmt: skip
        view = _view(table, inside, active, seed)
    where = f" (in the {len(active)} of {everywhere} trials where it exists)" if conditional else ""
    blank = Parameter(
        name=column.name,
        main=None,
        total=None,
        local=None,
        verdict=CANNOT_TELL,
        sentence=f"{column.name} has only one value in this space.",
        more_trials=None,
        safe_range=None,
        active_in=len(active),
        conditional=conditional,
    )
    j = view.index(column.name)
    if j is None:
        return blank
    if not active and rows:
        sentence = f"No finished trial had {column.name}: nothing can be said of it."
        return replace(blank, sentence=sentence)
    if view.posterior is None or view.shares is None or not view.fit.trusted:
        more = max(20, view.fit.finished)
        sentence = (
            f"These trials cannot tell whether {column.name} matters{where}: {view.fit.reason}. "
            f"About {more} more trials would be the next thing to try."
        )
        return replace(blank, sentence=sentence, more_trials=more)
    main = of_draws(view.shares.main_DS[j], LEVEL)
    total = of_draws(view.shares.total_DS[j], LEVEL)
    assert view.fit.r2 is not None
    verdict = verdict_of(total, view.fit.r2)
    more_needed = more_trials(total, view.fit.finished) if verdict == CANNOT_TELL else None
    if conditional and more_needed is not None:  # only some of them will have it
        more_needed = 10 * round(more_needed * everywhere / len(active) / 10)
    local = safe = None
    if view.centre_D is not None and np.isfinite(view.centre_D[j]):
        local = view.around_winner[j]
        noise_sd = float(np.sqrt(view.posterior.noise_variance_S).mean())
        safe = safe_range(view.posterior, j, view.centre_D, table.maximize, noise_sd)
    return replace(
        blank,
        main=main,
        total=total,
        local=local,
        verdict=verdict,
        sentence=_sentence(column.name + where, main, total, verdict, more_needed),
        more_trials=more_needed,
        safe_range=safe,
    )


def _sentence(
    name: str, main: Interval, total: Interval, verdict: str, more_needed: int | None
) -> str:
    shown = f"{total.estimate:.0%} ({total.low:.0%} to {total.high:.0%})"
    if verdict == MATTERS:
        text = f"{name} matters: it causes {shown} of the variance that hyperparameters cause"
        together = total.estimate - main.estimate
        if together >= 0.1:
            text += f", {together:.0%} of it only together with others"
        return f"{text}."
    if verdict == CANNOT_TELL:
        text = f"These trials cannot tell whether {name} matters: its share is {shown}"
        if total.low > MATTERS_ABOVE:
            text += ", but whether hyperparameters do anything beyond seed noise is open"
        if more_needed is None:
            return f"{text}; it would take more than {MOST_FACTOR} times as many trials."
        return f"{text}; roughly {more_needed} more trials may settle it."
    return f"{name} hardly matters: its share is at most {total.high:.0%}."


def _axis(column: Column) -> Axis:
    step = column.step or (1.0 if column.kind == "int" else None)
    return Axis(
        column.name, column.low, column.high, log=column.log, step=step, choices=column.choices
    )


def _position(axis: Axis, trial: TrialRow) -> float:
    return axis.position(trial.params[axis.name]) if axis.name in trial.params else np.nan


def _bounds(table: TrialTable, rows: list[TrialRow]) -> tuple[Floats, Floats]:
    """Each trial's lowest and highest score: equal where it finished."""
    finished = [(t.curve, t.objective) for t in rows if t.objective is not None]
    pairs = [
        (t.objective, t.objective)
        if t.objective is not None
        else pruned_bounds(t.curve, finished, table.maximize)
        for t in rows
    ]
    low_N, high_N = np.array(pairs, dtype=float).T
    return low_N, high_N


def _folds(group_N: NDArray[np.int_]) -> NDArray[np.int_]:
    """What is left out together: a configuration with all its seeds.

    One that is more than a fifth of all trials is a region of its own (a choice without further
    parameters): left out whole, nothing could tell of it. Its trials are left out one by one.
    """
    fold_N = group_N.copy()
    for group, count in zip(*np.unique(group_N, return_counts=True), strict=True):
        if count > max(5, len(group_N) / 5):
            alone = np.flatnonzero(group_N == group)
            fold_N[alone] = len(group_N) + alone
    return fold_N


def _active(terms: Terms, positions_ND: Floats) -> Floats | None:
    """The part of the trials in which all parameters of each product exist; None where all do."""
    exists_ND = np.isfinite(positions_ND)
    if exists_ND.all():
        return None
    uses_PD = terms.uses_DP.T.astype(float)
    missing_NP = (~exists_ND).astype(float) @ uses_PD.T
    return np.asarray((missing_NP == 0).mean(axis=0))


def _centre(table: TrialTable, axes: list[Axis]) -> Floats | None:
    winner = find_winner(table)
    if winner is None:
        return None
    return np.array([_position(axis, table.by_number(winner.number)) for axis in axes])


def _odds(table: TrialTable, view: _View) -> Odds | None:
    winner = find_winner(table)
    if view.posterior is None or winner is None:
        return None
    first: dict[int, int] = {}
    best: dict[int, float] = {}
    sign = 1 if table.maximize else -1
    for i, t in enumerate(view.rows):
        if t.status != "finished" or t.objective is None:
            continue
        group = int(view.group_N[i])
        if t.purpose == "search":
            first.setdefault(group, i)
            best[group] = sign * max(sign * best.get(group, -sign * np.inf), sign * t.objective)
    if not best:
        return None
    groups, trials = list(first), [view.rows[i].number for i in first.values()]
    group_of: dict[int | None, int] = {
        t.number: int(view.group_N[i]) for i, t in enumerate(view.rows)
    }
    if winner.number not in group_of:  # it lies outside the declared space
        return None
    default = group_of.get(winner.default_number)
    return odds(
        view.posterior.values(view.positions_ND[list(first.values())]),
        trials,
        np.array([best[group] for group in groups]),
        groups.index(group_of[winner.number]),
        groups.index(default) if default is not None else None,
        table.maximize,
        LEVEL,
    )


def _path(table: TrialTable, view: _View) -> list[Step]:
    winner = find_winner(table)
    if view.posterior is None or winner is None or winner.default_number is None:
        return []
    if view.centre_D is None or not view.fit.trusted:
        return []
    default = table.by_number(winner.default_number)
    if not all(a.holds(default.params[a.name]) for a in view.axes if a.name in default.params):
        return []
    start_D = np.array([_position(axis, default) for axis in view.axes])
    return path(view.posterior, start_D, view.centre_D, table.maximize, LEVEL)


def _failures(columns: list[Column], search: list[TrialRow], seed: int) -> Failures | None:
    ended = [t for t in search if t.status in ("finished", "pruned", "failed")]
    axes = [_axis(column) for column in columns]
    failed_N = np.array([t.status == "failed" for t in ended], dtype=bool)
    positions_ND = np.array([[_position(axis, t) for axis in axes] for t in ended], dtype=float)
    return failures_of(axes, positions_ND.reshape(len(ended), len(axes)), failed_N, seed, LEVEL)


def _best_of_n(table: TrialTable) -> BestOfN | str:
    """Expected best of n, or the sentence that says why there is none."""
    drawn = [
        t for t in table.trials
        if t.purpose == "search" and t.chosen_by != "default"
        and t.status in ("finished", "pruned", "failed")
    ]  # fmt: skip
    if any(t.chosen_by != "random" for t in drawn):
        kinds = sorted({t.chosen_by for t in drawn} - {"random"})
        return (
            f"trials were chosen by {' and '.join(kinds)}: what n trials are worth can only be "
            "told from independent random ones (search.sampler: random)"
        )
    finished = [t.objective for t in drawn if t.objective is not None]
    if len(finished) < 2:
        return "fewer than two random trials finished"
    # What was pruned or failed is as good as the worst: it would not have been the best.
    worst = min(finished) if table.maximize else max(finished)
    scores = [worst if t.objective is None else t.objective for t in drawn]
    name = table.metric.lower().removeprefix("eval_")
    known = (0.0, 1.0) if name in UNIT_METRICS else (-1.0, 1.0) if name == "mcc" else None
    if known and not all(known[0] <= score <= known[1] for score in scores):
        known = None
    return expected_best(scores, table.maximize, known, LEVEL)
