"""The backend against the emulator: what a person meets between launch and report."""

import time

import pytest
from optuna.trial import TrialState

from tests.aws.conftest import jobs_once
from tests.emulator.server import BUCKET
from tuner.backends import Outcome
from tuner.errors import SweepFailed

NO_DEFAULT = {"start_with_default": False}
QUICK = {"trials": 2, "parallel": 2}


def test_trial_has_the_facts_that_only_aws_knows(run_on_aws, emulator):
    outcome, ledger = run_on_aws(
        sagemaker={"usd_per_hour": 3.6, "spot": True}, search=NO_DEFAULT, budget=QUICK
    )
    assert outcome is Outcome.FINISHED
    for t in ledger.read_trials():
        job = emulator.service.training[t.user_attrs["training_job"]].describe()
        assert t.user_attrs["tuning_job"] in emulator.service.tuning
        assert t.user_attrs["wall_seconds"] == job["TrainingTimeInSeconds"]
        assert t.user_attrs["billable_seconds"] == job["BillableTimeInSeconds"]
        assert t.user_attrs["cost_usd"] == pytest.approx(job["BillableTimeInSeconds"] / 1000)
        assert t.user_attrs["log"].startswith("/aws/sagemaker/TrainingJobs/toy-")
        assert t.user_attrs["instance"] == "1 x ml.g4dn.xlarge"
        assert t.user_attrs["model_uri"].startswith(f"s3://{BUCKET}/tuner/output/toy-")
        assert isinstance(t.params["depth"], int)
        assert isinstance(t.params["rate"], float)
        # The log's value in double precision, not the API's in single.
        assert t.value == t.user_attrs["metrics"]["score"]
        assert abs(t.value - emulator.service.training[t.user_attrs["training_job"]].objective) > 0


def test_one_describe_an_interval_and_one_list_where_something_changed(run_on_aws, emulator):
    run_on_aws(search=NO_DEFAULT, budget=QUICK, sagemaker={"poll_seconds": 0.5})
    described = emulator.count("DescribeHyperParameterTuningJob")
    tuning_job = next(iter(emulator.service.tuning.values()))
    assert described <= (tuning_job.ended - tuning_job.created) / 0.5 + 4
    assert emulator.count("ListTrainingJobsForHyperParameterTuningJob") <= 6
    assert emulator.count("DescribeTrainingJob") == 2


def test_what_goes_wrong_in_a_trial_is_a_record_with_its_reason(run_on_aws):
    modes = ["well", "fails", "silent", "nan", "killed"]
    outcome, ledger = run_on_aws(
        space={"mode": {"choice": modes, "default": "well"}}, fixed={"rate": 0.001},
        search={"sampler": "grid"}, budget={"trials": 5, "parallel": 2},
    )  # fmt: skip
    assert outcome is Outcome.FINISHED
    by_mode = {t.params["mode"]: t for t in ledger.read_trials("search")}
    ways = {mode: t.user_attrs["chosen_by"] for mode, t in by_mode.items()}
    assert ways == dict.fromkeys(modes, "grid") | {"well": "default"}
    assert by_mode["well"].state == TrialState.COMPLETE
    assert {t.state for m, t in by_mode.items() if m != "well"} == {TrialState.FAIL}
    assert by_mode["fails"].user_attrs["failure"] == "this configuration cannot work"
    assert "some context" in by_mode["fails"].user_attrs["stderr_tail"]
    assert "without printing" in by_mode["silent"].user_attrs["failure"]
    assert "without printing" in by_mode["nan"].user_attrs["failure"]
    assert "ExecuteUserScriptError" in by_mode["killed"].user_attrs["failure"]


@pytest.mark.slow
def test_five_failures_without_a_success_end_the_sweep_with_amts_reason(run_on_aws):
    with pytest.raises(SweepFailed, match=r"none succeeded.*5 attempts.*cannot work"):
        run_on_aws(fixed={"mode": "fails"}, budget={"trials": 20, "parallel": 5})


@pytest.mark.slow
def test_job_that_amt_stops_early_is_a_censored_trial(run_on_aws, emulator):
    """The median rule: the first configurations are good, the last is hopeless and slow."""
    order = iter([1e-3, 1.1e-3, 0.9e-3, 0.1])

    def choose(job):
        for container in (job.container,):
            container.request["HyperParameters"]["rate"] = str(rate := next(order))
            job.tuned["rate"] = container.request["HyperParameters"]["rate"]
            if rate == 0.1:
                container.request["HyperParameters"]["sleep"] = "3"

    emulator.service.on_start = choose
    _, ledger = run_on_aws(
        fixed={"depth": 1, "sleep": 0}, space={"rate": {"float": [1e-5, 0.2], "scale": "log"}},
        search=NO_DEFAULT, budget={"trials": 4, "parallel": 1},
    )  # fmt: skip
    last = ledger.read_trials()[-1]
    assert last.state == TrialState.PRUNED
    assert last.user_attrs["outcome"] == "pruned"
    assert set(last.intermediate_values) == {25}
    assert last.value == pytest.approx(-3.1)


def test_job_over_its_time_is_a_failure_that_says_so(run_on_aws):
    _, ledger = run_on_aws(
        fixed={"sleep": 30}, search=NO_DEFAULT, budget={"trials": 1},
        sagemaker={"max_hours": 2 / 3600},
    )  # fmt: skip
    (trial,) = ledger.read_trials()
    assert trial.user_attrs["failure"] == "ran longer than sagemaker.max_hours"


@pytest.mark.slow
def test_throttling_and_server_errors_are_waited_out(run_on_aws, emulator, capsys):
    emulator.throttle.update(
        DescribeHyperParameterTuningJob=3, ListTrainingJobsForHyperParameterTuningJob=1,
        DescribeTrainingJob=1, CreateHyperParameterTuningJob=1,
    )  # fmt: skip
    emulator.broken.update(DescribeHyperParameterTuningJob=1)
    outcome, ledger = run_on_aws(search=NO_DEFAULT, budget=QUICK)
    assert outcome is Outcome.FINISHED
    assert len(jobs_once(ledger, emulator)) == 2
    assert not emulator.throttle.total()


def test_no_permission_for_logs_costs_the_curves_only(run_on_aws, emulator, monkeypatch, capsys):
    from botocore.exceptions import ClientError

    from tuner.aws import jobs
    from tuner.aws.session import speaking

    def refused(aws, job):
        with speaking("logs:DescribeLogStreams"):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "x")

    monkeypatch.setattr(jobs, "read_log", refused)
    outcome, ledger = run_on_aws(search=NO_DEFAULT, budget=QUICK)
    assert outcome is Outcome.FINISHED
    assert capsys.readouterr().out.count("may not logs:DescribeLogStreams") == 1
    for t in ledger.read_trials():
        assert t.value == pytest.approx(
            emulator.service.training[t.user_attrs["training_job"]].objective
        )


def test_spot_interruption_goes_on_from_the_trials_own_checkpoint(run_on_aws, emulator, tmp_path):
    """The toy counts its starts in CHECKPOINT_DIR; the machine is taken away once."""
    script = tmp_path / "spot.py"
    script.write_text(
        "import argparse, json, os, pathlib, time\n"
        "p = argparse.ArgumentParser(); p.add_argument('--rate', type=float)\n"
        "p.add_argument('--seed'); rate = p.parse_args().rate\n"
        "own = pathlib.Path(os.environ['CHECKPOINT_DIR'], os.environ['TRAINING_JOB_NAME'])\n"
        "own.mkdir(parents=True, exist_ok=True); state = own / 'step'\n"
        "first = int(state.read_text()) + 1 if state.exists() else 1\n"
        "for i in range(first, 5):\n"
        "    print(json.dumps({'fraction': i / 4, 'score': rate, 'began_at': first}), flush=True)\n"
        "    part = own / 'part'; part.write_text(str(i)); part.replace(state); \n"
        "    time.sleep(60 if (first, i) == (1, 2) else 0)\n"  # held until its machine is taken away
    )

    def take_away(job):
        def later():
            while not job.container.history.get("score") or len(job.container.history["score"]) < 2:
                time.sleep(0.05)
            job.container.interrupt()

        import threading

        threading.Thread(target=later, daemon=True).start()

    emulator.service.on_start = take_away
    _, ledger = run_on_aws(
        script=str(script), space={"rate": {"float": [0.1, 1.0]}}, sagemaker={"spot": True},
        search=NO_DEFAULT, budget={"trials": 1},
    )  # fmt: skip
    (trial,) = ledger.read_trials()
    (job,) = emulator.service.training.values()
    assert job.interruptions == 1
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["metrics"]["began_at"] > 1
    assert set(trial.intermediate_values) == {25, 50, 75, 100}


BROKEN = {
    "sagemaker.role": ("is missing", [], {"SAGEMAKER_ROLE": ""}),
    "space.rate": ("AMT knows no steps", ["space.rate={float: [0.0, 1.0], step: 0.5}"], {}),
    "search.sampler": ("qmc has no counterpart", ["search.sampler=qmc"], {}),
    "instance": ("ml.nonsense", ["sagemaker.instance_type=ml.nonsense"], {}),
    "budget.trials": ("751 is more than the 750", ["budget.trials=751"], {}),
}


def test_broken_sweeps_give_different_errors_and_not_one_request(
    aws_sweep, emulator, tuner, monkeypatch
):
    path, seen = aws_sweep(), set()
    for expected, settings, environment in BROKEN.values():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            words = [word for setting in settings for word in ("--set", setting)]
            said = tuner("plan" if len(seen) % 2 else "run", path, *words)
            assert said.returncode == 2, said.stdout
            assert expected in said.stderr
            assert "Traceback" not in said.stderr
            seen.add(said.stderr)
    assert len(seen) == 5
    assert emulator.count() == 0
    assert emulator.all_requests == 0


@pytest.mark.parametrize(
    ("environment", "sagemaker", "sentence"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, {}, "no AWS credentials were found: run `aws configure`"),
        ({"AWS_DEFAULT_REGION": None}, {}, "no AWS region is set: add region:"),
        ({"AWS_PROFILE": "nobody"}, {}, "nobody"),
        ({}, {"bucket": "not-there"}, "the bucket not-there does not exist: make it with"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {}, "AWS does not answer"),
    ],
)
def test_what_is_missing_at_aws_is_one_sentence(
    aws_sweep, emulator, tuner, monkeypatch, tmp_path, environment, sagemaker, sentence
):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    said = tuner("run", aws_sweep(sagemaker))
    assert said.returncode == (1 if "AWS_ENDPOINT_URL" in environment else 2), said.stdout
    assert sentence in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
