"""What an analysis says of studies whose answer is known, and of those that have none."""

import json
import math
import time
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from reports import ReportError, analyze
from reports.analysis import _fixable
from reports.sections import sensitivity
from reports.sensitivity.axis import Axis
from reports.sensitivity.interval import Interval
from reports.sensitivity.terms import Terms
from reports.trials import read_table
from reports.view import _active, _folds, _switches

RATE = FloatDistribution(1e-5, 1e-3, log=True)
UNIT = FloatDistribution(0.0, 1.0)


def study_of(trials, direction="maximize"):
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def one(value, params, distributions, state=TrialState.COMPLETE, curve=(), **attributes):
    return create_trial(
        state=state, value=value, params=params, distributions=distributions,
        intermediate_values=dict(curve), user_attrs=attributes,
    )  # fmt: skip


def planted(count, noise=0.02, seed=0, sign=1.0, seeds=1):
    """The rate decides (a hill at 2.5e-4), the depth adds a little, `dummy` does nothing."""
    rng = np.random.default_rng(seed)
    space = {"rate": RATE, "depth": IntDistribution(1, 4), "dummy": UNIT}
    trials = []
    for _ in range(count):
        u = rng.random()
        params = {"rate": float(1e-5 * 100**u), "depth": int(rng.integers(1, 5)),
                  "dummy": float(rng.random())}  # fmt: skip
        true = 0.6 + 0.3 * math.exp(-(((u - 0.7) / 0.3) ** 2)) + 0.01 * params["depth"]
        for s in range(seeds):
            scored = sign * (true + noise * rng.standard_normal())
            extra = {"chosen_by": "random", "seed": s}
            if s:
                extra = {"purpose": "confirm", "confirms": len(trials) - s, "seed": s}
            trials.append(one(scored, params, space, **extra))
    return trials


@pytest.fixture(scope="module")
def result():
    return analyze(study_of(planted(60)), seed=0)


def test_the_parameter_that_decides_matters_and_a_dummy_does_not(result):
    assert result.parameters["rate"].verdict == "matters"
    assert result.parameters["rate"].total.low > 0.8
    assert result.parameters["dummy"].verdict == "hardly matters"
    assert "matters: it causes" in result.parameters["rate"].sentence


def test_the_safe_range_holds_the_best_rate_and_not_the_ends(result):
    safe = result.parameters["rate"].safe_range
    assert 1e-5 < safe.low < 2.5e-4 < safe.high < 1e-3
    assert result.parameters["dummy"].safe_range.reaches_end == (True, True)


def test_the_surrogates_trust_noise_and_ceiling_agree_with_what_was_planted(result):
    assert result.fit.trusted
    assert result.fit.r2.estimate > 0.85
    assert result.fit.ceiling.low > 0.9
    assert result.noise_sd.low <= 0.02 <= result.noise_sd.high
    assert result.noise_from == "the model of the score alone"


def test_the_same_seed_gives_the_same_numbers_and_zero_is_a_seed(result):
    again = analyze(study_of(planted(60)), seed=0)
    assert again.to_dict() == result.to_dict()
    other = analyze(study_of(planted(60)), seed=1)
    assert other.to_dict() != result.to_dict()
    assert other.parameters["rate"].verdict == "matters"


def test_minimising_the_negative_gives_the_mirrored_answer(result):
    mirrored = analyze(planted(60, sign=-1.0), direction="minimize")
    assert mirrored.parameters["rate"].total.estimate == pytest.approx(
        result.parameters["rate"].total.estimate, abs=0.03
    )
    assert mirrored.odds.optimism.estimate == pytest.approx(result.odds.optimism.estimate, abs=0.01)
    safe, other = mirrored.parameters["rate"].safe_range, result.parameters["rate"].safe_range
    assert (safe.low, safe.high) == pytest.approx((other.low, other.high), rel=0.3)


def test_seed_noise_is_told_from_repeated_configurations():
    found = analyze(study_of(planted(12, noise=0.05, seed=1, seeds=3)))
    assert found.noise_from == "repeated configurations and the model of the score"
    assert found.fit.configurations == 12
    assert found.fit.finished == 36
    assert found.noise_sd.low <= 0.05 <= found.noise_sd.high


def test_pure_noise_is_withheld_and_says_what_to_do():
    rng = np.random.default_rng(6)
    trials = [
        one(float(rng.standard_normal()), {"a": float(rng.random()), "b": float(rng.random())},
            {"a": UNIT, "b": UNIT})
        for _ in range(20)
    ]  # fmt: skip
    found = analyze(study_of(trials))
    assert {p.verdict for p in found.parameters.values()} == {"cannot tell"}
    assert not found.fit.trusted
    assert found.parameters["a"].total is None
    assert "more trials" in found.parameters["a"].sentence


def test_when_every_trial_of_a_choice_was_pruned_that_choice_is_named():
    """Optuna drops pruned trials and names f2 (share .996)."""
    rng = np.random.default_rng(7)
    space = {"f1": CategoricalDistribution(("A", "B")), "f2": UNIT}
    trials = []
    for i in range(40):
        params = {"f1": "AB"[i % 2], "f2": float(rng.random())}
        final = (0.5 if params["f1"] == "A" else 0.8) + 0.05 * params["f2"]
        final += 0.01 * rng.standard_normal()
        curve = [(25, final - 0.1), (50, final - 0.05), (100, final)]
        if params["f1"] == "A":
            trials.append(one(None, params, space, TrialState.PRUNED, curve[:1]))
        else:
            trials.append(one(final, params, space, curve=curve))
    found = analyze(study_of(trials))
    assert found.parameters["f1"].verdict == "matters"
    assert found.parameters["f1"].total.estimate > 0.8
    assert found.fit.pruned == 20
    with_optuna = optuna.importance.get_param_importances(study_of(trials))
    assert with_optuna["f2"] > with_optuna["f1"]


def test_what_makes_trials_fail_stands_beside_the_score():
    trials = planted(40)
    space = trials[0].distributions
    rng = np.random.default_rng(8)
    for _ in range(12):
        params = {
            "rate": float(10 ** rng.uniform(-3.3, -3)),
            "depth": 2,
            "dummy": float(rng.random()),
        }
        trials.append(one(None, params, space, TrialState.FAIL))
    trials = [t for t in trials if t.state == TrialState.FAIL or t.params["rate"] < 5e-4]
    found = analyze(study_of(trials))
    assert found.failures.failed == 12
    assert "more often with some values of rate: at " in found.failures.sentence


def test_a_conditional_parameter_is_analysed_where_it_exists():
    rng = np.random.default_rng(9)
    kind, share = CategoricalDistribution(("linear", "warm")), UNIT
    trials = []
    for i in range(60):
        params = {"kind": ("linear", "warm")[i % 2]}
        space = {"kind": kind}
        score = 0.1 * (i % 2)
        if i % 2:
            params["warmup"] = float(rng.random())
            space["warmup"] = share
            score += 0.5 * params["warmup"]
        trials.append(one(score + 0.02 * rng.standard_normal(), params, space))
    found = analyze(study_of(trials))
    warmup = found.parameters["warmup"]
    assert warmup.conditional
    assert warmup.active_in == 30
    assert warmup.total.low > 0.99
    assert "(in the 30 of 60 trials where it exists)" in warmup.sentence
    assert found.parameters["kind"].verdict == "matters"


def test_pure_noise_of_one_parameter_does_not_matter_and_does_not_crash():
    """A share of the hyperparameters' variance is all of it where there is one parameter."""
    verdicts = []
    for seed in range(12, 24):
        rng = np.random.default_rng(seed)
        trials = [
            one(float(rng.standard_normal()), {"a": float(rng.random())}, {"a": UNIT})
            for _ in range(30)
        ]
        verdicts.append(analyze(study_of(trials), seed=seed).parameters["a"].verdict)
    assert verdicts.count("matters") <= 2


def test_a_parameter_of_no_finished_trial_is_not_judged():
    trials = planted(24)
    space = trials[0].distributions | {"opt": UNIT}
    trials.append(one(None, trials[0].params | {"opt": 0.5}, space, TrialState.FAIL))
    opt = analyze(study_of(trials)).parameters["opt"]
    assert opt.verdict == "cannot tell"
    assert opt.sentence == "No finished trial had opt: nothing can be said of it."


def test_a_choice_with_a_branch_of_its_own_is_seen():
    """All trials without the parameter are one configuration; they are not left out whole."""
    rng = np.random.default_rng(13)
    kind = CategoricalDistribution(("none", "sgd"))
    trials = []
    for i in range(60):
        params, space, score = {"kind": ("none", "sgd")[i % 2]}, {"kind": kind}, 0.0
        if i % 2:
            params["x"], space["x"] = float(rng.random()), UNIT
            score = 1 + params["x"]
        trials.append(one(score + 0.05 * rng.standard_normal(), params, space))
    found = analyze(study_of(trials))
    assert found.parameters["kind"].verdict == "matters"
    assert found.parameters["x"].total.low > 0.99


def test_a_configuration_is_left_out_with_all_its_seeds_however_many():
    """A quarter of all runs are one point's: what it scored on other seeds would foresee it."""
    group_N = np.repeat([0, 1, 2, 3, 4, 5], [20, 20, 20, 7, 7, 6])
    positions_ND = np.stack([group_N / 5, np.ones(80)], axis=1)
    assert (_folds(group_N, positions_ND) == group_N).all()
    positions_ND[group_N == 0, 1] = np.nan  # a choice without that parameter
    fold_N = _folds(group_N, positions_ND)
    assert len(set(fold_N[:20])) == 20
    assert (fold_N[20:] == group_N[20:]).all()


def test_shares_are_over_the_declared_choices_however_often_each_was_tried():
    axes = [Axis("kind", choices=("none", "sgd")), Axis("x", 0.0, 1.0)]
    kind_N = np.array([0.0] * 5 + [1.0] * 45)
    positions_ND = np.stack([kind_N, np.where(kind_N == 1, np.linspace(0, 1, 50), np.nan)], axis=1)
    assert _switches(axes, positions_ND) == {(0, 1)}
    terms = Terms(axes)
    part_P = _active(axes, terms, positions_ND)
    assert part_P[terms.uses_DP[1]] == pytest.approx(0.5)
    assert part_P[~terms.uses_DP[1]] == pytest.approx(1.0)


def test_what_one_choice_switches_on_does_not_switch_each_other():
    """Under adam there are a schedule and a momentum, under sgd a decay."""
    rng = np.random.default_rng(3)
    axes = [Axis("kind", choices=("sgd", "adam")), Axis("schedule", choices=tuple("abcd")),
            Axis("momentum", 0.0, 1.0), Axis("decay", 0.0, 1.0)]  # fmt: skip
    kind_N = np.arange(40) % 2
    under_adam, nan = kind_N == 1, np.nan
    positions_ND = np.stack(
        [kind_N, np.where(under_adam, rng.integers(0, 4, 40), nan),
         np.where(under_adam, rng.random(40), nan), np.where(under_adam, nan, rng.random(40))], axis=1,
    )  # fmt: skip
    assert _switches(axes, positions_ND) == {(0, 1), (0, 2), (0, 3)}
    terms = Terms(axes)
    part_P = _active(axes, terms, positions_ND)
    of_momentum = terms.uses_DP[2] & ~terms.uses_DP[3]
    assert part_P[of_momentum] == pytest.approx(0.5)


def test_a_choice_and_what_it_switches_on_have_no_interaction():
    rng = np.random.default_rng(13)
    space = {"kind": CategoricalDistribution(("none", "sgd")), "x": UNIT, "y": UNIT}
    trials = []
    for i in range(40):
        params = {"kind": ("none", "sgd")[i % 2], "y": float(rng.random())}
        if i % 2:
            params["x"] = float(rng.random())
        score = params.get("x", 0.5) + params["y"] * (i % 2) + 0.01 * rng.standard_normal()
        trials.append(one(score, params, {n: space[n] for n in params}))
    pairs = {frozenset(pair.names) for pair in analyze(study_of(trials)).interactions}
    assert pairs == {frozenset({"kind", "y"}), frozenset({"x", "y"})}


def test_what_hardly_matters_alone_is_only_fixed_where_it_hardly_matters_together():
    """Twelve of 6 % each: two of them at most 9 % together, all of them everything."""
    share, safe = Interval(0.06, 0.04, 0.08), object()
    parameters = {
        f"p{i}": SimpleNamespace(name=f"p{i}", verdict="hardly matters", safe_range=safe, total=share)
        for i in range(12)
    }  # fmt: skip
    together = SimpleNamespace(together=lambda names: Interval(0, 0, 0.045 * len(names)))
    names, joint = _fixable(parameters, together)
    assert (names, joint.high) == (["p0", "p1"], pytest.approx(0.09))


def test_the_share_of_several_together_is_at_most_the_sum_of_theirs(result):
    assert result.fixable == ["dummy", "depth"]
    totals = [result.parameters[name].total for name in result.fixable]
    assert max(t.estimate for t in totals) < result.fixable_share.estimate
    assert result.fixable_share.high <= sum(t.high for t in totals) < 0.1


def test_points_outside_the_declared_space_are_left_out():
    trials = planted(40)
    space = trials[0].distributions
    away = {"rate": 1e-4, "depth": 2, "dummy": 0.5}
    far = [one(-5.0, away | {"dummy": 0.5}, space) for _ in range(2)]
    for t in far:
        t.params = away | {"dummy": 7.0}
    found = analyze(trials + far, direction="maximize")
    assert found.fit.finished == 40
    assert found.outside == 2
    assert (
        "(2 outside the declared space are left out)"
        in sensitivity.draw(found.to_dict()).sentences[0]
    )
    assert found.parameters["rate"].verdict == "matters"


def test_expected_best_is_given_for_random_search_and_refused_for_adaptive():
    random = analyze(study_of(planted(20)))
    assert len(random.best_of_n.expected) == 20
    trials = planted(20)
    for t in trials:
        t.set_user_attr("chosen_by", "adaptive")
    refused = analyze(study_of(trials))
    assert refused.best_of_n is None
    assert "not all trials were random (adaptive)" in refused.best_of_n_refused
    for t in trials:
        t.set_user_attr("chosen_by", "unknown")
    assert "not recorded" in analyze(study_of(trials)).best_of_n_refused
    pruned = one(None, trials[0].params, trials[0].distributions, TrialState.PRUNED, [(25, 0.5)],
                 chosen_by="random")  # fmt: skip
    found = analyze(study_of([*planted(20), pruned]))
    assert found.best_of_n is None
    assert "what the pruned trials would have scored is not known" in found.best_of_n_refused


def test_the_path_leads_from_the_default_to_the_winner():
    trials = planted(40)
    trials[0].set_user_attr("chosen_by", "default")
    found = analyze(study_of(trials))
    assert {step.parameter for step in found.path} <= {"rate", "depth", "dummy"}
    gains = [step.gain.estimate for step in found.path]
    assert sum(gains) == pytest.approx(found.odds.over_default.estimate, abs=0.02)
    assert found.path[0].gain.estimate == max(gains)


EMPTY = {
    "no trial at all": [],
    "one trial": planted(1),
    "all failed": [
        one(None, {"a": 0.1 * i}, {"a": UNIT}, TrialState.FAIL) for i in range(9)
    ],
    "all pruned": [
        one(None, {"a": 0.1 * i}, {"a": UNIT}, TrialState.PRUNED, [(1, 0.5)]) for i in range(9)
    ],
    "constant": [one(0.5, {"a": 0.05 * i}, {"a": UNIT}) for i in range(20)],
    "constant, and not exact in binary": [one(0.1, {"a": 0.05 * i}, {"a": UNIT}) for i in range(20)],
    "one configuration, many seeds": [
        one(0.5 + 0.01 * i, {"a": 0.5}, {"a": UNIT}) for i in range(20)
    ],
    "no parameter, and failures": [
        one(None if i % 2 else 0.1 * i, {}, {}, TrialState.FAIL if i % 2 else TrialState.COMPLETE)
        for i in range(12)
    ],
    "scores beyond all measure": [one(1e300 * i, {"a": 0.05 * i}, {"a": UNIT}) for i in range(12)],
    "no parameter": [one(0.1 * i, {}, {}) for i in range(12)],
    "one value only": [
        one(0.1 * i, {"a": 0.5}, {"a": FloatDistribution(0.5, 0.5)}) for i in range(12)
    ],
}  # fmt: skip


@pytest.mark.parametrize("trials", EMPTY.values(), ids=EMPTY)
def test_trials_that_carry_nothing_give_a_defined_answer(trials):
    study = study_of(trials)
    found = analyze(study)
    assert not found.fit.trusted
    assert found.fit.reason
    assert {p.verdict for p in found.parameters.values()} <= {"cannot tell", "one value"}
    json.dumps(found.to_dict(), allow_nan=False)
    drawing = sensitivity.draw(found.to_dict())
    assert drawing.sentences[0].startswith("Shares are withheld")


def test_one_parameter_and_duplicate_configurations():
    rng = np.random.default_rng(10)
    trials = [
        one(u + 0.02 * rng.standard_normal(), {"a": u}, {"a": UNIT})
        for u in np.repeat(np.linspace(0, 1, 10), 3).tolist()
    ]
    found = analyze(study_of(trials))
    assert found.parameters["a"].total.low > 0.99
    assert found.fit.configurations == 10


def test_a_score_that_is_not_finite_is_a_failure():
    trials = planted(20)
    trials.append(one(None, trials[0].params, trials[0].distributions, TrialState.FAIL))
    trials.append(one(math.inf, trials[0].params, trials[0].distributions))
    found = analyze(study_of(trials))
    assert found.fit.finished == 20
    assert found.failures.failed == 2


def test_thirty_parameters_are_ranked_in_seconds():
    rng = np.random.default_rng(11)
    space = {f"p{j:02}": UNIT for j in range(30)}
    trials = []
    for _ in range(80):
        params = {name: float(rng.random()) for name in space}
        score = 2 * params["p03"] + params["p17"] + 0.2 * rng.standard_normal()
        trials.append(one(score, params, space))
    start = time.process_time()
    found = analyze(study_of(trials))
    assert time.process_time() - start < 150  # 12 s on a quiet machine
    order = sorted(found.parameters.values(), key=lambda p: -p.total.estimate)
    assert [p.name for p in order[:2]] == ["p03", "p17"]


def test_a_list_of_trials_needs_its_direction():
    with pytest.raises(ReportError, match="direction="):
        analyze(planted(3))


def test_the_section_says_each_parameter_in_a_sentence_and_draws_it(result):
    drawing = sensitivity.draw(result.to_dict())
    text = " ".join(drawing.sentences)
    assert "rate matters: it causes" in text
    assert "dummy hardly matters" in text
    assert "Seed noise is" in text
    names = [trace.name for trace in drawing.figures[0].figure.data]
    assert names[0] == "matters"
    assert names[-2:] == ["alone, without the others", "seed noise, of all variance"]
    assert drawing.figures[0].table.caption.startswith("Shares of the variance")


def test_the_table_has_the_step_between_levels():
    table = read_table(study_of(planted(3)))
    assert {c.name: c.step for c in table.columns} == {"rate": None, "depth": 1.0, "dummy": None}
