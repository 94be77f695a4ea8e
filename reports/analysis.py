"""From a study to what its trials say about the hyperparameters, and how sure that is.

from reports import analyze
result = analyze(study, seed=0)
result.parameters["learning_rate"].total     # Interval(estimate, low, high)
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits

from reports.errors import ReportError
from reports.sensitivity.expected_best import BestOfN, expected_best
from reports.sensitivity.failures import failures_of
from reports.sensitivity.interval import Interval, of_draws
from reports.sensitivity.local import Step, path, safe_range
from reports.sensitivity.odds import Odds, odds
from reports.sensitivity.result import Analysis, Failures, Parameter
from reports.sensitivity.verdict import (
    CANNOT_TELL,
    MATTERS,
    MATTERS_ABOVE,
    MOST_FACTOR,
    more_trials,
    verdict_of,
)
from reports.trials import Column, TrialRow, TrialTable, read_table, table_of
from reports.view import LEVEL, View, axis_of, inside, position_of, view_of
from reports.winner import find_winner

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
    columns = [column for column in table.columns if axis_of(column).size]
    search = [t for t in table.trials if t.purpose == "search"]
    axes = [axis_of(column) for column in columns]
    scored = [t for t in table.trials if t.status in ("finished", "pruned")]
    rows = [t for t in scored if inside(axes, t)]
    view = view_of(table, columns, rows, seed)
    best = _best_of_n(table)
    return Analysis(
        metric=table.metric,
        maximize=table.maximize,
        level=LEVEL,
        seed=seed,
        outside=len(scored) - len(rows),
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


def _parameter(
    table: TrialTable, column: Column, rows: list[TrialRow], view: View, seed: int
) -> Parameter:
    """One parameter's part; where it does not always exist, from the trials in which it does."""
    active = [t for t in rows if column.name in t.params]
    conditional = 0 < len(active) < len(rows)
    everywhere = len(rows)
    if conditional:
        varied = [
            c for c in table.columns
            if axis_of(c).size and all(c.name in t.params for t in active)
            and (c.name == column.name or len({str(t.params[c.name]) for t in active}) > 1)
        ]  # fmt: skip
        view = view_of(table, varied, active, seed)
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
    noise_share = view.noise_share()
    assert noise_share is not None
    verdict = verdict_of(total, noise_share)
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


def _odds(table: TrialTable, view: View) -> Odds | None:
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


def _path(table: TrialTable, view: View) -> list[Step]:
    winner = find_winner(table)
    if view.posterior is None or winner is None or winner.default_number is None:
        return []
    if view.centre_D is None or not view.fit.trusted:
        return []
    default = table.by_number(winner.default_number)
    if not inside(view.axes, default):
        return []
    start_D = np.array([position_of(axis, default) for axis in view.axes])
    return path(view.posterior, start_D, view.centre_D, table.maximize, LEVEL)


def _failures(columns: list[Column], search: list[TrialRow], seed: int) -> Failures | None:
    ended = [t for t in search if t.status in ("finished", "pruned", "failed")]
    axes = [axis_of(column) for column in columns]
    failed_N = np.array([t.status == "failed" for t in ended], dtype=bool)
    positions_ND = np.array([[position_of(axis, t) for axis in axes] for t in ended], dtype=float)
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
