"""Training jobs of AWS as trials of the ledger: begun when first seen, finished by one last write.

Everything between may be done again after a kill, with the same result. So every training job is in
the ledger once, whenever the process that folds it in was killed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.aws import jobs, request
from tuner.aws.session import Aws, AwsError, AwsUnreachable
from tuner.backends.base import totals_of
from tuner.errors import TunerError
from tuner.ledger import Ledger
from tuner.output import Ending, TrialOutput
from tuner.points import Points
from tuner.progress import Row, Totals, View
from tuner.sweep import LoadedSweep

LOG_PATIENCE = 3
"""Polls that a finished job's log may take to arrive: CloudWatch is some seconds behind."""


def used_up(cap: str) -> str:
    """Why a job was cut short whose time limit came from this cap."""
    return f"{cap} was used up"


@dataclass
class Folding:
    """What AWS says of jobs, written into the ledger and shown."""

    loaded: LoadedSweep
    ledger: Ledger
    points: Points
    view: View
    aws: Aws
    amt_trials: Callable[[], int]
    late: dict[str, int] = field(default_factory=dict)
    """Finished jobs whose log is still on its way, with the polls that it has taken."""
    _rows: dict[str, Row] = field(default_factory=dict)
    _durations: list[float] = field(default_factory=list)
    _may_read_logs: bool = True

    def trials_of(self, tuning_job: str) -> list[FrozenTrial]:
        """The trials that a tuning job chose."""
        return [
            t for t in self.ledger.read_trials() if t.user_attrs.get("tuning_job") == tuning_job
        ]

    def fold_in(self, name: str, said: Mapping[str, Any]) -> bool:
        """Brings a tuning job's training jobs into the ledger; whether any is still unfinished."""
        known = {t.user_attrs.get("training_job"): t for t in self.trials_of(name)}
        unfinished = False
        for summary in jobs.list_jobs(self.aws, name):
            job_name = summary["TrainingJobName"]
            trial = known.get(job_name)
            if trial is not None and trial.state.is_finished():
                continue
            if trial is None:
                trial = self._begin(name, summary)
            self.show(trial)
            if summary["TrainingJobStatus"] not in jobs.TERMINAL:
                unfinished = True
                continue
            job = jobs.read_job(self.aws, job_name)
            if job is None or not job.is_over or not self.finish(trial, job, said):
                unfinished = True
        return unfinished

    def _begin(self, tuning_job: str, summary: Mapping[str, Any]) -> FrozenTrial:
        """A training job of AMT's as a running trial, in one transaction."""
        name = summary["TrainingJobName"]
        try:
            point = request.point_of(self.loaded, summary.get("TunedHyperParameters") or {})
        except ValueError as exc:
            raise TunerError(f"training job {name} is not of this sweep: {exc}") from exc
        seed = self.loaded.sweep.search.seed
        strategy = request.plan_of(self.loaded, 1).strategy
        # Only a grid has the default for certain; elsewhere a job of our own runs it.
        is_default = strategy == "Grid" and self.points.is_default(point)
        return self.ledger.start_job(
            point,
            self.points.space.distributions(),
            {
                "purpose": "search",
                "chosen_by": "default" if is_default else request.CHOSEN_BY[strategy],
                "seed": seed,
                "arguments": self.loaded.arguments(point, seed),
                "training_job": name,
                "tuning_job": tuning_job,
                "asked_at": summary["CreationTime"].timestamp(),
            },
        )

    def finish(self, trial: FrozenTrial, job: jobs.TrainingJob, said: Mapping[str, Any]) -> bool:
        """Records how a training job ended; False where its log has not arrived yet.

        `said` describes its tuning job; empty for a job of our own, which only a person stops.
        """
        stream, lines = self._read_log(job)
        metric = self.loaded.sweep.objective.metric
        output = jobs.read_output(metric, lines)
        if self._is_late(job, output, lines):
            return False
        value = jobs.objective_of(job, output, lines, metric)
        asked = self.ledger.study.user_attrs.get("stop_asked_at")
        with_it = not said or jobs.was_stopped_with(said, job, asked)
        ending = jobs.ending_of(
            job, value, stopped_by_us=with_it, lines=lines, metric=metric,
            said_its_end=output.is_at_end,
        )  # fmt: skip
        is_cut = ending.outcome != "finished" and job.secondary == "MaxRuntimeExceeded"
        if is_cut and "most_seconds" in trial.user_attrs:
            cap = trial.user_attrs.get("most_seconds_by", "budget.usd")
            ending = Ending("interrupted", TrialState.FAIL, used_up(cap))
        block = self.loaded.sweep.sagemaker
        facts = jobs.facts_of_trial(job, block, output, ending, stream, lines)
        self.close(trial, value, ending, facts, output.curve)
        self.show(trial, ending, job, value)
        return True

    def close(
        self,
        trial: FrozenTrial,
        value: float | None,
        ending: Ending,
        facts: Mapping[str, Any],
        curve: Mapping[int, float],
    ) -> None:
        """Writes curve and attributes, then the end."""
        handle = optuna.Trial(self.ledger.study, trial._trial_id)
        for step, score in curve.items():
            if step not in trial.intermediate_values:
                handle.report(score, step)
        self.ledger.finish(handle, value, ending.state, facts)

    def abandon(self, trial: FrozenTrial) -> None:
        """Ends a trial whose training job was never started, because the sweep was stopped."""
        why = "the sweep was stopped before it began"
        ending = Ending("interrupted", TrialState.FAIL, why)
        self.close(trial, None, ending, {"outcome": "interrupted", "failure": why}, {})

    def _read_log(self, job: jobs.TrainingJob) -> tuple[str, list[str]]:
        """The job's log stream and lines; empty, and said once, where AWS does not let us."""
        try:
            return jobs.read_log(self.aws, job.name)
        except AwsUnreachable:
            raise
        except AwsError as exc:
            if self._may_read_logs:
                self.view.say(f"{exc}; trials come without their curves")
            self._may_read_logs = False
            return "", []

    def _is_late(self, job: jobs.TrainingJob, output: TrialOutput, lines: list[str]) -> bool:
        """Whether some of a finished job's log is still on its way: so a few times, then no more."""
        tried = self.late.pop(job.name, 0)
        whole = jobs.is_whole(job, output, lines, self.loaded.sweep.objective.metric)
        if whole or not self._may_read_logs or tried >= LOG_PATIENCE:
            return False
        self.late[job.name] = tried + 1
        return True

    def show(
        self,
        trial: FrozenTrial,
        ending: Ending | None = None,
        job: jobs.TrainingJob | None = None,
        value: float | None = None,
    ) -> None:
        """The trial's row on the screen, told once when it starts and once when it ends."""
        name = str(trial.user_attrs["training_job"])
        row = self._rows.get(name)
        if row is not None and ending is None:
            return
        if row is None:
            chosen_by, purpose = str(trial.user_attrs["chosen_by"]), trial.user_attrs["purpose"]
            row = self._rows[name] = Row(trial.number, purpose, chosen_by, trial.params)
        if ending is not None and job is not None:
            row.status, row.note, row.score = ending.outcome, ending.failure, value
            row.seconds = job.wall_seconds or 0.0
            if ending.outcome in ("finished", "pruned") and job.wall_seconds:
                self._durations.append(job.wall_seconds)
        self.view.changed(row, self._totals())

    def _totals(self) -> Totals:
        default = self.points.default is not None
        grid = request.plan_of(self.loaded, 1).strategy == "Grid"
        search = self.amt_trials() + (default and not grid)
        most = search + self.points.most_confirmations()
        return totals_of(self.loaded, self.ledger, most, self._durations)
