"""What to do next, as far as the trials say it: each piece with the numbers that it rests on."""

from dataclasses import dataclass

from reports.sensitivity.effects import Effect
from reports.sensitivity.interval import ROUNDING, Interval
from reports.sensitivity.result import Analysis, Parameter
from reports.sensitivity.verdict import CANNOT_TELL, MATTERS
from reports.trials import Column, TrialTable
from reports.winner import Winner, more_seeds, unselected_scores
from reports.wording import at_most, counted, listed, score, shown

MOST_SEEDS = 30
MOST_NUMBERS = 3
"""Numbers of further trials that are told one by one"""
RISK = "just beyond, the expected loss is more than the seed noise"


@dataclass(frozen=True)
class Advice:
    """One sentence, and the section that it rests on."""

    text: str
    section: str


def advice(table: TrialTable, analysis: Analysis) -> list[Advice]:
    """The next steps, the most useful first; none for a sweep without trials."""
    winner = analysis.winner
    if winner is None:
        if table.count("failed"):
            return [Advice("See why the trials failed before running more of them.", "trials")]
        return []
    columns = {column.name: column for column in table.columns}
    parameters = list(analysis.parameters.values())
    steps = [*_unfinished(table), *_seeds(table, winner, analysis.over_default)]
    for parameter in parameters:
        if parameter.verdict == MATTERS:
            steps += _range(columns[parameter.name], parameter, winner, table.maximize)
    steps += _fix(analysis, winner)
    steps += _more([p for p in parameters if p.verdict == CANNOT_TELL])
    return steps


def _unfinished(table: TrialTable) -> list[Advice]:
    """Where a confirmation was cut off: it can go on."""
    left = len(table.cut_short("confirm"))
    if not left:
        return []
    text = (
        "Run the same sweep again (with a larger budget, where that ended it): "
        f"{counted(left, 'confirmation run')} {'was' if left == 1 else 'were'} cut short."
    )
    return [Advice(text, "winner")]


def _may_confirm_more(table: TrialTable) -> bool:
    """Whether no more than one configuration was to run again, as far as the sweep is known."""
    sweep = table.facts.get("sweep")
    confirm = sweep.get("confirm") if isinstance(sweep, dict) else None
    top = confirm.get("top") if isinstance(confirm, dict) else None
    return not isinstance(top, int) or top < 2


def _seeds(table: TrialTable, winner: Winner, gap: Interval | None) -> list[Advice]:
    """Whether the winner needs more fresh seeds."""
    if not winner.confirmed:
        text = (
            f"Run the best configurations again on fresh seeds (confirm: {{top: 3, seeds: 3}}): until "
            f"then {score(winner.score)} is {'an optimistic score' if table.is_choice else 'of one seed alone'}."
        )
        return [Advice(text, "winner")]
    if (
        winner.compared == 1
        and table.is_choice
        and not winner.is_default
        and _may_confirm_more(table)
    ):
        text = (
            "Run more of the best configurations again on fresh seeds (confirm.top: 3): that the winner is the best "
            "of them rests on one run each."
        )
        return [Advice(text, "winner")]
    if gap is None or gap.low > 0 or gap.high < 0:
        return []
    if abs(gap.estimate) <= ROUNDING * abs(winner.score):
        return []
    assert winner.default_number is not None
    apart, so_far = abs(gap.estimate), len(winner.confirmed)
    runs = unselected_scores(table, winner)
    more = more_seeds(runs, winner, winner.default_number, MOST_SEEDS - so_far)
    if more is None:
        text = (
            f"Do not count on these seeds for the winner being better than the default: they are "
            f"{score(apart)} apart, and it would take more than {MOST_SEEDS} fresh seeds of each to be sure of it."
        )
    else:
        text = (
            f"Give the winner and the default about {so_far + more} fresh seeds each in all (the same sweep again with "
            f"confirm.seeds={so_far + more}{_for_all(winner)}): that may tell which is better, if they stay the {score(apart)} apart that "
            "they are so far, which is partly luck. After several such looks a verdict is a little less sure than its interval says."
        )
    return [Advice(text, "winner")]


def _for_all(winner: Winner) -> str:
    if winner.compared < 3:
        return ""
    return f", which runs all {winner.compared} that ran again on them"


def _range(column: Column, parameter: Parameter, winner: Winner, maximize: bool) -> list[Advice]:
    """Widen a range at whose end the winner lies, or narrow one that is good only in a part."""
    safe, name = parameter.safe_range, parameter.name
    if safe is None or parameter.around is None or name not in winner.params:
        return []
    if safe.low is None:
        if 0 < len(safe.choices) < len(column.choices):
            kept = listed([shown(choice) for choice in safe.choices], "or")
            return [
                Advice(
                    f"Keep {name} at {kept}: with any other, the expected loss is more than the seed noise.",
                    "robustness",
                )
            ]
        return []
    at, (at_low, at_high) = winner.params[name], _ends(column)
    end = "lower" if at_low is not None and at <= at_low else ""
    end = end or ("upper" if at_high is not None and at >= at_high else "")
    if end and _may_widen(column, end) and _rises_to(parameter.around, end, maximize):
        return [
            Advice(
                f"Widen {name} beyond its {end} end: the winner's {shown(at)} lies there, and better "
                "values may lie outside.",
                "robustness",
            )
        ]
    if all(safe.reaches_end):
        return []
    return [
        Advice(
            f"Narrow {name} to between {shown(safe.low)} and {shown(safe.high)}: {RISK}."
            if safe.low != safe.high
            else f"Keep {name} at {shown(safe.low)}: {RISK}.",
            "robustness",
        )
    ]


def _may_widen(column: Column, end: str) -> bool:
    """Whether there is something beyond an end; 0 below and 1 above are nearly always a limit, and so is
    1 below of a whole number.
    """
    if end == "upper":
        return column.high != 1
    return column.low != 0 and not (column.kind == "int" and column.low == 1)


def _rises_to(around: Effect, end: str, maximize: bool) -> bool:
    """Whether the expected score through the winner is best in the outer half on that side."""
    middle = [value if maximize else -value for value in around.middle]
    best = middle.index(max(middle)) / max(1, len(middle) - 1)
    return best <= 0.5 if end == "lower" else best >= 0.5


def _ends(column: Column) -> tuple[float | None, float | None]:
    """The values from which on a winner lies at an end: the outer twentieth of the range."""
    if column.kind == "choice" or column.low is None or column.high is None:
        return None, None
    if column.log and column.low > 0:
        reach = (column.high / column.low) ** 0.05
        return column.low * reach, column.high / reach
    reach = (column.high - column.low) * 0.05
    return column.low + reach, column.high - reach


def _fix(analysis: Analysis, winner: Winner) -> list[Advice]:
    fixed = [f"{name} at {shown(winner.params[name])}" for name in analysis.fixable]
    if not fixed or analysis.fixable_share is None:
        return []
    verb = "it hardly matters, " if len(fixed) == 1 else "together they hardly matter, "
    share = at_most(analysis.fixable_share.high)
    return [Advice(f"Fix {listed(fixed)}: {verb}{share} of the variance.", "sensitivity")]


def _more(open_: list[Parameter]) -> list[Advice]:
    wanted = [p for p in open_ if p.more_trials is not None]
    if not wanted:
        return []
    by_number: dict[int, list[str]] = {}
    for p in sorted(wanted, key=lambda p: p.more_trials or 0):
        by_number.setdefault(p.more_trials or 0, []).append(p.name)
    groups = list(by_number.items())
    parts = [
        f"about {counted(number, 'more trial')} may tell whether {listed(names, 'or')} matters"
        for number, names in groups[:MOST_NUMBERS]
    ]
    if beyond := groups[MOST_NUMBERS:]:
        names = [name for _, some in beyond for name in some]
        parts.append(f"{listed(names)} would take {beyond[0][0]} or more")
    text = "; ".join(parts)
    return [Advice(f"If it is worth knowing: {text}.", "sensitivity")]
