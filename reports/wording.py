"""Numbers as people read them: one way for the terminal, the sentences and the tables."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

MOST_LISTED = 8


def score(value: float) -> str:
    """A score as text: four decimals; elsewhere what says something."""
    return alike(value)[0]


def alike(*values: float) -> list[str]:
    """Scores that stand together, with the decimals of the largest: 0.8158 and 0.0001."""
    largest = abs(max(values, key=abs))
    if 10_000 <= largest < 10_000_000:
        return [f"{value:.1f}" for value in values]
    if largest and not 0.001 <= largest < 10_000:
        return [f"{value:.4g}" for value in values]
    decimals = 4
    if largest != round(largest) and f"{largest:.4f}".endswith(".0000"):  # 0.99996 is not 1
        decimals = 6
    return [f"{value:.{decimals}f}" for value in values]


def apart(finest: float, *values: float) -> list[str]:
    """Scores that stand together, with as many digits as differences of `finest` need to be seen."""
    largest, texts = max(map(abs, values)), alike(*values)
    if not math.isfinite(finest) or finest <= 1e-9 * largest:
        return texts
    wanted = -math.floor(math.log10(finest))
    digits, _, exponent = texts[0].partition("e")
    shown_to = len(digits.partition(".")[2]) - int(exponent or 0)
    return [f"{value:.{max(0, wanted)}f}" for value in values] if wanted > shown_to else texts


def spread(values: list[float]) -> str:
    """`0.8123 ± 0.0102` (standard deviation over seeds), or the one value."""
    if len(values) < 2:
        return score(values[0])
    deviation = stdev(values)
    return " ± ".join(apart(deviation, mean(values), deviation))


def seeds(values: list[float]) -> str:
    """`2 fresh seeds`."""
    return f"{len(values)} fresh seeds" if len(values) > 1 else "1 fresh seed"


def counted(count: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def level(of_interval: float) -> str:
    """`90%`, `98.6%`."""
    return f"{100 * of_interval:.3g}%" if of_interval < 0.9995 else f"{100 * of_interval:.4f}%"


def none_better(others: int) -> str:
    """What it means that the default wins over so many others that ran again."""
    if others == 1:
        return "the other one that ran again has no better mean."
    return f"none of the {others} others that ran again has a better mean."


def evidence(fit: Mapping[str, Any]) -> str:
    """`29 finished and 31 pruned runs`, those on fresh seeds included: what an estimate rests on."""
    if not fit["pruned"]:
        return counted(fit["finished"], "finished run")
    return f"{fit['finished']} finished and {counted(fit['pruned'], 'pruned run')}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def shown(value: Any) -> str:
    """A value in few characters; floats with four significant digits."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}"


def minutes(seconds: float | None) -> str:
    """`42 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def dollars(amount: float) -> str:
    """`$12.30`; four digits below a dollar, where two say nothing."""
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.4f}"


def share(interval: dict[str, float]) -> str:
    """`42% (30% to 55%)`."""
    return f"{interval['estimate']:z.0%} ({interval['low']:z.0%} to {interval['high']:z.0%})"


def at_most(part: float) -> str:
    """`at most 7%`, and never at most nothing."""
    return f"at most {part:.0%}" if part >= 0.005 else "less than 1%"


def between(interval: dict[str, float]) -> str:
    """`0.8123 (0.8004 to 0.8251)`."""
    middle, low, high = alike(*(interval[part] for part in ("estimate", "low", "high")))
    return f"{middle} ({low} to {high})"


def gap(interval: dict[str, float]) -> str:
    """`+0.0123 (-0.0040 to +0.0281)`."""
    parts = [interval[part] for part in ("low", "estimate", "high")]
    low, middle, high = (
        ("+" if part >= 0 else "-") + text
        for part, text in zip(parts, apart(parts[2] - parts[0], *map(abs, parts)), strict=True)
    )
    return f"{middle} ({low} to {high})"


def safe_text(safe: Mapping[str, Any]) -> str:
    """`1e-05 to 0.0003`, with "all of it" where it is; `16 or 32` of a choice (a SafeRange's fields)."""
    choices = [shown(choice) for choice in safe["choices"]]
    if safe["low"] is None or 0 < len(choices) <= MOST_LISTED:
        left = len(choices) - MOST_LISTED
        return listed([*choices[:MOST_LISTED], f"{left} more"] if left > 0 else choices, "or")
    text = f"{shown(safe['low'])} to {shown(safe['high'])}"
    return f"{text} (all of it)" if all(safe["reaches_end"]) else text


def chance(probability: float) -> str:
    """`37%`, and never quite nothing or all."""
    if probability > 0.99:
        return "more than 99%"
    return "less than 1%" if probability < 0.01 else f"{probability:.0%}"
