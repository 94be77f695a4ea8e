"""The SageMaker backend: AMT searches, this loop follows; the confirmation is training jobs of ours.

AWS holds the truth. Every name is a function of the sweep, and everything is written down before it
is asked for, so a process killed at any moment finds its jobs again, and none is started twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.aws import jobs, limits, request
from tuner.aws.session import Aws, AwsError, AwsUnreachable, choose_bucket, connect, speaking
from tuner.aws.upload import pack_script, send_channels, send_script
from tuner.backends.base import Outcome
from tuner.errors import SweepFailed, TunerError
from tuner.ledger import Ledger
from tuner.output import Ending, TrialOutput
from tuner.points import Points, Proposal
from tuner.progress import Row, Totals, View, shown_score
from tuner.run_folder import RunFolder
from tuner.signals import Asked, listening
from tuner.space import Point
from tuner.sweep import LoadedSweep

TICK_SECONDS = 0.25
LOG_PATIENCE = 3
"""Polls that a finished job's log may take to arrive: CloudWatch is some seconds behind."""
CHOSEN_BY = {"Bayesian": "adaptive", "Hyperband": "adaptive", "Random": "random", "Grid": "grid"}
MOST_MINUTES_AWAY = 60


class SageMakerBackend:
    """Trials as training jobs of an AMT tuning job."""

    def __init__(self, loaded: LoadedSweep) -> None:
        self.loaded = loaded

    def problems(self) -> list[str]:
        """AMT's limits and rules, the role, the script's folder; no call to AWS."""
        found = limits.sweep_problems(self.loaded)
        try:
            pack_script(self.loaded)
        except TunerError as exc:
            found.append(str(exc))
        return found

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Starts or finds the tuning job, follows it, then confirms; see `Backend.run`."""
        with listening() as asked:
            aws = connect(self.loaded.sweep.sagemaker.region)
            return _Run(self.loaded, ledger, folder, view, asked, aws).run()

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Stops the run's jobs on AWS; a process that follows them then ends by itself."""
        attributes = ledger.study.user_attrs
        parts = attributes.get("tuning_jobs", [])
        if not parts:
            return f"{folder.shown} has started no tuning job"
        ledger.set("stop_asked", True)  # before AWS is asked: whoever follows starts nothing more
        aws = connect(attributes.get("aws", {}).get("region"))
        stopped = [part["name"] for part in parts if _stop_tuning_job(aws, part["name"])]
        stopped += [
            t.user_attrs["training_job"]
            for t in ledger.read_trials()
            if t.state == TrialState.RUNNING and _stop_training_job(aws, t.user_attrs)
        ]
        if not stopped:
            return f"{folder.shown}: nothing runs on AWS"
        return f"stopping {', '.join(stopped)} on AWS"


def _stop_tuning_job(aws: Aws, name: str) -> bool:
    said = jobs.read_tuning_job(aws, name)
    if said is None or said["HyperParameterTuningJobStatus"] != "InProgress":
        return False
    with speaking("sagemaker:StopHyperParameterTuningJob"):
        aws.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    return True


def _stop_training_job(aws: Aws, attributes: dict[str, Any]) -> bool:
    """Stops a training job of ours; those of a tuning job end with it."""
    if "tuning_job" in attributes:
        return False
    said = jobs.read_job(aws, attributes["training_job"])
    if said is None or said.status != "InProgress":
        return False
    with speaking("sagemaker:StopTrainingJob"):
        aws.sagemaker.stop_training_job(TrainingJobName=said.name)
    return True


class _HoursUsedUp(Exception):
    """budget.hours has passed."""


class _Detached(Exception):
    """A person wants their terminal back; AWS goes on."""


@dataclass
class _Own:
    """A training job of ours in flight."""

    trial: optuna.Trial
    row: Row
    stopping: bool = False


@dataclass
class _Run:
    """One call of `run`: the loop and its state."""

    loaded: LoadedSweep
    ledger: Ledger
    folder: RunFolder
    view: View
    asked: Asked
    aws: Aws
    rows: dict[str, Row] = field(default_factory=dict)
    polls_without_log: dict[str, int] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    """The tuning jobs of this sweep: `name`, `target` (trials in all), `status`."""
    has_limit: bool = True
    may_read_logs: bool = True

    def __post_init__(self) -> None:
        self.sweep = self.loaded.sweep
        self.block = self.sweep.sagemaker
        self.points = Points(self.loaded, self.ledger)
        self.started = time.monotonic()
        self.spent_before = float(self.ledger.study.user_attrs.get("elapsed_seconds", 0.0))
        self.place = self._place()
        self.stem = request.job_stem(
            self.loaded, self.folder.path.name, {"data": self.ledger.study.user_attrs.get("data")}
        )

    def _place(self) -> request.Place:
        """Everything on S3, sent where it is not yet there."""
        bucket = choose_bucket(self.aws, self.block)
        role = limits.role_of(self.loaded)
        image = training_image_of(self.loaded, self.aws.region)
        code, program = send_script(self.aws, bucket, self.loaded)
        channels = send_channels(self.aws, bucket, self.loaded, self.folder.data)
        place = request.Place(self.aws.region, str(role), bucket, image, code, program, channels)
        self.ledger.set(
            "aws",
            {"region": self.aws.region, "bucket": bucket, "image": image, "code": code}
            | {"channels": channels, "usd_per_hour": self.block.usd_per_hour},
        )
        return place

    def run(self) -> Outcome:
        """The search, then the default and the confirmation, then how it ended."""
        self.ledger.set("stop_asked", False)  # whoever stopped it before wants it to go on now
        try:
            if not self._search():
                return Outcome.STOPPED
            return Outcome.FINISHED if self._own_jobs() else Outcome.STOPPED
        except _HoursUsedUp:
            self._end_everything()
            return Outcome.OUT_OF_HOURS
        except _Detached:
            return Outcome.DETACHED
        finally:
            self.ledger.set("elapsed_seconds", self._elapsed())

    # The search: one tuning job, and where it was stopped another that goes on from it.

    def _search(self) -> bool:
        """Whether the search is over; False where somebody stopped it while it was followed."""
        self.parts = [dict(part) for part in self.ledger.study.user_attrs.get("tuning_jobs", [])]
        going_on = True
        for part in [p for p in self.parts if p["status"] not in jobs.TUNING_TERMINAL]:
            going_on = self._follow(part) and going_on
        while going_on:
            if self._stop_was_asked():
                return False
            last = self.parts[-1] if self.parts else None
            missing = self._amt_trials() - self._amt_done()
            if missing <= 0 or (last and last.get("in_this_call")):
                return True
            if last and last["status"] == "Completed" and last["target"] >= self._amt_trials():
                return True  # it ended early by its own criteria
            if last and self._is_grid:
                raise TunerError(
                    f"the grid of tuning job {last['name']} was stopped, and AMT cannot go on with "
                    "one; choose another folder with --out"
                )
            going_on = self._follow(self._launch(missing))
        return False

    def _note(self) -> None:
        kept = [{k: v for k, v in p.items() if k != "in_this_call"} for p in self.parts]
        self.ledger.set("tuning_jobs", kept)

    def _amt_trials(self) -> int:
        """How many search trials are AMT's: all but the default, which AMT cannot be told to try."""
        if self._is_grid:
            return self.points.space.grid_size()
        return max(1, self.points.search_total() - (self.points.default is not None))

    def _amt_done(self) -> int:
        return sum("tuning_job" in t.user_attrs for t in self.ledger.counted("search"))

    def _launch(self, trials: int) -> dict[str, Any]:
        """Starts the next tuning job unless AWS has it: then it is this very sweep's."""
        number = len(self.parts) + 1
        name = self.stem if number == 1 else f"{self.stem}-{number}"
        part = {"name": name, "target": self._amt_trials(), "status": "asked"}
        worked = {t.user_attrs.get("tuning_job") for t in self.ledger.best_first()}
        parents = [p["name"] for p in self.parts if p["name"] in worked]
        self.parts.append(part)
        self._note()  # first written down, then asked for: a kill between leaves no unknown job
        there = self._call(lambda: jobs.read_tuning_job(self.aws, name))
        if there is not None:
            self.view.say(
                f"tuning job {name} is there already ({there['HyperParameterTuningJobStatus']}): "
                "it is of this very sweep, so its trials are taken over. For a new one choose "
                "another folder with --out"
            )
        else:
            hours = self.sweep.budget.hours
            seconds = None if hours is None else hours * 3600 - self._elapsed()
            asked = request.tuning_request(self.loaded, self.place, name, trials, seconds, parents)
            self.ledger.set("request", asked)
            with speaking("sagemaker:CreateHyperParameterTuningJob"):
                self.aws.sagemaker.create_hyper_parameter_tuning_job(**asked)
            self.view.say(f"tuning job {name} started in {self.aws.region}: {trials} training jobs")
            self.view.say(f"see it at {console_address(self.aws.region, name)}")
        part["status"] = "InProgress"
        self._note()
        return part

    def _follow(self, part: dict[str, Any]) -> bool:
        """Until the tuning job is over; False where it was stopped meanwhile.

        One Describe per interval; its training jobs are listed when their counts have changed.
        """
        name, seen, was_running = part["name"], None, False
        part["in_this_call"] = False
        while True:
            said = self._call(lambda: jobs.read_tuning_job(self.aws, name))
            if said is None and part["status"] == "asked":
                self.parts.remove(part)  # the process was killed before AWS was asked
                return True
            if said is None:
                raise AwsError(
                    f"tuning job {name} is not on AWS (region {self.aws.region}): was it deleted, "
                    "or is this another account?"
                )
            status = said["HyperParameterTuningJobStatus"]
            over = status in jobs.TUNING_TERMINAL
            was_running |= not over
            counters = said.get("TrainingJobStatusCounters")
            unfinished = False
            if counters != seen or over or self.polls_without_log:
                unfinished = self._call(partial(self._fold_in, name, said))
                seen = counters
            if over and not unfinished:
                part["status"], part["in_this_call"] = status, was_running
                self._note()
                self._judge(name, said)
                return not (status == "Stopped" and was_running)
            self._wait()

    def _judge(self, name: str, said: dict[str, Any]) -> None:
        """AMT gives up by itself after five training jobs without one success."""
        if said["HyperParameterTuningJobStatus"] != "Failed":
            return
        reason = said.get("FailureReason") or "AWS gives no reason"
        if any(t.value is not None for t in self._of(name)):
            self.view.say(f"tuning job {name} failed: {reason}")
            return
        failed = [t for t in self._of(name) if t.state == TrialState.FAIL]
        which = f" Trial {failed[-1].number}: {failed[-1].user_attrs['failure']}" if failed else ""
        raise SweepFailed(
            f"{len(failed)} trials failed and none succeeded, so AMT stopped the tuning job "
            f"{name} ({reason}).{which}"
        )

    def _of(self, tuning_job: str) -> list[FrozenTrial]:
        return [
            t for t in self.ledger.read_trials() if t.user_attrs.get("tuning_job") == tuning_job
        ]

    def _fold_in(self, name: str, said: dict[str, Any]) -> bool:
        """Brings the tuning job's training jobs into the ledger; whether any is still unfinished."""
        known = {t.user_attrs.get("training_job"): t for t in self._of(name)}
        unfinished = False
        for summary in jobs.list_jobs(self.aws, name):
            job_name = summary["TrainingJobName"]
            trial = known.get(job_name)
            if trial is not None and trial.state.is_finished():
                continue
            if trial is None:
                trial = self._begin(name, summary)
            handle = optuna.Trial(self.ledger.study, trial._trial_id)
            if summary["TrainingJobStatus"] not in jobs.TERMINAL:
                unfinished = True
                self._show(handle, trial, None)
                continue
            job = jobs.read_job(self.aws, job_name)
            if job is None or not job.is_over or not self._finish(handle, trial, job, said):
                unfinished = True
        return unfinished

    def _begin(self, tuning_job: str, summary: dict[str, Any]) -> FrozenTrial:
        """A training job of AMT's as a running trial, in one transaction."""
        point = request.point_of(self.loaded, jobs.summary_parameters(summary))
        strategy = request.plan_of(self.loaded, 1).strategy
        seed = self.sweep.search.seed
        trial = self.ledger.start_at(
            point,
            self.points.space.distributions(),
            {
                "purpose": "search",
                "chosen_by": CHOSEN_BY[strategy],
                "seed": seed,
                "arguments": self.loaded.arguments(point, seed),
                "training_job": summary["TrainingJobName"],
                "tuning_job": tuning_job,
            },
        )
        return self.ledger.study.get_trials(deepcopy=False)[trial.number]

    def _finish(
        self, handle: optuna.Trial, trial: FrozenTrial, job: jobs.TrainingJob, said: dict[str, Any]
    ) -> bool:
        """Records how a training job ended; False where its log has not arrived yet.

        Done again after a kill it writes the same: only `finish`, the last step, ends the trial.
        """
        stream, lines = self._read_log(job)
        output = jobs.read_output(self.sweep.objective.metric, lines)
        if self._is_late(job, output):
            return False
        metric = self.sweep.objective.metric
        value = jobs.objective_of(job, output, metric)
        # AMT stops hopeless jobs, a person all; nobody but a person stops a job of our own.
        status = said.get("HyperParameterTuningJobStatus", "Stopped")
        by_us = status in ("Stopping", "Stopped")
        ending = jobs.ending_of(job, value, stopped_by_us=by_us, lines=lines, metric=metric)
        facts = jobs.facts_of(job, self.block.usd_per_hour)
        facts |= {
            "outcome": ending.outcome,
            "evaluations": output.evaluations,
            "metrics": output.last_record or job.metrics,
        }
        if stream:
            facts["log"] = stream
        if ending.failure:
            facts |= {"failure": ending.failure, "stderr_tail": lines[-jobs.TAIL_LINES :]}
        self._report_curve(handle, trial, output)
        for key, each in facts.items():
            handle.set_user_attr(key, each)
        self.ledger.finish(handle, value, ending.state)
        self._show(handle, trial, ending, job, value)
        return True

    def _report_curve(self, handle: optuna.Trial, trial: FrozenTrial, output: TrialOutput) -> None:
        """The objective at each evaluation, at per cent of the schedule (or at its number)."""
        for step, value in output.curve.items():
            if step not in trial.intermediate_values:
                handle.report(value, step)
        if output.evaluations and output.fraction is None:
            handle.set_user_attr("steps", "evaluations")

    def _read_log(self, job: jobs.TrainingJob) -> tuple[str, list[str]]:
        """The job's log stream and lines; empty, and said once, where AWS does not let us."""
        try:
            return jobs.read_log(self.aws, job.name)
        except AwsUnreachable:
            raise
        except AwsError as exc:
            if self.may_read_logs:
                self.view.say(f"{exc}; trials come without their curves")
            self.may_read_logs = False
            return "", []

    def _is_late(self, job: jobs.TrainingJob, output: TrialOutput) -> bool:
        """Whether the log of a finished job is still on its way, a few times; then AWS's own
        metrics have to do.
        """
        tried = self.polls_without_log.pop(job.name, 0)
        missing = job.status == "Completed" and output.value is None and self.may_read_logs
        if missing and tried < LOG_PATIENCE:
            self.polls_without_log[job.name] = tried + 1
            return True
        return False

    # Our own training jobs: the default, and the confirmation on fresh seeds.

    def _own_jobs(self) -> bool:
        """Runs the default and the confirmation as training jobs; False where they were stopped."""
        flying: dict[str, _Own] = {}
        for trial in self.ledger.read_trials():
            if trial.state == TrialState.RUNNING and "tuning_job" not in trial.user_attrs:
                self._create(trial.user_attrs["training_job"], trial, flying)
        while True:
            while len(flying) < self.sweep.budget.parallel:
                proposal = self._next_own()
                if proposal is None:
                    break
                self._start(proposal, flying)
            if not flying:
                return not self._stop_was_asked()
            for name, own in list(flying.items()):
                if self._call(partial(self._look_at, name, own)):
                    del flying[name]
            if flying:
                self._wait()

    def _stop_was_asked(self) -> bool:
        """Whether `tuner stop` (or a stop in AWS's console) came while this process followed."""
        return bool(self.ledger.study.user_attrs.get("stop_asked", False))

    def _next_own(self) -> Proposal | None:
        """The default once, then what is to be confirmed; nothing more after a stop."""
        if self._stop_was_asked():
            return None
        default = self.points.default
        if default is not None and not self._is_grid:
            tried = [
                t for t in self.ledger.counted("search")
                if t.user_attrs.get("chosen_by") == "default"
            ]  # fmt: skip
            if not tried:
                seed = self.sweep.search.seed
                facts = {"purpose": "search", "chosen_by": "default", "seed": seed}
                return Proposal(default, seed, facts)
            if not all(t.state.is_finished() for t in tried):
                return None  # it is a candidate of the confirmation
        return self.points.next_confirm()

    @property
    def _is_grid(self) -> bool:
        return request.plan_of(self.loaded, 1).strategy == "Grid"

    def _start(self, proposal: Proposal, flying: dict[str, _Own]) -> None:
        assert proposal.point is not None
        facts = dict(proposal.attributes)
        before = facts.get("continues")
        words = (
            "default"
            if facts["chosen_by"] == "default"
            else (f"confirm-{facts['confirms']}-{proposal.seed}")
        )
        name = f"{self.stem}-{words}" + (f"-after-{before}" if before is not None else "")
        facts |= {
            "arguments": self.loaded.arguments(proposal.point, proposal.seed),
            "training_job": name[:63],
        }
        trial = self.ledger.start_at(proposal.point, self.points.space.distributions(), facts)
        frozen = self.ledger.study.get_trials(deepcopy=False)[trial.number]
        self._create(name[:63], frozen, flying)

    def _create(self, name: str, trial: FrozenTrial, flying: dict[str, _Own]) -> None:
        """Starts the training job of a trial in the ledger unless AWS has it already."""
        handle = optuna.Trial(self.ledger.study, trial._trial_id)
        if self._call(lambda: jobs.read_job(self.aws, name)) is None:
            point: Point = dict(trial.params)
            asked = request.training_request(
                self.loaded, self.place, name, point, int(trial.user_attrs["seed"])
            )
            with speaking("sagemaker:CreateTrainingJob"):
                self.aws.sagemaker.create_training_job(**asked)
        flying[name] = _Own(handle, self._show(handle, trial, None))

    def _look_at(self, name: str, own: _Own) -> bool:
        """Whether the training job is over and in the ledger."""
        job = jobs.read_job(self.aws, name)
        if job is None:
            raise AwsError(f"training job {name} is no longer on AWS")
        if not job.is_over:
            return False
        if job.status == "Stopped" and job.secondary == "Stopped":
            self.ledger.set("stop_asked", True)  # by a person, perhaps in AWS's console
        trial = self.ledger.study.get_trials(deepcopy=False)[own.trial.number]
        return self._finish(own.trial, trial, job, {})

    # Time, patience and what a person sees.

    def _call(self, ask: Callable[[], Any]) -> Any:
        """The answer; where AWS does not answer, asks again at the next interval for an hour."""
        since: float | None = None
        while True:
            try:
                answer = ask()
            except AwsUnreachable as exc:
                if since is None:
                    self.view.say(f"{exc}; trying again")
                since = since or time.monotonic()
                if time.monotonic() - since > MOST_MINUTES_AWAY * 60:
                    raise
                self._wait()
            else:
                if since is not None:
                    self.view.say("AWS answers again")
                return answer

    def _wait(self) -> None:
        """One interval, left at once when a person asks; notes the time that has passed."""
        until = time.monotonic() + self.block.poll_seconds
        while time.monotonic() < until:
            if self.asked.times:
                raise _Detached
            hours = self.sweep.budget.hours
            if hours and self.has_limit and self._elapsed() > hours * 3600:
                raise _HoursUsedUp
            self.view.tick()
            time.sleep(min(TICK_SECONDS, max(0.0, until - time.monotonic())))
        self.ledger.set("elapsed_seconds", self._elapsed())

    def _elapsed(self) -> float:
        return round(self.spent_before + time.monotonic() - self.started, 3)

    def _end_everything(self) -> None:
        """After budget.hours: stops what runs on AWS and folds in what it has done."""
        self.view.say("budget.hours was used up: stopping the jobs on AWS")
        self.ledger.set("stop_asked", True)
        for part in self.parts:
            _stop_tuning_job(self.aws, part["name"])
        for trial in self.ledger.read_trials():
            if trial.state == TrialState.RUNNING:
                _stop_training_job(self.aws, trial.user_attrs)
        self.has_limit = False  # the way out takes the time that it takes
        for part in self.parts:
            if part["status"] not in jobs.TUNING_TERMINAL:
                self._follow(part)
        self._own_jobs()

    def _show(
        self, handle: optuna.Trial, trial: FrozenTrial, ending: Ending | None,
        job: jobs.TrainingJob | None = None, value: float | None = None,
    ) -> Row:  # fmt: skip
        """The trial's row on the screen, told once when it starts and once when it ends."""
        name = str(trial.user_attrs["training_job"])
        row = self.rows.get(name)
        is_new = row is None
        if row is None:
            chosen_by = str(trial.user_attrs["chosen_by"])
            row = Row(trial.number, trial.user_attrs["purpose"], chosen_by, trial.params)
            self.rows[name] = row
        if ending is not None and job is not None:
            row.status, row.note = ending.outcome, ending.failure
            row.seconds = job.wall_seconds or 0.0
            row.score = value
            if ending.outcome in ("finished", "pruned") and job.wall_seconds:
                self.durations.append(job.wall_seconds)
        if is_new or ending is not None:
            self.view.changed(row, self._totals())
        return row

    def _totals(self) -> Totals:
        extra = 0
        if self.sweep.confirm.top:
            candidates = self.sweep.confirm.top + (self.points.default is not None)
            extra = candidates * self.sweep.confirm.seeds
        counted = self.ledger.counted("search") + self.ledger.counted("confirm")
        done = sum(t.state.is_finished() for t in counted)
        search = self._amt_trials() + (self.points.default is not None and not self._is_grid)
        planned = max(search + extra, len(counted))
        best = self.ledger.best_first()
        left = None
        if self.durations and planned > done:
            pace = sum(self.durations) / len(self.durations)
            left = pace * (planned - done) / min(self.sweep.budget.parallel, planned - done)
        label = f"{shown_score(best[0].value)} (trial {best[0].number})" if best else "none yet"
        return Totals(self.sweep.objective.metric, planned, done, label, left)


def training_image_of(loaded: LoadedSweep, region: str) -> str:
    """The container image of the sweep in this region."""
    from tuner.aws.session import training_image

    return training_image(loaded.sweep.sagemaker, region)


def console_address(region: str, name: str) -> str:
    """Where a person sees the tuning job in the AWS console."""
    return (
        f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}"
        f"#/hyper-tuning-jobs/{name}"
    )
