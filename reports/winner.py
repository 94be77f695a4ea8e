"""Which configuration won, and what its confirmation on fresh seeds says of it."""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from reports.sensitivity.difference import difference, more_runs
from reports.sensitivity.interval import LEVEL, Interval
from reports.trials import TrialRow, TrialTable
from reports.wording import score, seeds, shown, spread


@dataclass(frozen=True)
class Winner:
    """The winning search trial. `confirmed` are its scores on fresh seeds, in order of the seed;
    `compared` is the number of configurations whose means on common seeds were compared.
    """

    number: int
    params: dict[str, Any]
    score: float
    confirmed: list[float]
    default_number: int | None
    default_score: float | None
    default_confirmed: list[float]
    is_default: bool
    compared: int


def find_winner(table: TrialTable) -> Winner | None:
    """The configuration with the best mean over fresh seeds; the best search trial without them.

    Configurations are compared on the seeds that all of them have, so that a run that failed or was
    cut short on one of them decides nothing; where all ran again, their search runs count too. None where no search trial finished. The default
    counts as a candidate once it is confirmed.
    """
    best = table.best_first()
    if not best:
        return None
    scores = confirmed_scores(table)
    candidates, common = [t for t in best if t.number in scores], common_seeds(table)
    winner, compared = best[0], 0
    # Where the leader of the search has no confirmed score, nothing was compared with it.
    if common and any(t.params == best[0].params for t in candidates):
        sign, compared = 1.0 if table.maximize else -1.0, len(candidates)
        searched = all_ran_again(table)

        def how_good(t: TrialRow) -> tuple[float, bool]:
            runs = [scores[t.number][seed] for seed in common]
            runs += [t.objective] if searched and t.objective is not None else []
            return sign * mean(runs), t.chosen_by == "default"  # of two that are as good

        winner = max(candidates, key=how_good)
    default = next((t for t in table.finished("search") if t.chosen_by == "default"), None)
    assert winner.objective is not None
    return Winner(
        number=winner.number,
        params=winner.params,
        score=winner.objective,
        confirmed=list(scores.get(winner.number, {}).values()),
        default_number=default.number if default else None,
        default_score=default.objective if default else None,
        default_confirmed=list(scores.get(default.number, {}).values()) if default else [],
        is_default=default is not None and default.params == winner.params,
        compared=compared,
    )


def unselected_scores(table: TrialTable, winner: Winner | None) -> dict[int, list[float]]:
    """For each confirmed configuration the runs that were not chosen for their score: those on fresh
    seeds, and the default's search run, which no score had a part in; where all ran again, all search runs.
    """
    runs = {number: list(by_seed.values()) for number, by_seed in confirmed_scores(table).items()}
    if all_ran_again(table):
        for t in table.finished("search"):
            assert t.objective is not None
            runs[t.number].insert(0, t.objective)
    elif winner is not None and winner.default_number in runs and winner.default_score is not None:
        runs[winner.default_number].insert(0, winner.default_score)
    return runs


def all_ran_again(table: TrialTable) -> bool:
    """Whether every search trial that did not fail ran on a fresh seed: then no score chose which did."""
    again = confirmed_scores(table)
    searched = [t for t in table.trials if t.purpose == "search"]
    return not any(t.status == "pruned" for t in searched) and all(
        t.number in again for t in table.finished("search")
    )


def gap_to(runs: dict[int, list[float]], winner: Winner, other: int) -> Interval | None:
    """The winner's mean minus another confirmed configuration's; the seed noise is that of all.

    As the best of several on these very runs the winner is flattered: the interval is widened so that
    those of all that could have won hold at once (Bonferroni).
    """
    number = winner.number
    if number == other or number not in runs or other not in runs:
        return None
    return difference(runs[number], runs[other], _level(winner), _without(runs, number, other))


def more_seeds(runs: dict[int, list[float]], winner: Winner, other: int, most: int) -> int | None:
    """How many more seeds of both would have `gap_to` leave 0 out, if all stays so; None beyond `most`."""
    number = winner.number
    others = _without(runs, number, other)
    return more_runs(runs[number], runs[other], _level(winner), others, most)


def _level(winner: Winner) -> float:
    return 1 - (1 - LEVEL) / max(1, winner.compared - 1)


def _without(runs: dict[int, list[float]], *numbers: int) -> list[list[float]]:
    return [scores for number, scores in runs.items() if number not in numbers]


def common_seeds(table: TrialTable) -> set[int]:
    """The fresh seeds that all confirmed search trials have finished on."""
    scores = confirmed_scores(table)
    each = [set(scores[t.number]) for t in table.best_first() if t.number in scores]
    return set.intersection(*each) if each else set()


def confirmed_scores(table: TrialTable) -> dict[int, dict[int, float]]:
    """For each confirmed search trial its scores on fresh seeds, by seed."""
    scores: dict[int, dict[int, float]] = {}
    for t in sorted(table.finished("confirm"), key=lambda t: t.seed or 0):
        if t.confirms is not None and t.objective is not None:
            scores.setdefault(t.confirms, {})[t.seed or 0] = t.objective
    return scores


def describe_winner(table: TrialTable, winner: Winner) -> str:
    """The winner in one line for a terminal."""
    params = " ".join(f"{name}={shown(value)}" for name, value in winner.params.items())
    text = f"trial {winner.number}, {table.metric} {score(winner.score)} ({params})"
    if winner.is_default:
        text += ", the default configuration"
    if not winner.confirmed:
        return f"{text}; not confirmed on fresh seeds" + (
            ", so this score is optimistic" if table.is_choice else ""
        )
    if winner.compared > 1 and all_ran_again(table):
        runs = unselected_scores(table, winner)
        own = runs[winner.number]
        text += f"; over {len(own)} runs {spread(own)}"
        if winner.default_number in runs and not winner.is_default:
            text += f", the default {spread(runs[winner.default_number])}"
        return text
    text += f"; on {seeds(winner.confirmed)} {spread(winner.confirmed)}"
    if winner.default_confirmed and not winner.is_default:
        text += f", the default {spread(winner.default_confirmed)}"
    return text
