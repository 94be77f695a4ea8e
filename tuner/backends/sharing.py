"""How many trials at once are fastest on this machine: measured with the sweep's own model and data.

Runs that train without end (train_script/probe.py) share the machine one, two, four at a time for a few
seconds each; what counts is how many examples a second they get through together.
"""

import json
import math
import platform
import queue
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil

from train_script.contract import OF_TRIAL
from train_script.pretrained import locate_model
from tuner.backends.launching import Launcher, threads_of
from tuner.ledger import Ledger
from tuner.machine import free_memory, usable_cores, weight_files
from tuner.processes import Event, TrialProcess, processes_of
from tuner.space import Point
from tuner.sweep import LoadedSweep, values_of

Steps = list[dict[str, float]]
"""A run's steps: what probe.py tells of each"""
SECONDS = 3.0
"""For so long all train together"""
FEWEST_STEPS = 3
"""Of each run in that time"""
MOST_SECONDS = 60.0
"""After the first one is ready; then what there is has to do"""
WORTH = 1.05
"""More at once have to be faster by this: they need more memory, and a sampler learns from fewer"""
MEMORY_TO_SPARE = 1.5
MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Sharing:
    """What was found."""

    at_once: int = 1
    examples_per_second: dict[int, float] = field(default_factory=dict)
    """By how many trials at once"""
    fault: str = ""
    """Why nothing was measured"""
    before: bool = False
    """Measured by an earlier call of the same run"""
    gpus: int = 0
    """What the trials share beside the cores"""

    def __str__(self) -> str:
        cores = usable_cores()
        many = (
            "1 trial at a time, with"
            if self.at_once == 1
            else f"{self.at_once} trials at once, each with"
        )
        text = f"{many} {threads_of(self.at_once)} of {cores} cores"
        if self.gpus:
            together = ", together" if self.at_once > 1 else ""
            text += f"{together} on {self.gpus} GPU{'s' * (self.gpus > 1)}"
        if self.fault:
            return f"{text}: how many at once are fastest was not measured ({self.fault})"
        rates = ", ".join(
            f"{n} at once {shown_rate(r)}" for n, r in self.examples_per_second.items()
        )
        return f"{text} (measured{' before' * self.before}, examples a second: {rates})"


class NothingMeasured(Exception):
    """The sweep has to end."""


def settled(
    launcher: Launcher, ledger: Ledger, most: int, is_alone: bool, must_end: Callable[[], bool], say: Callable[[str], None],
) -> Sharing:  # fmt: skip
    """How many of `most` trials to run at once here: known, measured, or 1.

    What was measured is noted in the ledger, for each machine. Raises NothingMeasured where `must_end`
    says so.
    """
    facts = ledger.study.user_attrs.get("at_once")
    by_machine = dict(facts) if isinstance(facts, dict) else {}
    here = {"cores": usable_cores(), "gpus": len(launcher.gpus)}
    known = by_machine.get(platform.node())
    # One that stopped at the number of trials that there were may be too low for more.
    if (
        known
        and known | here == known
        and (2 * known["trials"] <= known["most"] or most <= known["most"])
    ):
        rates = {int(n): float(rate) for n, rate in known["examples_per_second"].items()}
        return Sharing(min(known["trials"], most), rates, before=True)
    if not is_alone:
        return Sharing(fault="another worker is at work on this machine")
    say("measures how many trials at once are fastest here")
    found = measure(launcher, launcher.loaded.typical_point(), most, must_end)
    if not found.fault:
        rates_by_word = {str(n): round(rate, 2) for n, rate in found.examples_per_second.items()}
        by_machine[platform.node()] = here | {
            "most": most, "trials": found.at_once, "examples_per_second": rates_by_word
        }  # fmt: skip
        ledger.set("at_once", by_machine)
    return found


def measure(launcher: Launcher, point: Point, most: int, must_end: Callable[[], bool]) -> Sharing:
    """The best number of trials at once, up to `most`, for trials like that of `point`.

    Raises NothingMeasured where `must_end` says so; nothing that was started is left.
    """
    probes = Probes(launcher, point, must_end)
    rates: dict[int, float] = {}
    best = 1
    for count in candidates(most, len(launcher.gpus)):
        if rates and not probes.has_room_for(count):
            break
        rate = probes.rate_of(count)
        if rate is None and not rates:
            return Sharing(fault=probes.fault or "it took too long")
        if rate is None:
            break
        if rates and rate < WORTH * rates[best]:
            rates[count] = rate
            break
        rates[count], best = rate, count
    return Sharing(best, rates)


def candidates(most: int, gpus: int) -> Iterator[int]:
    """Numbers of trials at once that are worth a look, from the lowest up."""
    top = min(most, usable_cores(), MOST_AT_ONCE)
    count = min(max(1, gpus), top)
    while count <= top:
        yield count
        count *= 2


class Probes:
    """Runs that share the machine for a while."""

    def __init__(self, launcher: Launcher, point: Point, must_end: Callable[[], bool]) -> None:
        self.launcher, self.must_end = launcher, must_end
        self.arguments = launcher.loaded.arguments(point, launcher.loaded.sweep.search.seed)
        self.heavier = _heavier(launcher.loaded, point)
        self.fault = ""
        self.memory = self.gpu_memory = 0.0
        """What one run needs, in bytes; and as a share of its GPU"""
        self.room = free_memory()

    def has_room_for(self, count: int) -> bool:
        """Whether the memory is enough for so many of the most demanding trials."""
        spare = MEMORY_TO_SPARE * self.heavier
        on_one_gpu = -(-count // max(1, len(self.launcher.gpus)))
        return count * self.memory * spare < self.room and on_one_gpu * self.gpu_memory * spare < 1

    def rate_of(self, count: int) -> float | None:
        """Examples a second of so many together; None where one of them failed."""
        events: queue.Queue[Event] = queue.Queue()
        running: dict[int, TrialProcess] = {}
        place = Path(mkdtemp(prefix="probe-", dir=self.launcher.folder.path))
        try:
            for n in range(count):
                running[n] = self.launcher.start(
                    n, self.arguments, place / str(n), count, events, '"examples"', "probe.py"
                )
            steps = self._watched(running, events)
        except OSError as exc:  # no process or folder more
            self.fault = exc.strerror or str(exc)
            return None
        finally:
            _end(running, events)
            shutil.rmtree(place, ignore_errors=True)
        return together(steps) if steps else None

    def _watched(
        self, running: dict[int, TrialProcess], events: "queue.Queue[Event]"
    ) -> list[Steps] | None:
        """Each run's steps; the first of each is not counted, since it makes room first."""
        steps: list[Steps] = [[] for _ in running]
        silent = self.launcher.loaded.sweep.budget.silent_minutes
        deadline = time.monotonic() + 60 * silent if silent else math.inf
        while True:
            if self.must_end():
                raise NothingMeasured
            with suppress(queue.Empty):
                event = events.get(timeout=0.2)
                if event.line is None:
                    ended = running.pop(event.number)
                    self.fault = next(reversed(ended.stderr_tail), "it ended")
                    return None
                if not any(steps):
                    deadline = time.monotonic() + MOST_SECONDS
                steps[event.number].append(json.loads(event.line))
            shared = shared_seconds(steps)
            enough = shared >= SECONDS and all(len(own) > FEWEST_STEPS for own in steps)
            if enough or time.monotonic() > deadline:
                break
        if not shared:
            return None
        self._weigh(running, steps)
        return steps

    def _weigh(self, running: dict[int, TrialProcess], steps: list[Steps]) -> None:
        used = 0.0
        for process in running.values():
            for each in processes_of(process.environment[OF_TRIAL]):
                with suppress(psutil.Error):
                    used += each.memory_full_info().uss
        self.memory = used / len(running)
        # Of the first, which have a GPU each: beside others there is less room than there was.
        self.gpu_memory = self.gpu_memory or max(
            own[-1].get("gpu_bytes", 0.0) / own[-1].get("gpu_room", 1.0) for own in steps
        )


def shared_seconds(steps: list[Steps]) -> float:
    """For how long all runs have trained, up to the end of the last step of each."""
    if not all(steps):
        return 0.0
    return max(0.0, min(own[-1]["ended"] for own in steps) - max(own[0]["ended"] for own in steps))


def together(steps: list[Steps]) -> float:
    """Examples a second of all runs in the time when all of them trained (each one's first step aside).

    A step that lies partly in that time counts by that part.
    """
    if not (seconds := shared_seconds(steps)):
        return 0.0
    begin = max(own[0]["ended"] for own in steps)
    end = begin + seconds
    done = 0.0
    for step in (step for own in steps for step in own[1:]):
        within = min(step["ended"], end) - max(step["began"], begin)
        done += step["examples"] * max(0.0, within) / (step["ended"] - step["began"])
    return done / seconds


def shown_rate(rate: float) -> str:
    """`34.3`, `1250`."""
    return f"{rate:.3g}" if rate < 100 else f"{rate:.0f}"


def _heavier(loaded: LoadedSweep, point: Point) -> float:
    """How many times the memory of this point the most demanding one of the space may need."""

    def of_model(name: Any) -> float:
        place = Path(locate_model(loaded.model_place(str(name))))
        return float(sum(file.stat().st_size for file in weight_files(place)))

    weights: dict[str, Callable[[Any], float]] = {
        "batch_size": float, "max_length": float, "model": of_model,
        "rdrop": lambda value: 2.0 if float(value) else 1.0,  # two passes
    }  # fmt: skip
    times = 1.0
    for option, weight in weights.items():
        values = values_of(loaded.sweep, option)
        if option in point and len(values) > 1:
            found = [weight(value) for value in values]
            if all(found):  # a model that only the hub has weighs nothing yet
                times *= max(found) / weight(point[option])
    return max(1.0, times)


def _end(running: dict[int, TrialProcess], events: "queue.Queue[Event]") -> None:
    """None of them is left when this comes back."""
    for process in running.values():
        process.kill()
    left = len(running)
    while left:
        left -= events.get().line is None
