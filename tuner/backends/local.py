"""The local backend: Optuna chooses, one process per trial trains, this loop watches."""

import queue
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tuner.backends.base import Outcome, totals_of
from tuner.backends.launching import Launcher
from tuner.backends.making import Begun, Making
from tuner.backends.models import Models
from tuner.backends.sharing import NothingMeasured, Sharing, settled
from tuner.backends.spending import Spending
from tuner.errors import LedgerLost, RunFolderError, SweepFailed
from tuner.estimate import of_rest
from tuner.ledger import Ledger, is_interrupted
from tuner.machine import gpu_names, usable_cores
from tuner.output import Ending, TrialOutput
from tuner.points import Judge, Points, make_pruner
from tuner.prices import HERE, prices_file
from tuner.processes import KILL_AFTER_SECONDS, Event, Leftover, TrialProcess
from tuner.progress import Row, Totals, View
from tuner.run_folder import RunFolder
from tuner.signals import Asked, listening
from tuner.storage import Busy, Turn
from tuner.sweep import LoadedSweep, values_of
from tuner.workers import Workers, at_work_here, stop_all

FAILURES_WITHOUT_SUCCESS = 5
POLL_SECONDS = 0.25
NOTE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 2.0
BUSY_SECONDS = 0.1
FROZEN_SECONDS = 10.0
"""A longer gap in our own loop, as of a machine that was paused, is no silence of the trials"""
MOST_KILLS = 2
"""How often a trial that was killed from outside goes on; once more, and it has failed."""


class LocalBackend:
    """Trials as processes of this machine."""

    def __init__(self, loaded: LoadedSweep, judge: Judge | None = None) -> None:
        self.loaded, self.judge = loaded, judge
        self.stopped_by = int(signal.SIGTERM)

    def problems(self) -> list[str]:
        """More trials at once than cores, fp16 without a GPU, and a cap on money without a price."""
        budget, cores = self.loaded.sweep.budget, usable_cores()
        found = []
        precisions = (
            values_of(self.loaded.sweep, "precision") if self.loaded.uses_own_script else []
        )
        if "fp16" in precisions and not gpu_names():
            found.append(
                "precision fp16 needs a GPU, and none is here; auto takes what the machine has"
            )
        if budget.at_once > cores:
            found.append(
                f"budget.parallel {budget.parallel} is more than the {cores} cores of this machine; "
                f"at most {cores} trials can run at once"
            )
        if budget.usd and HERE not in self.loaded.sweep.prices:
            found.append(
                f"budget.usd {budget.usd:g} cannot be kept: nobody has said what an hour of this "
                f"machine costs; write prices: {{{HERE}: DOLLARS}}, or {HERE}: in {prices_file()}"
            )
        return found

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Asks every process that runs the sweep to end, and waits for those of this machine."""
        ended, left = stop_all(ledger)
        if left:
            raise RunFolderError(f"process {', '.join(map(str, left))} has not ended after 60 s")
        if not ended:
            return f"{folder.shown} is not running on this machine; workers elsewhere see it soon"
        return f"stopped process {', '.join(map(str, ended))}"

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Runs the search, then the confirmation; see `Backend.run`."""
        with listening() as asked:
            outcome = _LocalRun(self, ledger, folder, view, asked).run()
            self.stopped_by = asked.by
            return outcome


@dataclass
class _Running:
    """A trial in flight."""

    begun: Begun
    process: TrialProcess
    row: Row
    may_prune: bool
    output: TrialOutput
    reported: set[int]
    last_before: int
    """The last step that an earlier attempt reported, -1 without one"""
    noted_seconds: float = 0.0
    """Of its time on the clock, in the ledger while it runs"""
    pruned: bool = False
    by_count: bool = False
    cut_short: str = ""
    hung: str = ""
    lost: bool = False
    """Another worker has taken it over"""

    @property
    def trial(self) -> optuna.Trial:
        """Its handle in the ledger."""
        return self.begun.trial

    @property
    def wall_seconds(self) -> float:
        """What all attempts have taken so far."""
        return round(self.begun.seconds_before + time.monotonic() - self.row.started, 3)


class _LocalRun:
    """One call of `run`: the loop and its state."""

    def __init__(
        self, backend: LocalBackend, ledger: Ledger, folder: RunFolder, view: View, asked: Asked
    ) -> None:
        self.backend, self.ledger, self.folder, self.view = backend, ledger, folder, view
        self.loaded, self.asked = backend.loaded, asked
        self.sweep = self.loaded.sweep
        self.points = Points(self.loaded, ledger, backend.judge)
        self.workers = Workers(ledger, self.sweep.prices.get(HERE, 0.0))
        self.spending = Spending(self.sweep.budget, ledger, self.workers)
        self.looked = time.monotonic()
        self.told_to_stop = False
        patience = ledger.patience
        patience.say, patience.stop = view.say, lambda: self._must_end() is not None
        self.turn = Turn(folder.ledger_url(), self.sweep.name, patience)
        self.making = Making(self.loaded, ledger, self.points, self.workers, self.turn)
        self.running: dict[int, _Running] = {}
        self.leftovers: dict[int, Leftover] = {}
        self.launcher = Launcher(self.loaded, folder)
        self.begun: dict[int, Begun] = {}
        """Ours already, but what an earlier worker left running of them has not ended yet"""
        self.events: queue.Queue[Event] = queue.Queue(maxsize=10_000)
        self.ledger.study.pruner = make_pruner(self.sweep.search.pruner)
        ledger.set("space_filling_trials", self.points.fill)
        self.look_at, self.none_left = 0.0, False
        self.failed: list[int] = []
        self.durations: list[float] = []
        self.totals: Totals
        """How far the sweep was at its start, then at the last end of a trial"""
        self.estimated = 0
        """For how many planned trials the ledger has an estimate"""
        self.models = Models(ledger, folder, self.points)

    def run(self) -> Outcome:
        """Search until the budget is used, then confirm, then say how it ended."""
        self.workers.join()
        self.spending.look_at_others()
        self._end_leftovers()
        try:
            self._settle_at_once()
            outcome = self._phase("search", self.points.next_search)
            if outcome is Outcome.FINISHED:
                if why := self.points.ended_early():
                    self.view.say(why)
                outcome = self._phase("confirm", self.points.next_confirm)
            self._end_all()
            self.models.sweep_up_all()
            self._leave()
            return outcome
        except LedgerLost:
            self._abandon_all()
            raise
        except BaseException:  # Ctrl-C among them: no trial outlives us; raised again
            try:
                self._end_all()
                self._leave()
            except BaseException:  # noqa: BLE001 (the first error is the one that is raised)
                self._abandon_all()
            raise
        finally:
            self.launcher.close()

    def _leave(self) -> None:
        """Says what this call took, and that this process is done."""
        self.spending.note()
        self.workers.leave()

    def _settle_at_once(self) -> None:
        """With `parallel: auto`, measures how many trials at once this machine takes best, and says so."""
        self.totals = self._count()
        left = self.totals.planned - self.totals.done
        if self.sweep.budget.parallel != "auto" or not left:
            return
        if not self.loaded.uses_own_script or usable_cores() == 1 or left == 1:
            found = Sharing()
        else:
            alone = set(at_work_here(self.ledger)) <= {self.workers.me}
            try:
                found = settled(
                    self.launcher, self.ledger, left, alone, self._ends_now, self.view.say
                )
            except NothingMeasured:
                return  # the phase that follows ends as it has to
            self.view.say(str(replace(found, gpus=len(self.launcher.gpus))))
        self.loaded = self.loaded.at_once(found.at_once)
        self.sweep = self.loaded.sweep
        self.looked = time.monotonic()

    def _ends_now(self) -> bool:
        """Whether the sweep must end; says meanwhile that we are at work."""
        self._note()
        return self._must_end() is not None

    def _must_end(self) -> tuple[str, Outcome] | None:
        """Why nothing more may be started and what runs has to save, None while it may go on."""
        if self.asked.times or self.told_to_stop:
            return "the sweep was stopped", Outcome.STOPPED
        cap = self.spending.reached()
        return (f"{cap.name} was used up", cap.outcome) if cap else None

    def _note(self) -> None:
        """Now and then: that we are at work, and the hours, so that a killed sweep does not get them back."""
        if self.workers.beat():
            self.spending.look_at_others()
            self.totals = self._count()
            # Not counted as a signal: `tuner stop` sends one as well, and a second one kills.
            self.told_to_stop = self.told_to_stop or self.workers.stop_asked()
            for running in self.running.values():
                if self.ledger.owner(running.trial) != self.workers.me:
                    running.lost = True
                    running.process.kill()
        self.spending.note(NOTE_SECONDS)

    def _phase(self, purpose: str, propose: Any) -> Outcome:
        """Keeps `parallel` trials running until there is no next one and none of its purpose is left, anywhere."""
        self.look_at, self.none_left, told = 0.0, False, False
        self.totals = self._count()
        while True:
            if end := self._must_end():
                return self._stop_running(*end)
            self._fill(propose)
            if self.none_left and not self.running and not self.begun:
                others = self.making.waits_for_others(purpose)
                if not others:
                    return Outcome.FINISHED
                if not told:
                    told = True
                    self.view.say(f"waits for {others} trial(s) of other workers")
            if self._handle_events():
                self.look_at = 0.0
            self._note()
            self._give_up_if_nothing_works()

    def _fill(self, propose: Any) -> None:
        """Starts trials while there is room, and notes whether there is a next one."""
        for number in [n for n in self.begun if self.leftovers[n].reap()]:
            self._start(self.begun.pop(number))
        while (
            len(self.running) + len(self.begun) < self.sweep.budget.at_once
            and time.monotonic() >= self.look_at and not self._must_end()
        ):  # fmt: skip
            self.none_left = False
            try:
                begun = self.making.next(propose, {*self.running, *self.begun})
            except Busy:
                self.look_at = time.monotonic() + BUSY_SECONDS
                return
            if begun is None:
                self.none_left = True
                self.look_at = time.monotonic() + LOOK_AGAIN_SECONDS
                return
            if self._must_end():  # a sampler may think for seconds
                self.ledger.release(begun.trial)
                return
            self._begin(begun)

    def _begin(self, begun: Begun) -> None:
        """Starts a trial, or has it wait for what an earlier worker left running of it."""
        number = begun.trial.number
        # Looked for anew where the last look found nothing left: another worker had it since.
        if begun.attempt > 1 and (number not in self.leftovers or self.leftovers[number].reap()):
            self._end_leftover(number)
        if begun.attempt > 1 and not self.leftovers[number].reap():
            self.begun[number] = begun
        else:
            self._start(begun)

    def _end_leftover(self, number: int) -> None:
        left = self.leftovers[number] = Leftover(str(self.folder.trial(number) / "checkpoint"))
        if left.found:
            self.view.say(f"trial {number} still runs without its tuner; it is ended first")

    def _end_leftovers(self) -> None:
        """What workers that are gone left running costs money, also where we have none to go on."""
        while not self.asked.times:
            # In our turn: else another worker takes one over, and it is ended under its hands.
            with suppress(Busy), self.turn.taken():
                for trial in self.ledger.orphans(lambda t: self.making.is_left(t, ())):
                    self._end_leftover(trial.number)
                return
            time.sleep(BUSY_SECONDS)

    def _start(self, begun: Begun) -> None:
        number = begun.trial.number
        process = self.launcher.start(
            number, begun.arguments, self.folder.trial(number), self.sweep.budget.at_once,
            self.events, f'"{self.sweep.objective.metric}"',
        )  # fmt: skip
        row = Row(number, begun.purpose, begun.chosen_by, begun.point)
        may_prune = begun.purpose == "search" and begun.chosen_by != "default"
        self.running[number] = _Running(
            begun, process, row, may_prune, TrialOutput(self.sweep.objective.metric),
            set(begun.reported), max(begun.reported, default=-1),
        )  # fmt: skip
        self.view.changed(row, self.totals)

    def _handle_events(self) -> bool:
        """One word of a trial, or a moment's wait; whether a trial ended."""
        self.view.tick()
        now = time.monotonic()
        away, self.looked = now - self.looked, now
        for each in self.running.values():
            if away > FROZEN_SECONDS:
                each.process.spoke_at += away
            each.process.kill_if_deaf()
            self._kill_if_hung(each)
        try:
            # A cap that falls into the interval ends it, and so does a turn that is soon free.
            ends = [cap.seconds_left for cap in self.spending.caps()]
            ends += [self.look_at - now] if self.look_at > now else []
            event = self.events.get(timeout=max(0.01, min([POLL_SECONDS, *ends])))
        except queue.Empty:
            return False
        running = self.running.get(event.number)
        if running is None:  # a late word of a trial that has ended
            return False
        if event.line is not None:
            self._on_line(running, event.line)
            return False
        assert event.exit_status is not None
        self._on_exit(running, event.exit_status)
        return True

    def _kill_if_hung(self, running: _Running) -> None:
        most = self.sweep.budget.silent_minutes
        if running.process.stop_asked_at is not None:
            return  # it saves, for which it has a time of its own
        if most and not running.hung and time.monotonic() - running.process.spoke_at > 60 * most:
            running.hung = (
                f"it printed nothing for {most:g} min (budget.silent_minutes) and was killed"
            )
            running.process.kill()

    def _on_line(self, running: _Running, line: str) -> None:
        # What a script says while it is being ended depends on who is faster.
        if running.pruned or running.lost or not running.output.take(line):
            return
        try:
            self._take_in(running)
        except UpdateFinishedTrialError:  # we were away so long that another has ended it
            running.lost = True
            running.process.kill()

    def _take_in(self, running: _Running) -> None:
        """An evaluation: to the ledger, to the pruner, to who looks on."""
        output = running.output
        if output.fraction is None and not running.by_count:
            running.by_count = True
            running.trial.set_user_attr("steps", "evaluations")
            self.ledger.study.pruner = make_pruner(self.sweep.search.pruner, by_count=True)
        if not output.has_finite_value:
            return
        assert output.value is not None
        if output.step not in running.reported:
            running.reported.add(output.step)
            running.trial.report(output.value, output.step)
            if running.wall_seconds > running.noted_seconds + 1:  # each is a transaction
                running.noted_seconds = running.wall_seconds
                running.trial.set_user_attr("wall_seconds", running.noted_seconds)
        elif output.step != running.last_before:  # said again after an interruption
            return
        running.row.fraction, running.row.score = output.fraction, output.value
        if output.fraction is not None and output.fraction < 1:
            self.view.changed(running.row, self.totals)
        if running.may_prune and output.has_more_to_come and running.trial.should_prune():
            running.pruned = True
            running.process.stop()

    def _on_exit(self, running: _Running, status: int) -> None:
        """Records how the trial ended."""
        row, output, process = running.row, running.output, running.process
        del self.running[process.number]
        row.seconds = running.wall_seconds
        if running.lost or self.ledger.owner(running.trial) != self.workers.me:
            row.status, row.note = "interrupted", "another worker has taken it over"
            self.view.changed(row, self.totals)
            return
        stop_asked = process.stop_asked_at is not None
        if status == -signal.SIGKILL and not (stop_asked or running.hung) and self._again(running):
            return
        ending = output.ending(
            status, process.stderr_tail, stop_asked=stop_asked,
            pruned=running.pruned, cut_short=running.cut_short,
        )  # fmt: skip
        if running.hung:
            ending = Ending("failed", TrialState.FAIL, running.hung)
        if ending.outcome == "interrupted":
            running.trial.set_user_attr("wall_seconds", row.seconds)
            self.ledger.release(running.trial)
        else:
            facts = self._facts(running, ending, status)
            self.ledger.finish(running.trial, output.value, ending.state, facts)
            shutil.rmtree(process.folder / "checkpoint", ignore_errors=True)
        self.spending.note(1.0)
        if ending.outcome == "failed":
            self.failed.append(process.number)
        if ending.outcome in ("finished", "pruned"):
            self.durations.append(row.seconds)
        row.status, row.note = ending.outcome, ending.failure
        row.score = output.value if ending.outcome == "finished" else row.score
        self.models.add(process.number)
        with self.ledger.glance():
            self.models.sweep_up()
            self.totals = self._count()
            self.view.changed(row, self.totals)
            self._say_estimate()

    def _facts(self, running: _Running, ending: Ending, status: int) -> dict[str, Any]:
        """What the ledger keeps of a trial that has ended."""
        process, seconds = running.process, running.row.seconds
        facts: dict[str, Any] = {
            "outcome": ending.outcome,
            "wall_seconds": seconds,
            "evaluations": running.output.evaluations,
            "metrics": running.output.last_record,
        }
        if price := self.sweep.prices.get(HERE):  # its share of the machine's price
            cost = seconds / 3600 * price / self.sweep.budget.at_once / self.workers.here
            facts["cost_usd"] = round(cost, 6)
        if not running.pruned:  # that one depends on who is faster, the signal or the script
            facts["exit_status"] = status
        if process.log_fault:
            facts["log_fault"] = process.log_fault
        if ending.failure:
            facts |= {"failure": ending.failure, "stderr_tail": list(process.stderr_tail)}
        return facts

    def _say_estimate(self) -> None:
        """Once, when enough trials have ended: how long the whole will take, to be held against it.

        Again where the budget has changed since.
        """
        planned, done = self.totals.planned, self.totals.done
        if self.estimated == planned:
            return
        said = self.ledger.study.user_attrs.get("estimate")
        if said and said.get("planned", planned) == planned:
            self.estimated = planned
            return
        rest = of_rest(self.loaded, self.ledger, planned - done)
        if rest is not None:
            self.view.say(f"the other {rest.trials} trials will take {rest}")
            now = {"elapsed_before": self.spending.elapsed(), "planned": planned}
            self.ledger.set("estimate", rest.as_fact() | now)
            self.estimated = planned

    def _again(self, running: _Running) -> bool:
        """Lets a trial that was killed from outside go on from its checkpoint, a few times."""
        attributes = running.trial.user_attrs
        kills = int(attributes.get("kills", 0)) + 1
        running.trial.set_user_attr("kills", kills)
        if kills > MOST_KILLS:
            return False
        number = running.process.number
        self.view.say(
            f"trial {number} was killed from outside (often the system's answer to memory running "
            f"out); it resumes from its checkpoint, time {kills} of {MOST_KILLS}"
        )
        steps = frozenset(running.reported)
        again = replace(running.begun, seconds_before=running.wall_seconds, reported=steps)
        self._start(again)
        return True

    def _stop_running(self, why: str, outcome: Outcome) -> Outcome:
        """Lets running trials write their checkpoints and end; a second signal kills them."""
        for running in self.running.values():
            if not running.pruned:
                running.cut_short = why
            running.process.stop()
        if self.running:
            self.view.say(f"{why}: waiting for {len(self.running)} running trial(s) to save")
        for begun in self.begun.values():
            self.ledger.release(begun.trial)
        self.begun.clear()
        while self.running or self._is_left_over():
            if self.asked.times > 1 or any(cap.seconds_left <= 0 for cap in self.spending.caps()):
                for each in [r.process for r in self.running.values()] + [*self.leftovers.values()]:
                    each.kill()
            self._handle_events()
        return outcome

    def _is_left_over(self) -> bool:
        still = [left for left in self.leftovers.values() if not left.reap()]  # each is looked at
        return bool(still)

    def _end_all(self) -> None:
        """After an error of ours or a failed sweep no process stays behind."""
        self._stop_running("the sweep ended", Outcome.STOPPED)

    def _abandon_all(self) -> None:
        """Without a ledger nothing can be recorded: trials save, and the next run takes them over."""
        for running in self.running.values():
            running.process.stop()
        nearest = min(
            (cap.seconds_left for cap in self.spending.caps()), default=KILL_AFTER_SECONDS
        )
        deadline = time.monotonic() + min(KILL_AFTER_SECONDS, nearest)
        for running in self.running.values():
            while running.process.is_running and time.monotonic() < deadline:
                time.sleep(0.05)
            running.process.kill()
        for left in self.leftovers.values():
            left.kill()

    def _give_up_if_nothing_works(self) -> None:
        if len(self.failed) < FAILURES_WITHOUT_SUCCESS or self.durations:
            return
        trials = self.ledger.read_trials()
        failures = {t.number: t.user_attrs["failure"] for t in trials
                    if "failure" in t.user_attrs and not is_interrupted(t)}  # fmt: skip
        last = self.failed[-1]
        log = f"its log: {self.folder.shown}/trials/{last:04d}/stderr.log"
        if not any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials):
            raise SweepFailed(
                f"{len(self.failed)} trials failed and none succeeded, so the sweep stopped. "
                f"Trial {last}: {failures.get(last, '')} ({log}). Once that is mended, --retry-failed tries them again"
            )
        # Elsewhere, or earlier, trials succeeded. One sentence for all that nobody else has had
        # tells of this machine, not of a region of the space.
        own = {failures.pop(number, "") for number in self.failed}
        if len(own) == 1 and not own & {*failures.values()}:
            raise SweepFailed(
                f"{len(self.failed)} trials failed here with the same words and none succeeded, while others "
                f"before or elsewhere did, so this machine starts no more. Trial {last}: {own.pop()} ({log})"
            )

    def _count(self) -> Totals:
        with self.ledger.glance():
            return totals_of(self.loaded, self.ledger, self.points.most_trials(), self.durations)
