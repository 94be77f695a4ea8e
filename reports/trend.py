"""The winners of a schedule's slots over time, as one small picture that needs no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from reports.wording import score

WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 16, 44
MOST_LABELS = 8


@dataclass(frozen=True)
class Slot:
    """A slot: its fresh-seed scores of the winner and of the default (the search score without them)."""

    label: str
    winner: Sequence[float]
    default: Sequence[float]
    verdict: str


@dataclass(frozen=True)
class Mark:
    """A mean with its lowest and highest run, in the picture's pixels."""

    x: float
    y: float
    low: float
    high: float
    kind: str
    text: str


@dataclass(frozen=True)
class Trend:
    """What the template draws: marks, lines through them, and the axes' texts with their places."""

    width: int
    height: int
    marks: list[Mark]
    lines: dict[str, str]
    ticks: list[tuple[float, str]]
    labels: list[tuple[float, str]]
    description: str


def trend_of(slots: Sequence[Slot], metric: str) -> Trend | None:
    """The picture of slots in the order of time; None where there are fewer than two."""
    slots = [slot for slot in slots if slot.winner]
    if len(slots) < 2:
        return None
    every = [value for slot in slots for value in (*slot.winner, *slot.default)]
    low, high = min(every), max(every)
    pad = 0.08 * (high - low) or max(abs(high), 1.0) * 0.01
    low, high = low - pad, high + pad

    def x_of(index: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(slots), 1)

    def y_of(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    apart = min(6.0, (WIDTH - LEFT - RIGHT) / len(slots) / 4)
    marks = []
    for i, slot in enumerate(slots):
        for kind, values, aside in (
            ("default", slot.default, apart),
            ("winner", slot.winner, -apart),
        ):
            if not values:
                continue
            text = f"{slot.label}: {kind} {score(mean(values))}"
            if kind == "winner" and slot.verdict:
                text += f", {slot.verdict}"
            marks.append(
                Mark(round(x_of(i) + aside, 1), y_of(mean(values)), y_of(min(values)), y_of(max(values)), kind, text)
            )  # fmt: skip
    lines = {
        kind: " ".join(f"{mark.x},{mark.y}" for mark in marks if mark.kind == kind)
        for kind in ("default", "winner")
    }
    every_nth = -(-len(slots) // MOST_LABELS)
    return Trend(
        width=WIDTH,
        height=HEIGHT,
        marks=marks,
        lines=lines,
        ticks=[(y_of(v), score(v)) for v in (low + pad, (low + high) / 2, high - pad)],
        labels=[(x_of(i), slot.label) for i, slot in enumerate(slots) if i % every_nth == 0],
        description=f"The {metric} of the winner and of the default in each slot: the mean of the runs on "
        "fresh seeds, and from the lowest to the highest of them; where none ran, the search's own score, which is "
        "optimistic.",
    )
