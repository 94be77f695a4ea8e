"""From a study to what its trials say about the hyperparameters, and how sure that is.

from reports import analyze
result = analyze(study, seed=0)
result.parameters["learning_rate"].total     # Interval(estimate, low, high)
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits

from reports.errors import ReportError
from reports.sensitivity.axis import Axis
from reports.sensitivity.effects import EffectMap, around, averaged, together
from reports.sensitivity.expected_best import BestOfN, expected_best
from reports.sensitivity.failures import failures_of
from reports.sensitivity.interval import LEVEL, Interval, of_draws
from reports.sensitivity.local import Step, path, safe_range
from reports.sensitivity.odds import Odds, odds
from reports.sensitivity.result import Analysis, Failures, Fit, Parameter
from reports.sensitivity.verdict import (
    CANNOT_TELL,
    MATTERS,
    MATTERS_ABOVE,
    MOST_FACTOR,
    NEGLIGIBLE,
    NEGLIGIBLE_BELOW,
    ONE_VALUE,
    more_trials,
    verdict_of,
)
from reports.trials import TrialRow, TrialTable, read_table, table_of
from reports.view import (
    ALONE,
    FEWEST_CONFIGURATIONS,
    View,
    axis_of,
    inside,
    positions_of,
    scored_inside,
    view_of,
)
from reports.winner import Winner, find_winner, gap_to, unselected_scores
from reports.wording import at_most

SMALLEST_INTERACTION = 0.02
MOST_MAPS = 3
UNIT_METRICS = ("accuracy", "f1", "precision", "recall", "auc", "roc_auc", "balanced_accuracy")


def analyze(
    study: Study | Sequence[FrozenTrial],
    seed: int = 0,
    direction: str | None = None,
    objective: int = 1,
) -> Analysis:
    """What the trials of a study (or a list of trials, with their direction) say.

    The same trials and seed give the same numbers on the same machine. Of several objectives, it is
    about the one of number `objective`. Raises ReportError where there is no such objective, or for a
    list of trials without "maximize" or "minimize".
    """
    if isinstance(study, Study):
        return analyze_table(read_table(study, objective), seed)
    if direction not in ("maximize", "minimize"):
        raise ReportError("a list of trials needs direction='maximize' or 'minimize'")
    return analyze_table(
        table_of(study, maximize=direction == "maximize", objective=objective), seed
    )


def analyze_table(table: TrialTable, seed: int = 0) -> Analysis:
    """The same for a table that has been read."""
    # Small matrices: a second BLAS thread only waits, and the order of sums would depend on it.
    with threadpool_limits(limits=1, user_api="blas"):
        return _analyze(table, seed)


def _analyze(table: TrialTable, seed: int) -> Analysis:
    axes = [axis for axis in map(axis_of, table.columns) if axis.size]
    scored = [t for t in table.trials if t.status in ("finished", "pruned")]
    rows = scored_inside(axes, table)
    winner = find_winner(table)
    centre = table.by_number(winner.number) if winner else None
    if centre is not None and not inside(axes, centre):
        centre = None
    view = view_of(table, axes, rows, centre, seed)
    best = _best_of_n(table)
    noise_sd = None
    if view.posterior:
        noise_sd = of_draws(np.sqrt(view.posterior.noise_variance_S), LEVEL)
    parameters = _parameters(table, view)
    fixable, fixable_share = _fixable(parameters, view)
    return Analysis(
        metric=table.metric,
        maximize=table.maximize,
        level=LEVEL,
        seed=seed,
        winner=winner,
        over_default=_over_default(table, winner),
        outside=len(scored) - len(rows),
        parameters=parameters,
        fixable=fixable,
        fixable_share=fixable_share,
        interactions=view.interactions(),
        has_pairs=bool(view.shares and view.shares.pair_S),
        maps=_maps(view),
        noise_share=view.noise_share(),
        noise_sd=noise_sd,
        noise_from=view.noise_from,
        fit=view.fit,
        spread=view.spread,
        failures=_failures(table, axes, seed),
        odds=_odds(table, view, winner),
        path=_path(table, view, winner),
        best_of_n=best if isinstance(best, BestOfN) else None,
        best_of_n_refused=best if isinstance(best, str) else "",
    )


def _over_default(table: TrialTable, winner: Winner | None) -> Interval | None:
    if winner is None or winner.default_number is None:
        return None
    return gap_to(unselected_scores(table, winner), winner, winner.default_number)


def _fixable(parameters: dict[str, Parameter], view: View) -> tuple[list[str], Interval | None]:
    """Of those that hardly matter, the least important first, as many as hardly matter together."""
    hardly = [p for p in parameters.values() if p.verdict == NEGLIGIBLE and p.safe_range]
    names: list[str] = []
    share = None
    for p in sorted(hardly, key=lambda p: p.total.high if p.total else 0.0):
        joint = view.together([*names, p.name])
        if joint is None or joint.high >= NEGLIGIBLE_BELOW:
            break
        names, share = [*names, p.name], joint
    return names, share


def _maps(view: View) -> list[EffectMap]:
    """Maps of the pairs that do most together."""
    if view.posterior is None:
        return []
    pairs = [pair for pair in view.interactions() if pair.share.estimate >= SMALLEST_INTERACTION]
    numbers = {axis.name: j for j, axis in enumerate(view.axes)}
    return [
        together(view.posterior, (numbers[pair.names[0]], numbers[pair.names[1]]), LEVEL)
        for pair in pairs[:MOST_MAPS]
    ]


def _parameters(table: TrialTable, view: View) -> dict[str, Parameter]:
    """Every parameter's part; of those that do not always exist, from the trials that have them."""
    parts: dict[str, Parameter] = {}
    views: dict[frozenset[int], View] = {}
    for name in (column.name for column in table.columns):
        active = [t for t in view.rows if name in t.params]
        seen, where = view, ""
        if view.fit.trusted and 0 < len(active) < len(view.rows):
            numbers = frozenset(t.number for t in active)
            if numbers not in views:
                views[numbers] = _where_active(table, view, active)
            seen = views[numbers]
            where = f" (in the {len(active)} of {len(view.rows)} trials where it exists)"
        parts[name] = _parameter(name, where, seen, view, len(active), table)
    return parts


def _where_active(table: TrialTable, view: View, active: list[TrialRow]) -> View:
    """A view of the trials in which one parameter exists, on all axes that vary among them."""
    axes = [
        axis for axis in view.axes
        if all(axis.name in t.params for t in active)
        and (
            len({repr(t.params[axis.name]) for t in active}) > 1
            or sum(axis.name in t.params for t in view.rows) == len(active)
        )
    ]  # fmt: skip
    return view_of(table, axes, active, view.centre, view.seed)


def _why_closed(table: TrialTable, fit: Fit) -> str:
    """Why more trials of this sweep could not tell what these cannot; empty where they could."""
    points = math.prod(column.size for column in table.columns)
    if points < FEWEST_CONFIGURATIONS or points <= fit.configurations:
        return "every point of the space has run"
    return ALONE if table.is_one_at_a_time else ""


def _parameter(
    name: str, where: str, view: View, whole: View, active: int, table: TrialTable
) -> Parameter:
    """One parameter's part, as the view sees it; it exists in `active` trials of the whole view."""
    everywhere = len(whole.rows)
    blank = Parameter(
        name=name,
        main=None,
        total=None,
        local=None,
        verdict=ONE_VALUE,
        sentence=f"{name} has only one value in this space.",
        more_trials=None,
        safe_range=None,
        effect=None,
        around=None,
        active_in=active,
        conditional=0 < active < everywhere,
    )
    if whole.index(name) is None:
        return blank
    j, blank = view.index(name), replace(blank, verdict=CANNOT_TELL)
    if not active and everywhere:
        sentence = f"No finished trial had {name}: nothing can be said of it."
        return replace(blank, sentence=sentence)
    noise_share = view.noise_share()
    if (
        whole.posterior is None or view.posterior is None or view.shares is None
        or noise_share is None or j is None or view.fit.r2 is None or not view.fit.trusted
    ):  # fmt: skip
        sentence = f"These trials cannot tell whether {name} matters{where}: {view.fit.reason}."
        more = max(20, view.fit.finished)
        if _why_closed(table, view.fit):
            return replace(blank, sentence=sentence)
        sentence += f" About {more} more trials would be the next thing to try."
        return replace(blank, sentence=sentence, more_trials=more)
    main = of_draws(view.shares.main_DS[j], LEVEL)
    total = of_draws(view.shares.total_DS[j], LEVEL)
    joint = of_draws(view.shares.total_DS[j] - view.shares.main_DS[j], LEVEL)
    verdict = verdict_of(total, noise_share, view.fit.r2, view.fit.finished + view.fit.pruned)
    closed = _why_closed(table, view.fit)
    more_needed = None
    if verdict == CANNOT_TELL and not closed:
        more_needed = more_trials(total, view.fit.finished)
    if more_needed is not None and active < everywhere:  # only some of them will have it
        more_needed = 10 * round(more_needed * everywhere / active / 10)
    local = safe = at_winner = None
    if view.centre_D is not None and np.isfinite(view.centre_D[j]):
        local = view.around_winner[j]
        noise_sd = float(np.sqrt(whole.posterior.noise_variance_S).mean())
        safe = safe_range(view.posterior, j, view.centre_D, table.maximize, noise_sd)
        at_winner = around(view.posterior, j, view.centre_D, LEVEL)
    return replace(
        blank,
        main=main,
        total=total,
        local=local,
        verdict=verdict,
        sentence=_sentence(name, where, total, joint, verdict, more_needed, closed),
        more_trials=more_needed,
        safe_range=safe,
        effect=averaged(view.posterior, j, LEVEL),
        around=at_winner,
    )


def _sentence(
    name: str, where: str, total: Interval, joint: Interval, verdict: str, more_needed: int | None, closed: str,
) -> str:  # fmt: skip
    """What is said of a parameter, `joint` being what it causes only together with others; `closed`
    says why more trials would not help.
    """
    name, there = name + where, "cause there" if where else "cause"
    shown = f"{total.estimate:.0%} ({total.low:.0%} to {total.high:.0%})"
    if verdict == MATTERS:
        text = f"{name} matters: it causes {shown} of the variance that hyperparameters {there}"
        if joint.low > MATTERS_ABOVE and joint.estimate >= 0.1:
            text += f"; {joint.estimate:.0%} ({joint.low:.0%} to {joint.high:.0%}) only together with others"
        return f"{text}."
    if verdict == CANNOT_TELL:
        text = f"These trials cannot tell whether {name} matters: its share is {shown}"
        if total.low > MATTERS_ABOVE:
            text += ", but the trials do not yet show that hyperparameters do anything beyond seed noise"
        if closed:
            return f"{text}; {closed}."
        if more_needed is None:
            return f"{text}; it would take more than {MOST_FACTOR} times as many trials."
        return f"{text}; roughly {more_needed} more trials may settle it."
    return f"{name} hardly matters: its share is {at_most(total.high)}."


def _odds(table: TrialTable, view: View, winner: Winner | None) -> Odds | None:
    if view.posterior is None or winner is None:
        return None
    group_of = {t.number: int(view.group_N[i]) for i, t in enumerate(view.rows)}
    if winner.number not in group_of:  # it lies outside the declared space
        return None
    scores: dict[int, list[tuple[int, float]]] = {}
    for t in view.rows:
        if t.purpose == "search" and t.objective is not None:
            scores.setdefault(group_of[t.number], []).append((t.number, t.objective))
    groups = list(scores)
    best = max if table.maximize else min
    default = group_of.get(winner.default_number) if winner.default_number is not None else None
    row_of = {int(group): i for i, group in reversed(list(enumerate(view.group_N)))}
    return odds(
        view.posterior.values(view.positions_ND[[row_of[group] for group in groups]]),
        [scores[group][0][0] for group in groups],
        np.array([best(score for _, score in scores[group]) for group in groups]),
        groups.index(group_of[winner.number]),
        groups.index(default) if default is not None else None,
        table.maximize,
        LEVEL,
    )


def _path(table: TrialTable, view: View, winner: Winner | None) -> list[Step]:
    if winner is None or winner.default_number is None or view.centre_D is None:
        return []
    if view.posterior is None or not view.fit.trusted:
        return []
    default = table.by_number(winner.default_number)
    if not inside(view.axes, default):
        return []
    start_D = positions_of(view.axes, [default])[0]
    return path(view.posterior, start_D, view.centre_D, table.maximize, LEVEL)


def _failures(table: TrialTable, axes: list[Axis], seed: int) -> Failures | None:
    """From all search trials that ended; one outside the declared space counts as at its edge."""
    ended = [
        t for t in table.trials
        if t.purpose == "search" and t.status in ("finished", "pruned", "failed")
    ]  # fmt: skip
    failed_N = np.array([t.status == "failed" for t in ended], dtype=bool)
    return failures_of(axes, positions_of(axes, ended), failed_N, seed, LEVEL)


def _best_of_n(table: TrialTable) -> BestOfN | str:
    """Expected best of n, or the sentence that says why there is none."""
    drawn = [
        t for t in table.trials
        if t.purpose == "search" and t.chosen_by != "default"
        and t.status in ("finished", "pruned", "failed")
    ]  # fmt: skip
    kinds = {t.chosen_by for t in drawn} - {"random"}
    if kinds:
        how = "it is not recorded that all trials were random"
        if "unknown" not in kinds:
            how = f"not all trials were random ({' and '.join(sorted(kinds))})"
        return f"{how}, and only independent ones tell it (search.sampler: random)"
    if any(t.status == "pruned" for t in drawn):
        return "what the pruned trials would have scored is not known (search.pruner: none)"
    scores = [t.objective for t in drawn if t.objective is not None]
    if len(scores) < 2:
        return "fewer than two random trials finished"
    name = table.metric.lower().removeprefix("eval_")
    known = (0.0, 1.0) if name in UNIT_METRICS else (-1.0, 1.0) if name == "mcc" else None
    if known and not all(known[0] <= score <= known[1] for score in scores):
        known = None
    return expected_best(scores, table.maximize, known, LEVEL)
