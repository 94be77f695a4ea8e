"""The local backend: Optuna chooses, one process per trial trains, this loop watches."""

import os
import queue
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tuner.backends.base import Outcome, totals_of
from tuner.errors import SweepFailed
from tuner.ledger import Ledger
from tuner.machine import gpu_names, usable_cores
from tuner.output import TrialOutput
from tuner.points import Points, Proposal, make_pruner
from tuner.processes import Event, TrialProcess
from tuner.progress import Row, Totals, View
from tuner.run_folder import RunFolder
from tuner.signals import Asked, listening
from tuner.space import Point
from tuner.sweep import LoadedSweep

FAILURES_WITHOUT_SUCCESS = 5
POLL_SECONDS = 0.25
NOTE_SECONDS = 10.0


class LocalBackend:
    """Trials as processes of this machine."""

    def __init__(self, loaded: LoadedSweep) -> None:
        self.loaded = loaded

    def problems(self) -> list[str]:
        """More trials at once than cores is the one thing that only this machine can tell."""
        parallel, cores = self.loaded.sweep.budget.parallel, usable_cores()
        if parallel > cores:
            return [
                f"budget.parallel {parallel} is more than the {cores} cores of this machine; "
                f"at most {cores} trials can run at once"
            ]
        return []

    def threads_per_trial(self) -> int:
        """The cores divided between the trials that run at once."""
        return max(1, usable_cores() // self.loaded.sweep.budget.parallel)

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Asks the process that runs the sweep to end, and waits for it."""
        holder = folder.stop_holder()
        return f"stopped process {holder}" if holder else f"{folder.shown} is not running"

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Runs the search, then the confirmation; see `Backend.run`."""
        with listening() as asked:
            return _LocalRun(self, ledger, folder, view, asked).run()


@dataclass
class _Running:
    """A trial in flight."""

    trial: optuna.Trial
    proposal: Proposal
    process: TrialProcess
    row: Row
    gpu: str | None
    may_prune: bool
    output: TrialOutput
    reported: set[int] = field(default_factory=set)
    pruned: bool = False
    by_count: bool = False
    cut_short: str = ""


class _LocalRun:
    """One call of `run`: the loop and its state."""

    def __init__(
        self, backend: LocalBackend, ledger: Ledger, folder: RunFolder, view: View, asked: Asked
    ) -> None:
        self.backend, self.ledger, self.folder, self.view = backend, ledger, folder, view
        self.loaded, self.asked = backend.loaded, asked
        self.sweep = self.loaded.sweep
        self.points = Points(self.loaded, ledger)
        self.running: dict[int, _Running] = {}
        self.events: queue.Queue[Event] = queue.Queue()
        self.gpus = deque(gpu_names())
        self.ledger.study.pruner = make_pruner(self.sweep.search.pruner)
        ledger.set("space_filling_trials", self.points.fill)
        self.spent_before = float(ledger.study.user_attrs.get("elapsed_seconds", 0.0))
        self.started = time.monotonic()
        self.noted = self.started
        self.failures = 0
        self.durations: list[float] = []

    def run(self) -> Outcome:
        """Search until the budget is used, then confirm, then say how it ended."""
        try:
            outcome = self._phase(self.points.next_search)
            if outcome is Outcome.FINISHED:
                outcome = self._phase(self.points.next_confirm)
            return outcome
        finally:
            self._end_all()
            self._remove_models()
            self.ledger.set("elapsed_seconds", self._elapsed())

    def _elapsed(self) -> float:
        return round(self.spent_before + time.monotonic() - self.started, 3)

    def _note_elapsed(self) -> None:
        """Now and then, so that a killed sweep does not get its hours back."""
        if time.monotonic() - self.noted > NOTE_SECONDS:
            self.noted = time.monotonic()
            self.ledger.set("elapsed_seconds", self._elapsed())

    def _phase(self, next_proposal: Any) -> Outcome:
        """Keeps `parallel` trials running until there is no next one and none is left."""
        exhausted = False
        while True:
            if self.asked.times:
                return self._stop_running("the sweep was stopped", Outcome.STOPPED)
            hours = self.sweep.budget.hours
            if hours and self._elapsed() > hours * 3600:
                return self._stop_running("budget.hours was used up", Outcome.OUT_OF_HOURS)
            while not exhausted and len(self.running) < self.sweep.budget.parallel:
                proposal = next_proposal()
                if proposal is None:
                    exhausted = True
                else:
                    self._start(proposal)
            if not self.running:
                return Outcome.FINISHED
            self._handle_events()
            self._note_elapsed()
            self._give_up_if_nothing_works()

    def _start(self, proposal: Proposal) -> None:
        trial, point = self._new_trial(proposal)
        folder = self.folder.trial(trial.number)
        self._take_over_checkpoint(proposal, folder)
        arguments = self.loaded.arguments(point, proposal.seed)
        gpu = self._take_gpu()
        process = TrialProcess(
            trial.number, [sys.executable, str(self.loaded.script), *arguments],
            self._environment(folder, gpu), folder, self.events,
        ).start()  # fmt: skip
        chosen_by = proposal.attributes["chosen_by"]
        row = Row(trial.number, proposal.attributes["purpose"], chosen_by, point)
        may_prune = proposal.attributes["purpose"] == "search" and chosen_by != "default"
        output = TrialOutput(self.sweep.objective.metric)
        self.running[trial.number] = _Running(trial, proposal, process, row, gpu, may_prune, output)
        self.view.changed(row, self._totals())

    def _new_trial(self, proposal: Proposal) -> tuple[optuna.Trial, Point]:
        """The trial in the ledger, and its point."""
        space = self.points.space
        if proposal.point is not None:
            arguments = self.loaded.arguments(proposal.point, proposal.seed)
            attributes = proposal.attributes | {"arguments": arguments}
            trial = self.ledger.start_at(proposal.point, space.distributions(), attributes)
            return trial, proposal.point
        assert proposal.sampler is not None
        trial = self.ledger.ask(proposal.sampler)
        point = space.suggest(trial)
        arguments = self.loaded.arguments(point, proposal.seed)
        self.ledger.describe(trial, proposal.attributes | {"arguments": arguments})
        return trial, point

    def _take_over_checkpoint(self, proposal: Proposal, folder: Path) -> None:
        continues = proposal.attributes.get("continues")
        if continues is None:
            return
        before = self.folder.trial(continues) / "checkpoint"
        if before.is_dir() and not (folder / "checkpoint").exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(before, folder / "checkpoint")

    def _take_gpu(self) -> str | None:
        """Round robin; several trials share a GPU where `parallel` is more than their number."""
        if not self.gpus:
            return None
        busy = [r.gpu for r in self.running.values()]
        gpu = min(self.gpus, key=busy.count)
        self.gpus.remove(gpu)
        self.gpus.append(gpu)
        return gpu

    def _environment(self, folder: Path, gpu: str | None) -> dict[str, str]:
        """The training contract's variables; threads so that trials do not fight for cores."""
        threads = str(self.backend.threads_per_trial())
        environment = dict(os.environ) | {
            "SM_MODEL_DIR": str(folder / "model"),
            "SM_OUTPUT_DATA_DIR": str(folder / "output"),
            "SM_NUM_GPUS": "1" if gpu is not None else "0",
            "CHECKPOINT_DIR": str(folder / "checkpoint"),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
        }
        for name in ("SM_CHANNEL_TRAIN", "SM_CHANNEL_VALIDATION", "SM_CHANNEL_MODEL"):
            environment.pop(name, None)
        if self.sweep.task is not None:
            environment["SM_CHANNEL_TRAINING"] = str(self.folder.data)
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        return environment

    def _handle_events(self) -> None:
        self.view.tick()
        for each in self.running.values():
            each.process.kill_if_deaf()
        try:
            event = self.events.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        running = self.running.get(event.number)
        if running is None:  # a late word of a trial that has ended
            return
        if event.line is not None:
            self._on_line(running, event.line)
        else:
            assert event.exit_status is not None
            self._on_exit(running, event.exit_status)

    def _on_line(self, running: _Running, line: str) -> None:
        output = running.output
        if not output.take(line):
            return
        if output.fraction is None and not running.by_count:
            running.by_count = True
            running.trial.set_user_attr("steps", "evaluations")
            self.ledger.study.pruner = make_pruner(self.sweep.search.pruner, by_count=True)
        if output.step in running.reported or not output.has_finite_value:
            return
        assert output.value is not None
        running.reported.add(output.step)
        running.trial.report(output.value, output.step)
        running.row.fraction, running.row.score = output.fraction, output.value
        if output.fraction is not None and output.fraction < 1:
            self.view.changed(running.row, self._totals())
        may_prune = running.may_prune and not running.pruned and output.has_more_to_come
        if may_prune and running.trial.should_prune():
            running.pruned = True
            running.process.stop()

    def _on_exit(self, running: _Running, status: int) -> None:
        """Records how the trial ended."""
        del self.running[running.process.number]
        row, output, process = running.row, running.output, running.process
        row.seconds = time.monotonic() - row.started
        ending = output.ending(
            status, process.stderr_tail, stop_asked=process.stop_asked_at is not None,
            pruned=running.pruned, cut_short=running.cut_short,
        )  # fmt: skip
        facts: dict[str, Any] = {
            "outcome": ending.outcome,
            "wall_seconds": round(row.seconds, 3),
            "exit_status": status,
            "evaluations": output.evaluations,
            "metrics": output.last_record,
        }
        if ending.failure:
            facts |= {"failure": ending.failure, "stderr_tail": list(process.stderr_tail)}
        for key, value in facts.items():
            running.trial.set_user_attr(key, value)
        self.ledger.finish(running.trial, output.value, ending.state)
        self.ledger.set("elapsed_seconds", self._elapsed())
        self.failures += ending.outcome == "failed"
        if ending.outcome in ("finished", "pruned"):
            self.durations.append(row.seconds)
        if ending.outcome != "interrupted":
            shutil.rmtree(process.folder / "checkpoint", ignore_errors=True)
        row.status, row.note = ending.outcome, ending.failure
        row.score = output.value if ending.outcome == "finished" else row.score
        self._remove_models()
        self.view.changed(row, self._totals())

    def _remove_models(self) -> None:
        """Keeps the models of the trials of which one may become the winner."""
        keep = {t.number for t in [*self.ledger.best_first()[:1], *self.points.candidates()]}
        keep |= set(self.running)
        kept = {self.folder.trial(number).name for number in keep}
        for model in (self.folder.path / "trials").glob("[0-9]*/model"):
            if model.parent.name not in kept:
                shutil.rmtree(model, ignore_errors=True)

    def _stop_running(self, why: str, outcome: Outcome) -> Outcome:
        """Lets running trials write their checkpoints and end; a second signal kills them."""
        if self.running:
            self.view.say(f"{why}: waiting for {len(self.running)} running trial(s) to save")
        for running in self.running.values():
            if not running.pruned:
                running.cut_short = why
            running.process.stop()
        while self.running:
            if self.asked.times > 1:
                for running in self.running.values():
                    running.process.kill()
            self._handle_events()
        return outcome

    def _end_all(self) -> None:
        """After an error of ours or a failed sweep no process stays behind."""
        if self.running:
            self._stop_running("the sweep ended", Outcome.STOPPED)

    def _give_up_if_nothing_works(self) -> None:
        if self.failures < FAILURES_WITHOUT_SUCCESS or self.durations:
            return
        trials = self.ledger.read_trials()
        if any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials):
            return
        last = next(t for t in reversed(trials) if t.user_attrs.get("outcome") == "failed")
        raise SweepFailed(
            f"{self.failures} trials failed and none succeeded, so the sweep stopped. "
            f"Trial {last.number}: {last.user_attrs['failure']} "
            f"(its log: {self.folder.shown}/trials/{last.number:04d}/stderr.log)"
        )

    def _totals(self) -> Totals:
        search, default = self.points.search_total(), self.points.default is not None
        return totals_of(self.loaded, self.ledger, search, default, self.durations)
