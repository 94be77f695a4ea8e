"""Which configuration won, and what its confirmation on fresh seeds says of it."""

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from reports.trials import TrialTable


@dataclass(frozen=True)
class Winner:
    """The winning search trial. `confirmed` are its scores on fresh seeds, in order of the seed."""

    number: int
    params: dict[str, Any]
    score: float
    confirmed: list[float]
    default_number: int | None
    default_score: float | None
    default_confirmed: list[float]


def find_winner(table: TrialTable) -> Winner | None:
    """The configuration with the best mean over fresh seeds; the best search trial without them.

    None where no search trial finished. The default counts as a candidate once it is confirmed.
    """
    best = table.best_first()
    if not best:
        return None
    confirmed = {t.number: _confirmed(table, t.number) for t in best}
    candidates = [t for t in best if confirmed[t.number]]
    winner = best[0]
    if candidates:
        sign = 1.0 if table.maximize else -1.0
        most = max(len(confirmed[t.number]) for t in candidates)
        whole = [t for t in candidates if len(confirmed[t.number]) == most]
        winner = max(whole, key=lambda t: sign * mean(confirmed[t.number]))
    default = next((t for t in table.finished("search") if t.chosen_by == "default"), None)
    assert winner.objective is not None
    return Winner(
        winner.number,
        winner.params,
        winner.objective,
        confirmed[winner.number],
        default.number if default else None,
        default.objective if default else None,
        confirmed[default.number] if default else [],
    )


def _confirmed(table: TrialTable, number: int) -> list[float]:
    runs = [t for t in table.finished("confirm") if t.confirms == number]
    return [t.objective for t in sorted(runs, key=lambda t: t.seed or 0) if t.objective is not None]


def describe_winner(table: TrialTable, winner: Winner) -> str:
    """The winner in one line for a terminal."""
    shown = " ".join(
        f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in winner.params.items()
    )
    text = f"trial {winner.number}, {table.metric} {winner.score:.4f} ({shown})"
    if winner.confirmed:
        text += f"; on {len(winner.confirmed)} fresh seed(s) {spread(winner.confirmed)}"
    if winner.default_confirmed and winner.default_number != winner.number:
        text += f", the default {spread(winner.default_confirmed)}"
    return text


def spread(values: list[float]) -> str:
    """`0.8123 ± 0.0102` (standard deviation over seeds), or the one value."""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
