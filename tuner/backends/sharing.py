"""How many trials at once are fastest on this machine: measured with the sweep's own model and data.

Runs that train without end (train_script/probe.py) share the machine one, two, four at a time for a few
seconds each; what counts is how many examples a second they get through together.
"""

import json
import queue
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil

from tuner.backends.launching import Launcher, threads_of
from tuner.machine import usable_cores
from tuner.processes import Event, TrialProcess, processes_of
from tuner.space import Point

SECONDS = 3.0
"""For so long all train together"""
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

    def __str__(self) -> str:
        cores = usable_cores()
        share = f"{threads_of(self.at_once)} of {cores} cores"
        many = (
            "1 trial at a time, with"
            if self.at_once == 1
            else f"{self.at_once} trials at once, each with"
        )
        if self.fault:
            return (
                f"{many} {share}: how many at once are fastest could not be measured ({self.fault})"
            )
        rates = ", ".join(f"{n} at once {r:.3g}" for n, r in self.examples_per_second.items())
        return f"{many} {share} (measured, examples a second: {rates})"

    def as_fact(self) -> dict[str, Any]:
        """Plain data for the ledger."""
        rates = {str(n): round(rate, 2) for n, rate in self.examples_per_second.items()}
        return {"trials": self.at_once, "examples_per_second": rates, "fault": self.fault}


class NothingMeasured(Exception):
    """The sweep has to end."""


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
        self.larger = _largest_batch(launcher, point)
        self.fault = ""
        self.memory = self.gpu_memory = 0.0
        """What one run needs, in bytes; and as a share of its GPU"""
        self.room = float(psutil.virtual_memory().available)

    def has_room_for(self, count: int) -> bool:
        """Whether the memory is enough for so many of the largest trials."""
        spare = MEMORY_TO_SPARE * self.larger
        on_one_gpu = -(-count // max(1, len(self.launcher.gpus)))
        return count * self.memory * spare < self.room and on_one_gpu * self.gpu_memory * spare < 1

    def rate_of(self, count: int) -> float | None:
        """Examples a second of so many together; None where one of them failed."""
        events: queue.Queue[Event] = queue.Queue()
        place = self.launcher.folder.path / "probe"
        running = {
            n: self.launcher.start(n, self.arguments, place / str(n), count, events, '"examples"', "probe.py")
            for n in range(count)
        }  # fmt: skip
        try:
            steps = self._watched(running, events)
        finally:
            _end(running, events)
            shutil.rmtree(place, ignore_errors=True)
        return together(steps) if steps else None

    def _watched(
        self, running: dict[int, TrialProcess], events: "queue.Queue[Event]"
    ) -> list[list[dict[str, float]]] | None:
        """Each run's steps; the first of each is not counted, since it makes room first."""
        steps: list[list[dict[str, float]]] = [[] for _ in running]
        deadline = None
        while True:
            if self.must_end():
                raise NothingMeasured
            try:
                event = events.get(timeout=0.2)
            except queue.Empty:
                event = None
            if event is not None and event.line is None:
                ended = running.pop(event.number)
                self.fault = next(reversed(ended.stderr_tail), "it ended")
                return None
            if event is not None and event.line is not None:
                steps[event.number].append(json.loads(event.line))
            now = time.monotonic()
            if deadline is None and any(steps):
                deadline = now + MOST_SECONDS
            ready = all(len(own) > 1 for own in steps)
            if ready and now - max(own[0]["ended"] for own in steps) > SECONDS:
                self._weigh(running, steps)
                return steps
            if deadline is not None and now > deadline:
                return steps if ready else None

    def _weigh(self, running: dict[int, TrialProcess], steps: list[list[dict[str, float]]]) -> None:
        used = 0.0
        for process in running.values():
            for each in processes_of(process.environment["CHECKPOINT_DIR"]):
                try:
                    used += each.memory_full_info().uss
                except psutil.Error:
                    continue
        self.memory = used / len(running)
        self.gpu_memory = max(
            own[-1].get("gpu_bytes", 0.0) / own[-1].get("gpu_room", 1.0) for own in steps
        )


def together(steps: list[list[dict[str, float]]]) -> float:
    """Examples a second of all runs in the time when all of them trained (each one's first step aside).

    A step that lies partly in that time counts by that part.
    """
    begin = max(own[0]["ended"] for own in steps)
    end = min(own[-1]["ended"] for own in steps)
    if end <= begin:
        return 0.0
    done = 0.0
    for step in (step for own in steps for step in own[1:]):
        within = min(step["ended"], end) - max(step["began"], begin)
        done += step["examples"] * max(0.0, within) / (step["ended"] - step["began"])
    return done / (end - begin)


def _largest_batch(launcher: Launcher, point: Point) -> float:
    """How many times larger than this point's the largest batch of the space is."""
    searched = launcher.loaded.sweep.space.get("batch_size")
    if searched is None or "batch_size" not in point:
        return 1.0
    return max(1.0, max(float(v) for v in searched.values) / float(point["batch_size"]))


def _end(running: dict[int, TrialProcess], events: "queue.Queue[Event]") -> None:
    """None of them is left when this comes back."""
    for process in running.values():
        process.kill()
    left = len(running)
    while left:
        left -= events.get().line is None
