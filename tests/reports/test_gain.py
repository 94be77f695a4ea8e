"""Whether a search may end: what could still be gained, against the noise between seeds."""

import math

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from reports.gain import FEWEST_TRIALS, gain_left

RATE, OTHER = FloatDistribution(1e-5, 1e-1, log=True), FloatDistribution(0, 1)


def study_of(function, count, noise, seed=0, low=-5.0, high=-1.0):
    """Trials all over the space, or with rates between 10^low and 10^high alone."""
    rng, study = np.random.default_rng(seed), optuna.create_study(direction="maximize")
    for _ in range(count):
        params = {"rate": 10 ** rng.uniform(low, high), "other": rng.uniform()}
        study.add_trial(
            create_trial(
                params=params, distributions={"rate": RATE, "other": OTHER},
                value=function(params) + noise * rng.standard_normal(),
                user_attrs={"purpose": "search", "chosen_by": "random"},
            )
        )  # fmt: skip
    return study


def hill(params):
    return -((math.log10(params["rate"]) + 3) ** 2)


def test_nothing_is_left_where_nothing_matters_or_the_top_is_found():
    for function in (lambda p: 0.0, hill):
        left = gain_left(study_of(function, 40, noise=0.5, seed=4))
        assert left.is_nothing, left
        assert left.sentence.startswith("nothing left to gain: after 40 finished search trials")


def test_much_is_left_where_only_the_foot_was_seen():
    """All rates were tried below 1e-4, and the score rises towards the rest of the range."""
    left = gain_left(study_of(hill, 20, noise=0.1, high=-4.0))
    assert not left.is_nothing
    assert left.gain.high > 0.5


def test_without_noise_the_search_goes_on():
    left = gain_left(study_of(hill, 12, noise=0.0))
    assert not left.is_nothing
    assert left.noise_sd < 0.5


def test_what_the_model_does_not_foresee_is_not_called_seed_noise():
    """Sixty waves within the range: no trial says anything of the next."""
    left = gain_left(study_of(lambda p: math.sin(60 * p["other"]), 16, noise=0.002))
    assert not left.foresees
    assert "what no hyperparameter explains" in left.sentence
    assert "another seed alone" not in left.sentence


def test_few_trials_say_nothing():
    assert gain_left(study_of(hill, FEWEST_TRIALS - 1, noise=0.1)) is None


def test_trials_of_an_earlier_run_help():
    """What is found by ten trials alone is less sure than with sixty of the run before."""
    now, before = study_of(hill, 10, noise=0.5, seed=1), study_of(hill, 60, noise=0.5, seed=2)
    alone = gain_left(now)
    now.set_user_attr(
        "warm", {"trials": [{"params": t.params, "value": t.value} for t in before.trials]}
    )
    assert gain_left(now).chance < alone.chance
    assert gain_left(now).is_nothing
