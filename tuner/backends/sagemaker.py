"""The SageMaker backend: AMT searches, this loop follows; the confirmation is training jobs of ours.

AWS holds the truth. Every name is a function of the sweep, and everything is written down before it
is asked for, so a process killed at any moment finds its jobs again, and none is started twice.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.aws import jobs, limits, request
from tuner.aws.session import (
    Aws,
    AwsError,
    AwsUnreachable,
    choose_bucket,
    code_of,
    connect,
    speaking,
    training_image,
)
from tuner.aws.upload import pack_script, send_channels, send_script
from tuner.backends.base import CAPS, Outcome
from tuner.backends.folding import Folding, used_up
from tuner.errors import SweepFailed, TunerError
from tuner.ledger import Ledger
from tuner.points import Judge, Points, Proposal
from tuner.prices import prices_file
from tuner.progress import View
from tuner.run_folder import RunFolder
from tuner.signals import Asked, listening
from tuner.sweep import LoadedSweep

TICK_SECONDS = 0.25
MOST_SECONDS_AWAY = 3600.0
"""How long AWS may give no answer before the following ends; its jobs go on all the same."""
SECONDS_TO_BE_KNOWN = 60.0
LONGEST_NAME = 63
SHORTEST_OWN_SECONDS = 60.0
OVER_ALREADY = "ValidationException"
"""A job may end between the question and the stop; others still have to be stopped"""
THERE_ALREADY = "ResourceInUse"
"""Names are the sweep's own: a job of this name is the one that was asked for"""


class SageMakerBackend:
    """Trials as training jobs of an AMT tuning job."""

    def __init__(self, loaded: LoadedSweep, judge: Judge | None = None) -> None:
        self.loaded = loaded  # AMT is the judge of its own search
        self.stopped_by = int(signal.SIGTERM)

    def problems(self) -> list[str]:
        """AMT's limits and rules, the role, the script's folder; no call to AWS."""
        found = limits.sweep_problems(self.loaded)
        try:
            pack_script(self.loaded)
        except TunerError as exc:
            found.append(str(exc))
        block, usd = self.loaded.sweep.sagemaker, self.loaded.sweep.budget.usd
        unknown = [kind for kind in block.instance_types if block.price_of(kind) is None]
        if usd and unknown:
            found.append(
                f"budget.usd {usd:g} cannot be kept: the price of {', '.join(unknown)} is unknown; "
                f"write prices: {{{unknown[0]}: DOLLARS}}, or a line of it in {prices_file()}"
            )
        return found

    def run(self, ledger: Ledger, folder: RunFolder, view: View) -> Outcome:
        """Starts or finds the tuning job, follows it, then confirms; see `Backend.run`."""
        ledger.set("stop_asked", False)  # whoever stopped it before wants it to go on now
        with listening() as asked:
            noted = ledger.study.user_attrs.get("aws", {})
            aws = connect(self.loaded.sweep.sagemaker.region or noted.get("region"))
            _check_place(ledger, aws)
            outcome = _Run(self.loaded, ledger, folder, view, asked, aws).run()
            self.stopped_by = asked.by
            return outcome

    @staticmethod
    def stop(ledger: Ledger, folder: RunFolder) -> str:
        """Stops the run's jobs on AWS; a process that follows them then ends by itself."""
        # Before AWS is asked: whoever follows starts nothing more, and stops what it starts now.
        ledger.set("stop_asked_at", time.time())
        ledger.set("stop_asked", True)
        attributes, holder = ledger.study.user_attrs, folder.holder()
        told = f"; process {holder} folds in what is done, and ends" if holder else ""
        nothing = "its jobs are stopped" if holder else "nothing runs"
        parts = attributes.get("tuning_jobs", [])
        if not parts:
            return f"{folder.shown} has started no tuning job{told}"
        aws = connect(attributes.get("aws", {}).get("region"))
        _check_place(ledger, aws)
        stopped = [part["name"] for part in parts if _stop_tuning_job(aws, part["name"])]
        own = [
            t for t in ledger.read_trials()
            if t.state == TrialState.RUNNING and "tuning_job" not in t.user_attrs
        ]  # fmt: skip
        names = [t.user_attrs["training_job"] for t in own if "training_job" in t.user_attrs]
        stopped += [name for name in names if _stop_training_job(aws, name)]
        if not stopped:
            return f"{folder.shown}: {nothing} on AWS{told}"
        return f"stopping {', '.join(stopped)} on AWS{told}"


def _check_place(ledger: Ledger, aws: Aws) -> None:
    """AwsError where the run's jobs are in another region or account than these credentials."""
    noted = ledger.study.user_attrs.get("aws", {})
    place = (noted.get("region", aws.region), noted.get("account", aws.account))
    if place != (aws.region, aws.account):
        raise AwsError(
            f"the jobs of this run are in {place[0]} of account {place[1]}, and AWS is set to "
            f"{aws.region} of account {aws.account}: use the former, or another folder with --out"
        )


def _stop_tuning_job(aws: Aws, name: str) -> bool:
    """Whether it runs no longer because of a stop, this one or one a moment ago."""
    said = jobs.read_tuning_job(aws, name)
    status = said["HyperParameterTuningJobStatus"] if said else ""
    if status != "InProgress":
        return status == "Stopping"
    ask = partial(aws.sagemaker.stop_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
    return _taken("sagemaker:StopHyperParameterTuningJob", ask, unless=OVER_ALREADY)


def _stop_training_job(aws: Aws, name: str) -> bool:
    said = jobs.read_job(aws, name)
    status = said.status if said else ""
    if status != "InProgress":
        return status == "Stopping"
    ask = partial(aws.sagemaker.stop_training_job, TrainingJobName=name)
    return _taken("sagemaker:StopTrainingJob", ask, unless=OVER_ALREADY)


def _taken(action: str, ask: Callable[[], Any], unless: str) -> bool:
    """Whether AWS took the request; False where it refused with the code `unless`."""
    try:
        with speaking(action):
            ask()
    except AwsError as exc:
        if code_of(exc) != unless:
            raise
        return False
    return True


class _UsedUp(Exception):
    """A cap of the budget is reached."""

    def __init__(self, name: str) -> None:
        self.name, self.outcome = name, CAPS[name]


class _NoRoom(AwsUnreachable):
    """A quota is used up, for now."""


class _Detached(Exception):
    """A person wants their terminal back; AWS goes on."""


@dataclass
class _Run:
    """One call of `run`: the loop and its state."""

    loaded: LoadedSweep
    ledger: Ledger
    folder: RunFolder
    view: View
    asked: Asked
    aws: Aws
    parts: list[dict[str, Any]] = field(default_factory=list)
    """The tuning jobs of this sweep: `name`, `target` (AMT's trials in all), `status`."""
    followed: set[str] = field(default_factory=set)
    """The tuning jobs that came to their end while this process looked."""
    has_limit: bool = True
    created: dict[str, float] = field(default_factory=dict)
    seen_running: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sweep = self.loaded.sweep
        self.block = self.sweep.sagemaker
        self.points = Points(self.loaded, self.ledger)
        self.fold = Folding(
            self.loaded, self.ledger, self.points, self.view, self.aws, self._amt_trials
        )
        self.is_grid = request.plan_of(self.loaded, 1).strategy == "Grid"
        attributes = self.ledger.study.user_attrs
        self.parts = [dict(part) for part in attributes.get("tuning_jobs", [])]
        self.spent_before = float(attributes.get("elapsed_seconds", 0.0))
        self.followed_until = float(attributes.get("followed_until", time.time()))
        self.started = self.counted = time.monotonic()
        patience = self.ledger.patience
        patience.say, patience.stop = self.view.say, lambda: self.asked.times > 0

    def run(self) -> Outcome:
        """The search, then the default and the confirmation, then how it ended."""
        try:
            try:
                self.place = self._send()
                self.stem = request.job_stem(self.loaded, self.folder.path.name, self.place)
                done = self._search() and self._own_jobs()
                return Outcome.FINISHED if done else Outcome.STOPPED
            except _UsedUp as cap:
                self._end_everything(cap.name)
                return cap.outcome
        except _Detached:
            return Outcome.DETACHED if self._may_run_on_aws() else Outcome.STOPPED
        finally:
            self._note_time()

    def _send(self) -> request.Place:
        """Everything on S3, sent where it is not yet there."""
        bucket = choose_bucket(self.aws, self.block)
        image = training_image(self.block, self.aws.region)
        self._check_image(image)
        code, program = send_script(self.aws, bucket, self.loaded)
        self._look_up()
        channels = send_channels(self.aws, bucket, self.loaded, self.folder.data)
        self._look_up()
        place = {"region": self.aws.region, "account": self.aws.account, "bucket": bucket}
        self.ledger.set("aws", place | {"image": image, "code": code, "channels": channels})
        role = str(limits.role_of(self.loaded))
        return request.Place(self.aws.region, role, bucket, image, code, program, channels)

    def _check_image(self, image: str) -> None:
        """TunerError where trials of this folder ran or run in another one."""
        before = self.ledger.study.user_attrs.get("aws", {}).get("image", image)
        if before == image:
            return
        of_use = (TrialState.COMPLETE, TrialState.PRUNED)
        if self._may_run_on_aws() or any(t.state in of_use for t in self.ledger.read_trials()):
            raise TunerError(
                f"the trials of this folder ran in the image {before}, and the sweep now names {image}: they would not "
                "compare; name the first one (sagemaker.image or pytorch), or choose another folder with --out"
            )

    def _may_run_on_aws(self) -> bool:
        running = any(t.state == TrialState.RUNNING for t in self.ledger.read_trials())
        return running or any(p["status"] not in jobs.TUNING_TERMINAL for p in self.parts)

    # The search: one tuning job, and where it was stopped another that goes on from it.

    def _search(self) -> bool:
        """Whether the search is over; False where somebody stopped it while it was followed."""
        for part in [p for p in self.parts if p["status"] not in jobs.TUNING_TERMINAL]:
            if not self._follow(part):
                return False
        while not self._is_stopped():
            last = self.parts[-1] if self.parts else None
            wanted = self._amt_trials()
            missing = wanted - self._amt_done()
            if missing <= 0:
                return True
            # It ended early, by its own criteria; or it failed now, and not in an earlier run.
            is_final = last and (last["status"] == "Completed" or last["name"] in self.followed)
            if last and is_final and last["target"] >= wanted:
                return True
            if last and self.is_grid:
                raise TunerError(
                    f"the grid of tuning job {last['name']} was stopped, and AMT cannot resume "
                    "one; choose another folder with --out"
                )
            if not self._follow(self._launch(missing)):
                return False
        return False

    def _amt_trials(self) -> int:
        """How many search trials are AMT's: all but the default, which AMT cannot be told to try."""
        if self.is_grid:
            return self.points.space.grid_size()
        return max(1, self.points.search_total() - (self.points.default is not None))

    def _amt_done(self) -> int:
        return sum("tuning_job" in t.user_attrs for t in self.ledger.counted("search"))

    def _launch(self, trials: int) -> dict[str, Any]:
        """Starts the next tuning job unless AWS has it: then it is this very sweep's."""
        self._look_up()
        self._check_money(more=min(self.sweep.budget.at_once, trials))
        number = len(self.parts) + 1
        name = self.stem if number == 1 else f"{self.stem}-{number}"
        part = {"name": name, "target": self._amt_trials(), "status": "asked"}
        worked = {t.user_attrs.get("tuning_job") for t in self.ledger.best_first()}
        parents = [p["name"] for p in self.parts if p["name"] in worked]
        self.parts.append(part)
        self._note_parts()  # first written down, then asked for: a kill leaves no unknown job
        there = self._call(partial(jobs.read_tuning_job, self.aws, name))
        if there is None:
            seconds = request.longest_seconds(self.loaded, *self._used())
            asked = request.tuning_request(
                self.loaded, self.place, name, trials, seconds, parents, number
            )
            self.ledger.set("request", asked)
            self._call(partial(self._create_tuning_job, asked))
            self.view.say(f"tuning job {name} started in {self.aws.region}: {trials} training jobs")
            self.view.say(f"see it at {console_address(self.aws.region, name)}")
        else:
            limit = there["HyperParameterTuningJobConfig"]["ResourceLimits"]
            theirs = limit.get("MaxNumberOfTrainingJobs", trials)
            part["target"] = self._amt_done() + theirs
            self.view.say(
                f"tuning job {name} is there already ({there['HyperParameterTuningJobStatus']}): "
                "it is of this very sweep, so its trials are taken over. For a new one choose "
                "another folder with --out"
            )
        part["status"] = "InProgress"
        self._note_parts()
        return part

    def _rate(self, at_once: int) -> float:
        """Dollars a second of so many trials."""
        return self.block.usd_per_second(at_once)

    def _used(self) -> tuple[float, float]:
        """Seconds, and dollars where they are counted."""
        return self._elapsed(), self._spent() if self.sweep.budget.usd is not None else 0.0

    def _spent(self) -> float:
        """Dollars, with what is in flight; that is counted from when it was asked for."""
        spent = 0.0
        for trial in self.ledger.read_trials():
            if trial.state == TrialState.RUNNING and "asked_at" in trial.user_attrs:
                seconds = time.time() - float(trial.user_attrs["asked_at"])
                spent += max(0.0, seconds) * self._rate(1)
            else:
                spent += float(trial.user_attrs.get("cost_usd", 0.0))
        return spent

    def _create_tuning_job(self, asked: dict[str, Any]) -> None:
        self.created[asked["HyperParameterTuningJobName"]] = time.monotonic()
        ask = partial(self.aws.sagemaker.create_hyper_parameter_tuning_job, **asked)
        _taken("sagemaker:CreateHyperParameterTuningJob", ask, unless=THERE_ALREADY)

    def _note_parts(self) -> None:
        self.ledger.set("tuning_jobs", self.parts)

    def _follow(self, part: dict[str, Any]) -> bool:
        """Until the tuning job is over; False where it was stopped meanwhile.

        One Describe per interval; its training jobs are listed when their counts have changed.
        """
        name, seen, was_running = part["name"], None, False
        while True:
            said = self._call(partial(jobs.read_tuning_job, self.aws, name))
            if said is None and part["status"] == "asked":
                self.parts.remove(part)  # the process was killed before AWS was asked
                self._note_parts()
                return True
            if said is None and self._is_new(name):
                self._wait()
                continue
            if said is None:
                raise AwsError(
                    f"tuning job {name} is no longer on AWS; choose another folder with --out"
                )
            status = said["HyperParameterTuningJobStatus"]
            over = status in jobs.TUNING_TERMINAL
            self._count_time_alone(said["CreationTime"], said.get("HyperParameterTuningEndTime"))
            if not over and not was_running:
                was_running, part["status"] = True, "InProgress"
                self._note_parts()
            if status == "InProgress" and self._is_stopped():
                self._call(partial(_stop_tuning_job, self.aws, name))
            counters, unfinished = said.get("TrainingJobStatusCounters"), False
            if counters != seen or over or self.fold.late:
                unfinished = self._call(partial(self.fold.fold_in, name, said))
                seen = counters
            if over and not unfinished:
                part["status"] = status
                self._note_parts()
                by_limit = status == "Stopped" and jobs.ended_by_its_time_limit(said)
                if by_limit and not self._is_stopped():
                    self._check_time_for_another()
                    return True
                if was_running:
                    self.followed.add(name)
                self._judge(name, said)
                return not (status == "Stopped" and was_running)
            self._wait()

    def _check_time_for_another(self) -> None:
        """Whether the budget, which may be larger than when a tuning job got its time limit, has time for one more."""
        for cap, seconds in request.seconds_by_cap(self.loaded, *self._used()).items():
            if seconds < request.SHORTEST_RUN_SECONDS:
                raise _UsedUp(cap)

    def _judge(self, name: str, said: dict[str, Any]) -> None:
        """AMT gives up by itself after five training jobs without one success."""
        if said["HyperParameterTuningJobStatus"] != "Failed":
            return
        reason = said.get("FailureReason") or "AWS gives no reason"
        trials = self.fold.trials_of(name)
        if any(t.value is not None for t in trials):
            self.view.say(f"tuning job {name} failed: {reason}")
            return
        failed = [t for t in trials if t.state == TrialState.FAIL]
        which = f" Trial {failed[-1].number}: {failed[-1].user_attrs['failure']}" if failed else ""
        raise SweepFailed(
            f"{len(failed)} trials failed and none succeeded, so AMT stopped the tuning job "
            f"{name} ({reason}).{which}"
        )

    # Our own training jobs: the default, and the confirmation on fresh seeds.

    def _own_jobs(self) -> bool:
        """Runs the default and the confirmation as training jobs; False where they were stopped."""
        flying: dict[str, FrozenTrial] = {}
        found = [
            self._create(trial, flying) for trial in self.ledger.read_trials()
            if trial.state == TrialState.RUNNING and "tuning_job" not in trial.user_attrs
        ]  # fmt: skip
        begun = [job.started for job in found if job and job.started]
        if begun:  # they ran on while nobody followed
            ended = [job.ended if job.is_over else None for job in found if job]
            over = [moment for moment in ended if moment]
            self._count_time_alone(min(begun), max(over) if len(over) == len(ended) else None)
        self._look_at(flying)  # what is over already costs nothing more
        while True:
            while not self._is_stopped() and len(flying) < self.sweep.budget.at_once:
                proposal = self._next_own()
                if proposal is None:
                    break
                self._look_up()
                self._check_money(more=1)
                self._create(self._write_down(proposal), flying)
            if not flying:
                return not self._is_stopped()
            self._look_at(flying)
            if flying:
                self._wait()

    def _look_at(self, flying: dict[str, FrozenTrial]) -> None:
        """Takes out what is over; stops what runs after somebody asked for that."""
        for name, trial in list(flying.items()):
            if self._is_stopped():
                self._call(partial(_stop_training_job, self.aws, name))
            if self._call(partial(self._fold_own, name, trial)):
                del flying[name]
                if self._is_of_now(name):  # else the budget may be another one since
                    self._look_at_end_of(trial.number)

    def _look_at_end_of(self, number: int) -> None:
        """Where AWS ended a job by the time limit that money or hours set it, nothing of these is left."""
        failure = self.ledger.read_trials()[number].user_attrs.get("failure")
        for cap in CAPS:
            if self.has_limit and failure == used_up(cap):
                raise _UsedUp(cap)

    def _next_own(self) -> Proposal | None:
        """The default once, then what is to be confirmed."""
        default = self.points.default
        if default is not None and not self.is_grid:
            tried = [
                t for t in self.ledger.counted("search")
                if t.user_attrs.get("chosen_by") == "default"
            ]  # fmt: skip
            if not tried:
                seed = self.sweep.search.seed
                facts = {"purpose": "search", "chosen_by": "default", "seed": seed}
                cut_off = [
                    t.number for t in self.ledger.interrupted()
                    if t.user_attrs["chosen_by"] == "default"
                ]  # fmt: skip
                return Proposal(
                    default, seed, facts | ({"continues": cut_off[-1]} if cut_off else {})
                )
            if not all(t.state.is_finished() for t in tried):
                return None  # it is a candidate of the confirmation
        return self.points.next_confirm()

    def _write_down(self, proposal: Proposal) -> FrozenTrial:
        """The trial in the ledger, with the name that its training job will have."""
        assert proposal.point is not None
        facts = dict(proposal.attributes)
        words = "default"
        if facts["chosen_by"] != "default":
            words = f"confirm-{facts['confirms']}-{proposal.seed}"
        if "continues" in facts:
            words += f"-after-{facts['continues']}"
        facts |= {
            "arguments": self.loaded.arguments(proposal.point, proposal.seed),
            "training_job": f"{self.stem}-{words}"[:LONGEST_NAME],
            "asked_at": time.time(),
        }
        budget, bounds = self.sweep.budget, {}  # that AWS keeps where nobody follows
        if budget.usd is not None:
            bounds["budget.usd"] = (budget.usd - self._spent()) / self._rate(self._width())
        if budget.hours is not None:
            bounds["budget.hours"] = budget.hours * 3600 - self._elapsed()
        if bounds and (left := min(bounds.values())) < self.block.max_hours * 3600:
            facts["most_seconds"] = max(SHORTEST_OWN_SECONDS, left)
            facts["most_seconds_by"] = min(bounds, key=lambda cap: bounds[cap])
        return self.ledger.start_job(proposal.point, self.points.space.distributions(), facts)

    def _width(self) -> int:
        """How many of our own jobs will run beside the next one, which is counted: the money is for all."""
        running = sum(t.state == TrialState.RUNNING for t in self.ledger.read_trials())
        planned = len(self.points.candidates()) * self.sweep.confirm.seeds
        to_come = planned - len(self.ledger.counted("confirm"))
        return max(running + 1, min(self.sweep.budget.at_once, running + to_come))

    def _create(
        self, trial: FrozenTrial, flying: dict[str, FrozenTrial]
    ) -> jobs.TrainingJob | None:
        """Starts the training job of a trial in the ledger unless AWS has it already: then that one."""
        name = str(trial.user_attrs["training_job"])
        there: jobs.TrainingJob | None = self._call(partial(jobs.read_job, self.aws, name))
        if there is None and self._is_stopped():  # perhaps before it was known where its data lie
            self.fold.abandon(trial)
            return None
        if there is None:
            seed = int(trial.user_attrs["seed"])
            asked = request.training_request(
                self.loaded, self.place, name, dict(trial.params), seed,
                trial.user_attrs.get("most_seconds"),
            )  # fmt: skip
            # Where there is no room beside our own jobs, one of these will make it.
            if not self._call(partial(self._create_training_job, asked, trial), bool(flying)):
                self.fold.abandon(trial)
                return None
        flying[name] = trial
        self.fold.show(trial)
        return there

    def _create_training_job(self, asked: dict[str, Any], trial: FrozenTrial) -> bool:
        """Whether it was created; not where somebody has stopped the sweep, perhaps while there was no room."""
        if self._is_stopped():
            return False
        self.created[asked["TrainingJobName"]] = time.monotonic()
        optuna.Trial(self.ledger.study, trial._trial_id).set_user_attr("asked_at", time.time())
        ask = partial(self.aws.sagemaker.create_training_job, **asked)
        try:
            _taken("sagemaker:CreateTrainingJob", ask, unless=THERE_ALREADY)
        except AwsError as exc:
            if code_of(exc) in ("ResourceLimitExceeded", "ServiceQuotaExceededException"):
                raise _NoRoom(str(exc)) from exc  # others' jobs end, and make room
            raise
        return True

    def _fold_own(self, name: str, trial: FrozenTrial) -> bool:
        """Whether the training job is over and in the ledger."""
        job = jobs.read_job(self.aws, name)
        if job is None and self._is_new(name):
            return False
        if job is None:
            raise AwsError(f"training job {name} is no longer on AWS")
        if not job.is_over:
            if job.status != "Stopping":  # asked before, perhaps for a run that is over
                self.seen_running.add(name)
            return False
        if self._is_of_now(name) and job.status == "Stopped" and job.secondary == "Stopped":
            self.ledger.set("stop_asked", True)  # now, by a person, perhaps in AWS's console
        return self.fold.finish(self.ledger.read_trials()[trial.number], job, {})

    def _is_of_now(self, name: str) -> bool:
        """Whether the job ran while this process looked: what became of others was meant for earlier ones."""
        return name in self.seen_running or name in self.created

    # Time, patience and what a person asks for.

    def _is_new(self, name: str) -> bool:
        """Whether the job was created so lately that AWS need not know of it everywhere yet."""
        return time.monotonic() - self.created.get(name, -math.inf) < SECONDS_TO_BE_KNOWN

    def _is_stopped(self) -> bool:
        """Whether `tuner stop` has come; in another process, so the ledger says it."""
        return bool(self.ledger.study.user_attrs.get("stop_asked", False))

    def _look_up(self) -> None:
        """Before anything that costs: a person may have asked, or the time be over."""
        if self.asked.times:
            raise _Detached
        hours = self.sweep.budget.hours
        if hours and self.has_limit and self._elapsed() > hours * 3600:
            raise _UsedUp("budget.hours")

    def _call(self, ask: Callable[[], Any], waits_for_room: bool = False) -> Any:
        """The answer; where AWS does not answer, asks again at the next interval for an hour.

        For room in a quota as long as it takes, if `waits_for_room`.
        """
        since: float | None = None
        while True:
            try:
                answer = ask()
            except AwsUnreachable as exc:
                if since is None:
                    self.view.say(f"{exc}; trying again")
                since = since or time.monotonic()
                is_to_wait = waits_for_room and isinstance(exc, _NoRoom)
                if time.monotonic() - since > MOST_SECONDS_AWAY and not is_to_wait:
                    raise
                self._wait()
            else:
                if since is not None:
                    self.view.say("AWS answers again")
                return answer

    def _check_money(self, more: int = 0) -> None:
        """Once an interval: whether what runs would cost too much before it could be stopped.

        `more` are about to be started.
        """
        usd = self.sweep.budget.usd
        if usd is None or not self.has_limit:
            return
        running = more + sum(t.state == TrialState.RUNNING for t in self.ledger.read_trials())
        # It is looked once an interval, and then they have to end.
        if (
            self._spent() + self._rate(running) * (jobs.SECONDS_TO_STOP + self.block.poll_seconds)
            >= usd
        ):
            raise _UsedUp("budget.usd")

    def _wait(self) -> None:
        """One interval, left at once when a person asks; notes the time that has passed."""
        self._check_money()
        until = time.monotonic() + self.block.poll_seconds
        while time.monotonic() < until:
            self._look_up()
            self.view.tick()
            time.sleep(min(TICK_SECONDS, max(0.0, until - time.monotonic())))
        self._note_time()

    def _elapsed(self) -> float:
        return round(self.spent_before + time.monotonic() - self.started, 3)

    def _note_time(self) -> None:
        self.ledger.set("elapsed_seconds", self._elapsed())
        self.ledger.set("followed_until", time.time())

    def _count_time_alone(self, begun: datetime, ended: datetime | None) -> None:
        """The time that jobs ran while nobody followed them counts towards budget.hours."""
        until = min(time.time(), ended.timestamp() if ended else time.time())
        since = max(self.followed_until, begun.timestamp())
        now = time.monotonic()
        self.spent_before += max(0.0, until - since - (now - self.counted))
        self.followed_until, self.counted = time.time(), now

    def _end_everything(self, cap: str) -> None:
        """When a cap is reached: stops what runs on AWS and folds in what it has done."""
        self.has_limit = False  # the way out takes the time that it takes
        if not self._may_run_on_aws():
            return
        self.view.say(f"{cap} was used up: stopping the jobs on AWS")
        self.ledger.set("stop_asked_at", time.time())
        self.ledger.set("stop_asked", True)
        for part in [p for p in self.parts if p["status"] not in jobs.TUNING_TERMINAL]:
            self._follow(part)
        self._own_jobs()


def console_address(region: str, name: str) -> str:
    """Where a person sees the tuning job in the AWS console."""
    return (
        f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}"
        f"#/hyper-tuning-jobs/{name}"
    )
