"""Killed, stopped, launched twice, out of time: what follows the jobs may end at any moment."""

import os
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from tests import PATIENCE
from tests.aws.conftest import jobs_once, wait_for
from tests.conftest import TOY
from tests.emulator.service import Refused
from tuner.backends import Outcome, sagemaker
from tuner.errors import TunerError
from tuner.ledger import Ledger

NO_DEFAULT = {"start_with_default": False}
QUICK = {"trials": 2, "parallel": 2}


def test_orchestrator_killed_in_the_middle_goes_on_with_the_same_job(
    aws_sweep, emulator, tmp_path, tuner, started
):
    path = aws_sweep(
        fixed={"sleep": 0.3}, budget={"trials": 3, "parallel": 2}, confirm={"top": 1, "seeds": 1}
    )
    for moment in ("started in", "trial   1 started", "[default]", "[confirmation]"):
        process = started(path, tmp_path / "run")
        wait_for(process, moment)
        process.kill()
        process.wait()
        process.stdout.close()
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert len(jobs_once(ledger, emulator)) == 5
    assert emulator.count("CreateHyperParameterTuningJob") == 1
    assert emulator.count("CreateTrainingJob") == 3


@pytest.mark.parametrize("step", [0, 2, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 3))])
def test_orchestrator_killed_while_folding_in_has_every_job_once(
    run_on_aws, emulator, monkeypatch, step
):
    """Dies at one write to the ledger after another: the rerun ends with every job once."""

    class Died(BaseException):
        pass

    writes = 0

    def dying(method):
        def call(*args, **options):
            nonlocal writes
            writes += 1
            if writes == 3 + 4 * step:
                raise Died
            return method(*args, **options)

        return call

    from optuna.storages import RDBStorage, _CachedStorage

    from tuner.storage import PatientStorage

    for kind in (RDBStorage, _CachedStorage):
        for name in ("create_new_trial", "set_trial_user_attr", "set_trial_state_values",
                     "set_trial_intermediate_value"):  # fmt: skip
            monkeypatch.setattr(kind, name, dying(getattr(kind, name)))
    monkeypatch.setattr(PatientStorage, "end_trial", dying(PatientStorage.end_trial))
    with pytest.raises(Died):
        run_on_aws(search=NO_DEFAULT, budget=QUICK)
    monkeypatch.undo()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    outcome, ledger = run_on_aws(search=NO_DEFAULT, budget=QUICK)
    assert outcome is Outcome.FINISHED
    assert len(jobs_once(ledger, emulator)) == 2
    assert all(len(t.intermediate_values) == 4 for t in ledger.read_trials())


def test_ctrl_c_leaves_the_job_and_stop_ends_it_and_run_goes_on(
    aws_sweep, emulator, tmp_path, tuner, started
):
    path = aws_sweep(
        fixed={"sleep": 0.2}, search=NO_DEFAULT | {"pruner": "none"},
        budget={"trials": 3, "parallel": 2},
        space={"rate": {"float": [1e-5, 1e-1], "scale": "log"}},
    )  # fmt: skip

    def slow(job):  # so that they outlast what follows
        job.container.request["HyperParameters"]["sleep"] = "60"

    emulator.service.on_start = slow
    process = started(path, tmp_path / "run")
    wait_for(process, "trial   1 started")
    process.send_signal(2)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "keep running in AWS and cost money" in said
    (job,) = emulator.service.tuning.values()
    assert job.status == "InProgress"
    stopped = tuner("stop", tmp_path / "run")
    assert f"stopping {job.job_name}" in stopped.stdout
    job.join(timeout=PATIENCE)
    assert job.status == "Stopped"
    assert "nothing runs on AWS" in tuner("stop", tmp_path / "run").stdout
    emulator.service.on_start = None
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    jobs_once(ledger, emulator)
    assert [t.user_attrs["outcome"] for t in ledger.read_trials()].count("finished") == 3
    second = emulator.service.tuning[f"{job.job_name}-2"].request
    assert second["HyperParameterTuningJobConfig"]["ResourceLimits"][
        "MaxNumberOfTrainingJobs"
    ] == 3 - sum(t.user_attrs["outcome"] == "finished" for t in ledger.read_trials()[:2])


@pytest.mark.slow
def test_stop_while_followed_ends_the_sweep_and_starts_nothing_more(
    aws_sweep, emulator, tmp_path, tuner, started
):
    path = aws_sweep(fixed={"sleep": 2.0}, budget={"trials": 6, "parallel": 2})
    process = started(path, tmp_path / "run")
    wait_for(process, "trial   1 started")
    assert "folds in what is done, and ends" in tuner("stop", tmp_path / "run").stdout
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, said
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert {t.user_attrs["outcome"] for t in ledger.read_trials()} == {"interrupted"}
    assert len(emulator.service.tuning) == 1


@pytest.mark.slow
def test_second_launch_from_another_machine_finds_the_running_job(
    aws_sweep, emulator, tmp_path, tuner, started
):
    """The other one has sweep, script and runs elsewhere."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "toy.py").write_bytes(TOY.read_bytes())
    path = aws_sweep(search=NO_DEFAULT, budget=QUICK, fixed={"sleep": 0.5}, script="toy.py")
    for folder in ("one", "two"):
        (tmp_path / folder / "sweep.yaml").write_bytes(path.read_bytes())
    process = started(tmp_path / "one" / "sweep.yaml", tmp_path / "one" / "run")
    wait_for(process, "started in")
    other = tuner("run", tmp_path / "two" / "sweep.yaml", "--out", tmp_path / "two" / "run")
    assert other.returncode == 0, other.stderr
    assert "is there already" in other.stdout
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert emulator.count("CreateHyperParameterTuningJob") == 1
    scores = [
        sorted(t.value for t in Ledger.load(f"sqlite:///{tmp_path}/{n}/run/study.db").read_trials())
        for n in ("one", "two")
    ]
    assert scores[0] == scores[1]


def test_larger_budget_goes_on_from_the_finished_job(run_on_aws, emulator):
    run_on_aws(search=NO_DEFAULT, budget=QUICK)
    _, ledger = run_on_aws(search=NO_DEFAULT, budget={"trials": 3, "parallel": 2})
    first, second = emulator.service.tuning.values()
    assert len({str(t.params) for t in ledger.read_trials()}) == 3
    assert second.request["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [
        {"HyperParameterTuningJobName": first.job_name}
    ]
    assert len(jobs_once(ledger, emulator)) == 3


def test_completion_criteria_end_the_search_for_good(run_on_aws, emulator):
    for _ in range(2):
        _, ledger = run_on_aws(
            sagemaker={"completion": {"target": -100.0}}, search=NO_DEFAULT,
            budget={"trials": 6, "parallel": 1},
        )  # fmt: skip
    assert len(emulator.service.tuning) == 1
    assert 1 <= len(ledger.read_trials()) < 6


@pytest.mark.slow
def test_changed_script_starts_a_job_of_its_own(aws_sweep, emulator, tmp_path, tuner):
    """Also where the run folder was deleted, and nothing here remembers the first."""
    (tmp_path / "toy.py").write_bytes(TOY.read_bytes())
    path = aws_sweep(search=NO_DEFAULT, budget={"trials": 1}, script="toy.py")
    assert tuner("run", path, "--out", "run").returncode == 0
    shutil.rmtree("run")
    (tmp_path / "toy.py").write_text(TOY.read_text().replace("score = 1 -", "score = 1000 -"))
    done = tuner("run", path, "--out", "run")
    assert done.returncode == 0
    assert "is there already" not in done.stdout
    assert Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()[0].value > 500


@pytest.mark.slow
def test_stopped_default_is_run_again_and_the_sweep_ends(
    aws_sweep, emulator, tmp_path, tuner, started
):
    path = aws_sweep(
        fixed={"sleep": 0.7}, budget={"trials": 2, "parallel": 1}, confirm={"top": 1, "seeds": 1}
    )
    process = started(path, tmp_path / "run")
    wait_for(process, "[default]")
    assert "folds in what is done, and ends" in tuner("stop", tmp_path / "run").stdout
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    jobs_once(ledger, emulator)
    outcomes = [t.user_attrs["outcome"] for t in ledger.read_trials()]
    assert outcomes.count("interrupted") == 1
    assert outcomes.count("finished") == 4


def test_stop_before_anything_has_started_starts_nothing(run_on_aws, emulator, monkeypatch):
    from tuner.backends import sagemaker

    real = sagemaker.send_channels

    def stopping(aws, bucket, loaded, data):
        ledger = Ledger.load(f"sqlite:///{data.parent}/study.db")
        said = sagemaker.SageMakerBackend.stop(ledger, sagemaker.RunFolder(data.parent))
        assert "has started no tuning job" in said
        return real(aws, bucket, loaded, data)

    monkeypatch.setattr(sagemaker, "send_channels", stopping)
    outcome, _ = run_on_aws(search=NO_DEFAULT, budget=QUICK)
    assert outcome is Outcome.STOPPED
    assert not emulator.service.tuning


def test_ctrl_c_during_the_upload_starts_nothing(run_on_aws, emulator, monkeypatch):
    from tuner.backends import sagemaker

    def interrupted(*_):
        os.kill(os.getpid(), 2)
        return {}

    monkeypatch.setattr(sagemaker, "send_channels", interrupted)
    outcome, _ = run_on_aws(search=NO_DEFAULT, budget=QUICK)
    assert outcome is Outcome.STOPPED
    assert not emulator.service.tuning


@pytest.mark.slow
def test_larger_budget_counts_while_the_job_still_runs(
    aws_sweep, emulator, tmp_path, tuner, started
):
    blocks = {"search": NO_DEFAULT, "fixed": {"sleep": 0.6}}
    process = started(aws_sweep(budget=QUICK, **blocks), tmp_path / "run")
    wait_for(process, "trial   1 started")
    process.send_signal(2)
    process.communicate(timeout=PATIENCE)
    larger = aws_sweep(budget={"trials": 3, "parallel": 2}, **blocks)
    done = tuner("run", larger, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert len(jobs_once(ledger, emulator)) == 3


def test_hours_used_up_start_no_further_job(run_on_aws, emulator):
    for _ in range(2):
        outcome, _ = run_on_aws(
            fixed={"sleep": 1.0}, search=NO_DEFAULT,
            budget={"trials": 50, "parallel": 1, "hours": 12 / 3600},
        )  # fmt: skip
        assert outcome is Outcome.OUT_OF_HOURS
    assert len(emulator.service.tuning) == 1


def test_another_image_is_refused_where_trials_ran_in_one(run_on_aws, emulator):
    run_on_aws(search=NO_DEFAULT, budget={"trials": 1, "parallel": 1})
    with pytest.raises(TunerError, match=r"ran in the image an-image, .* names another"):
        run_on_aws(
            sagemaker={"image": "another"}, search=NO_DEFAULT, budget={"trials": 2, "parallel": 1}
        )
    assert len(emulator.service.tuning) == 1


def test_hours_used_up_before_anything_was_sent_end_in_an_outcome(
    run_on_aws, emulator, monkeypatch, tmp_path
):
    """A trial that was written down when the process was killed, and no hours left to ask for it."""
    from tuner.backends import sagemaker

    class Died(BaseException):
        pass

    def dies(*_):
        raise Died

    monkeypatch.setattr(sagemaker._Run, "_create_training_job", dies)
    with pytest.raises(Died):
        run_on_aws(budget={"trials": 2, "parallel": 1})
    monkeypatch.undo()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    ledger.set("elapsed_seconds", 3600.0)
    ledger.close()
    outcome, ledger = run_on_aws(budget={"trials": 2, "parallel": 1, "hours": 0.5})
    assert outcome is Outcome.OUT_OF_HOURS
    assert not any(t.state == TrialState.RUNNING for t in ledger.read_trials())
    assert len(emulator.service.training) == 1  # the tuning job's


def test_money_used_up_stops_the_jobs_on_aws(run_on_aws, emulator, monkeypatch):
    monkeypatch.setattr("tuner.aws.jobs.SECONDS_TO_STOP", 1.0)
    for _ in range(2):
        outcome, ledger = run_on_aws(
            fixed={"sleep": 1.0}, search=NO_DEFAULT, prices={"ml.g4dn.xlarge": 3600.0},
            budget={"trials": 50, "parallel": 1, "usd": 6.0},
        )  # fmt: skip
        assert outcome is Outcome.OUT_OF_MONEY
    assert len(emulator.service.tuning) == 1
    assert not any(t.state == TrialState.RUNNING for t in ledger.read_trials())
    spent = sum(t.user_attrs.get("cost_usd", 0.0) for t in ledger.read_trials())
    # The emulator's way to a job's end takes some seconds on a busy machine; the fifty jobs would
    # cost 200 dollars.
    assert 1.0 < spent <= 30


@pytest.fixture
def hasty(emulator, monkeypatch):
    """Has AWS end the first tuning job after three seconds, as by its time limit."""
    real = emulator.service.answer

    def answer(operation, request):
        said = real(operation, request)
        if operation == "CreateHyperParameterTuningJob" and len(emulator.service.tuning) == 1:
            limits = emulator.service.tuning[request["HyperParameterTuningJobName"]].config
            limits["ResourceLimits"]["MaxRuntimeInSeconds"] = 3
        return said

    monkeypatch.setattr(emulator.service, "answer", answer)
    monkeypatch.setattr("tuner.aws.jobs.SECONDS_TO_STOP", 1.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("caps", "ends"),
    [({"hours": 0.03}, Outcome.OUT_OF_HOURS), ({"usd": 110.0}, Outcome.OUT_OF_MONEY)],
)
def test_a_tuning_job_that_aws_ends_by_its_time_limit_was_stopped_by_nobody(run_on_aws, caps, ends):
    """AWS says Stopped, as of one that a person stopped."""
    outcome, ledger = run_on_aws(
        fixed={"sleep": 1.0}, prices={"ml.g4dn.xlarge": 3600.0},
        budget={"trials": 50, "parallel": 1} | caps,
    )  # fmt: skip
    assert outcome is ends
    assert not ledger.study.user_attrs["stop_asked"]
    assert not any(t.state == TrialState.RUNNING for t in ledger.read_trials())


@pytest.mark.usefixtures("hasty")
def test_a_larger_budget_than_the_one_that_a_tuning_job_began_with_pays_for_another(
    run_on_aws, emulator
):
    outcome, ledger = run_on_aws(
        fixed={"sleep": 1.0}, budget={"trials": 5, "parallel": 1, "hours": 9}
    )
    assert outcome is Outcome.FINISHED
    assert len(emulator.service.tuning) == 2
    assert len(ledger.counted("search")) == 5


def test_our_own_jobs_have_a_time_limit_that_the_money_pays_for(run_on_aws, emulator, monkeypatch):
    """So that nobody has to follow them; and where AWS ends one by it, more money goes on with it."""
    monkeypatch.setattr("tuner.backends.sagemaker.SHORTEST_OWN_SECONDS", 1.0)
    monkeypatch.setattr("tuner.aws.jobs.SECONDS_TO_STOP", -100.0)  # nobody looks
    blocks = {"fixed": {"sleep": 1.0}, "prices": {"ml.g4dn.xlarge": 3600.0}}
    outcome, ledger = run_on_aws(**blocks, budget={"trials": 1, "parallel": 1, "usd": 8.5})
    searched, default = ledger.read_trials()
    left = 8.5 - searched.user_attrs["cost_usd"]
    request = emulator.service.training[default.user_attrs["training_job"]].request
    assert request["StoppingCondition"]["MaxRuntimeInSeconds"] == round(max(1.0, left))
    assert default.user_attrs["outcome"] == "interrupted"
    assert default.user_attrs["failure"] == "budget.usd was used up"
    assert outcome is Outcome.OUT_OF_MONEY
    outcome, ledger = run_on_aws(**blocks, budget={"trials": 1, "parallel": 1, "usd": 2000.0})
    assert outcome is Outcome.FINISHED
    assert ledger.read_trials()[-1].user_attrs["continues"] == default.number
    assert ledger.read_trials()[-1].state == TrialState.COMPLETE


def test_run_of_another_account_or_region_is_not_touched(run_on_aws, emulator, monkeypatch):
    from tuner.aws.session import AwsError
    from tuner.backends.sagemaker import SageMakerBackend

    _, ledger = run_on_aws(search=NO_DEFAULT, budget={"trials": 1})
    ledger.set("aws", ledger.study.user_attrs["aws"] | {"account": "999999999999"})
    with pytest.raises(AwsError, match="of account 999999999999, and AWS is set to"):
        run_on_aws(search=NO_DEFAULT, budget=QUICK)
    with pytest.raises(AwsError, match="use the former"):
        SageMakerBackend.stop(ledger, _Folder())
    assert len(emulator.service.tuning) == 1


class _Folder:
    shown = "run"

    def holder(self):
        return None


def test_job_that_aws_does_not_know_at_once_is_waited_for(run_on_aws, emulator, monkeypatch):
    real, unknown = emulator.service.answer, {}

    def slow(operation, request):
        name = request.get("HyperParameterTuningJobName") or request.get("TrainingJobName")
        asked = unknown.setdefault((operation, name), 0)
        if operation.startswith("Describe") and name.startswith("toy-") and asked < 3:
            unknown[operation, name] += 1
            raise Refused("ValidationException", "Requested resource not found.")
        return real(operation, request)

    monkeypatch.setattr(emulator.service, "answer", slow)
    outcome, ledger = run_on_aws(budget={"trials": 2, "parallel": 1})
    assert outcome is Outcome.FINISHED
    assert len(jobs_once(ledger, emulator)) == 2


def test_answer_lost_on_its_way_back_is_no_error(run_on_aws, emulator, monkeypatch):
    """The job was created, the client asks again and hears that the name is in use."""
    service, real = emulator.service, emulator.service.answer

    def lossy(operation, request):
        answer = real(operation, request)
        if operation.startswith("Create") and operation not in lost:
            lost.add(operation)
            emulator.broken[operation] += 1
            return service.answer(operation, request)  # as botocore's own retry would
        return answer

    lost: set[str] = set()
    monkeypatch.setattr(service, "answer", lossy)
    outcome, ledger = run_on_aws(budget={"trials": 2, "parallel": 1})
    assert outcome is Outcome.FINISHED
    assert len(jobs_once(ledger, emulator)) == 2


def test_our_own_jobs_end_with_the_hours_where_nobody_follows(run_on_aws, emulator):
    """AWS keeps a time limit by itself: six hours as a rule, and no more than the sweep has left."""
    _, ledger = run_on_aws(budget={"trials": 2, "parallel": 1, "hours": 1})
    default = next(t for t in ledger.read_trials() if "tuning_job" not in t.user_attrs)
    request = emulator.service.training[default.user_attrs["training_job"]].request
    assert 3000 < request["StoppingCondition"]["MaxRuntimeInSeconds"] < 3600
    assert default.user_attrs["most_seconds_by"] == "budget.hours"


def test_a_job_that_was_never_asked_for_has_cost_nothing(
    run_on_aws, emulator, monkeypatch, tmp_path
):
    """Written down, then killed; two days later it is asked for, and counts from then."""
    from tuner.backends import sagemaker

    class Died(BaseException):
        pass

    def dies(*_):
        raise Died

    blocks = {
        "prices": {"ml.g4dn.xlarge": 0.736},
        "budget": {"trials": 2, "parallel": 1, "usd": 20.0},
    }
    monkeypatch.setattr(sagemaker._Run, "_create_training_job", dies)
    with pytest.raises(Died):
        run_on_aws(**blocks)
    monkeypatch.undo()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    (default,) = [t for t in ledger.read_trials() if t.state == TrialState.RUNNING]
    asked = default.user_attrs["asked_at"] - 48 * 3600
    ledger.study._storage.set_trial_user_attr(default._trial_id, "asked_at", asked)
    ledger.close()
    outcome, ledger = run_on_aws(**blocks)
    assert outcome is Outcome.FINISHED
    assert ledger.read_trials()[default.number].state == TrialState.COMPLETE


def test_a_default_that_was_stopped_while_nobody_followed_runs_again_at_once(
    aws_sweep, emulator, tmp_path, tuner, started
):
    """The stop was meant for what ran then, not for the run that goes on later."""
    path = aws_sweep(budget={"trials": 2, "parallel": 1})

    def slow(job):  # ours, so that it outlasts what follows
        if job.tuning_job is None:
            job.container.request["HyperParameters"]["sleep"] = "60"

    emulator.service.on_start = slow
    process = started(path, tmp_path / "run")
    wait_for(process, "[default]")
    process.send_signal(2)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "stopping" in tuner("stop", tmp_path / "run").stdout
    (job,) = [job for job in emulator.service.training.values() if job.tuning_job is None]
    job.join(timeout=PATIENCE)
    emulator.service.on_start = None
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = [
        t.user_attrs["outcome"] for t in Ledger.load(f"sqlite:///{tmp_path}/run/study.db").read_trials()
        if t.user_attrs["chosen_by"] == "default"
    ]  # fmt: skip
    assert outcomes == ["interrupted", "finished"]


def test_a_quota_that_is_full_is_waited_for_and_a_stop_meanwhile_is_heard(
    run_on_aws, emulator, monkeypatch, tmp_path
):
    from tuner.backends.sagemaker import RunFolder, SageMakerBackend

    real = emulator.service.answer

    def full(operation, request):
        if operation == "CreateTrainingJob":
            ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
            SageMakerBackend.stop(ledger, RunFolder(tmp_path / "run"))
            monkeypatch.setattr(emulator.service, "answer", real)  # there is room at the next try
            raise Refused("ResourceLimitExceeded", "a quota of 1 is used up")
        return real(operation, request)

    monkeypatch.setattr(emulator.service, "answer", full)
    outcome, _ = run_on_aws(budget={"trials": 2, "parallel": 1})
    assert outcome is Outcome.STOPPED
    assert emulator.count("CreateTrainingJob") <= 1


def test_a_sleep_of_this_machine_counts_towards_the_hours(monkeypatch):
    """Three hours followed, then two in which nobody looked and the job ran on."""
    run, clock = object.__new__(sagemaker._Run), [1e9, 0.0]
    fake = SimpleNamespace(time=lambda: clock[0], monotonic=lambda: clock[1])
    monkeypatch.setattr(sagemaker, "time", fake)
    run.spent_before = run.started = run.counted = 0.0
    run.followed_until = 1e9
    begun = datetime.fromtimestamp(1e9, UTC)
    for awake, asleep in ((3600, 0), (3600, 0), (3600, 0), (10, 7200)):
        clock[:] = [clock[0] + awake + asleep, clock[1] + awake]
        run._count_time_alone(begun, None)
    assert run._elapsed() == 5 * 3600 + 10
