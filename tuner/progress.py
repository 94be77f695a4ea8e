"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere."""

import errno
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {"running": "cyan", "finished": "green", "pruned": "yellow", "failed": "red"}
ROWS_SHOWN = 14


@dataclass
class Row:
    """One trial as it is shown."""

    number: int
    purpose: str
    chosen_by: str
    params: Mapping[str, Any]
    status: str = "running"
    fraction: float | None = None
    score: float | None = None
    seconds: float = 0.0
    note: str = ""
    started: float = field(default_factory=time.monotonic)


@dataclass
class Totals:
    """How far the sweep is."""

    metric: str
    planned: int
    done: int = 0
    best: str = "none yet"
    seconds_left: float | None = None


class View(Protocol):
    """Where a backend reports to."""

    def changed(self, row: Row, totals: Totals) -> None:
        """A trial started, was evaluated or ended."""

    def say(self, text: str) -> None:
        """One sentence for the person."""

    def tick(self) -> None:
        """Called often: redraw clocks."""

    def close(self) -> None:
        """The sweep is over."""


class _Outlasting:
    """Our stdout, whose reader may leave: `tuner run … | head`, a window that is closed.

    The sweep goes on, or ends as it should, without it.
    """

    def __init__(self) -> None:
        self.stream = sys.stdout

    def write(self, text: str) -> int:
        """As any stream's; nothing where nobody reads any more."""
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """As any stream's; nothing where nobody reads any more."""
        self._try(self.stream.flush)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as exc:
            if exc.errno not in (errno.EPIPE, errno.EIO):
                raise
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.stream.fileno())
            if exc.errno == errno.EIO:  # the terminal is gone, and with it where errors would go
                try:
                    os.write(sys.stderr.fileno(), b"")
                except OSError:
                    os.dup2(nothing, sys.stderr.fileno())
            os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _console(**options: Any) -> Console:
    return Console(file=cast(IO[str], _Outlasting()), highlight=False, markup=False, **options)


class PlainView:
    """A line per event, for logs and pipes."""

    def __init__(self) -> None:
        self.console = _console(soft_wrap=True)

    def changed(self, row: Row, totals: Totals) -> None:
        """One line: what happened to which trial."""
        parts = [f"trial {row.number:>3}"]
        if row.status == "running" and row.fraction is None:
            parts += ["started ", shown_params(row.params), f"[{row.chosen_by}]"]
        elif row.status == "running":
            parts += [f"{row.fraction:>7.0%} ", f"{totals.metric} {shown_score(row.score)}"]
        else:
            parts += [f"{row.status:<8}", f"{totals.metric} {shown_score(row.score)}"]
            parts += [f"in {shown_time(row.seconds)}"]
            if row.note:
                parts.append(f"({row.note})")
            left = f", about {shown_time(totals.seconds_left)} left" if totals.seconds_left else ""
            parts.append(f"| {totals.done}/{totals.planned} done, best {totals.best}{left}")
        self.console.print(" ".join(parts))

    def say(self, text: str) -> None:
        """The sentence as it is."""
        self.console.print(text)

    def tick(self) -> None:
        """Nothing moves in a log."""

    def close(self) -> None:
        """Nothing to tidy up."""


class LiveView:
    """A table that is redrawn in place, with the sentences above it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.rows: dict[int, Row] = {}
        self.totals: Totals | None = None
        self.live = Live(console=console, auto_refresh=False, transient=False)
        self.live.start()
        self._drawn = 0.0

    def changed(self, row: Row, totals: Totals) -> None:
        """Redraws with the trial's new state."""
        self.rows[row.number] = row
        self.totals = totals
        self._draw()

    def say(self, text: str) -> None:
        """Prints the sentence above the table."""
        self.live.console.print(Text(text))

    def tick(self) -> None:
        """Lets the clocks of running trials move, once a second."""
        if time.monotonic() - self._drawn > 1.0:
            self._draw()

    def close(self) -> None:
        """Leaves the last table on the screen."""
        self._draw()
        self.live.stop()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self.totals is not None:
            rows = list(self.rows.values())
            # Beyond the screen's height the running and the newest trials are what matters.
            room = max(4, min(ROWS_SHOWN, self.console.height - 8))
            last = sorted(rows, key=lambda row: row.status == "running")[-room:]
            hidden, numbers = len(rows) - len(last), {row.number for row in last}
            shown = [row for row in rows if row.number in numbers]
            table = trial_table(shown, self.totals.metric, self.console.width)
            self.live.update(Group(table, self._footer(hidden)), refresh=True)

    def _footer(self, hidden: int) -> Text:
        assert self.totals is not None
        parts = [f"{self.totals.done} of {self.totals.planned} trials done"]
        if hidden:
            parts.append(f"{hidden} earlier ones not shown")
        parts.append(f"best {self.totals.best}")
        if self.totals.seconds_left:
            parts.append(f"about {shown_time(self.totals.seconds_left)} left")
        return Text("  ".join(parts), style="bold")


def trial_table(rows: list[Row], metric: str, width: int) -> Table:
    """Trials as a table: number, how chosen, parameters, progress, score, time, note."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", justify="right")
    table.add_column("chosen by")
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    separate = len(names) * 14 + 60 <= width
    if separate:
        for name in names:
            table.add_column(name, justify="right")
    else:
        table.add_column("parameters", overflow="fold")
    table.add_column("status")
    table.add_column(metric, justify="right")
    table.add_column("time", justify="right")
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=44)
    for row in rows:
        status = row.status
        if status == "running":
            row.seconds = time.monotonic() - row.started
            status = "running" if row.fraction is None else f"{row.fraction:.0%}"
        cells = [str(row.number), row.chosen_by]
        if separate:
            cells += [shown_value(row.params.get(name, "")) for name in names]
        else:
            cells.append(shown_params(row.params))
        cells += [status, shown_score(row.score), shown_time(row.seconds), row.note]
        style = STYLES.get(row.status, "dim") if row.status != "finished" else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def make_view() -> View:
    """The live table on a terminal, plain lines where the output goes elsewhere."""
    console = _console()
    if console.is_terminal and sys.stdout.isatty():
        return LiveView(console)
    return PlainView()


def shown_value(value: Any) -> str:
    """A parameter's value in few characters: four digits are more than a sweep can tell apart."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}"


def shown_params(params: Mapping[str, Any]) -> str:
    """`learning_rate=3.1e-05 epochs=3`."""
    return " ".join(f"{name}={shown_value(value)}" for name, value in params.items())


def shown_score(score: float | None) -> str:
    """Four decimals, or a dash."""
    return "–" if score is None else f"{score:.4f}"


def shown_time(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
