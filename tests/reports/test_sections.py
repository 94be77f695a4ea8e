"""What the report's sections say, held against sweeps whose truth is known."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from reports import advice, read_table
from reports.render import compute_report
from reports.sections import SECTIONS
from reports.sections.drawing import Linked, thinned
from reports.sensitivity.result import Parameter
from reports.sensitivity.verdict import CANNOT_TELL

RATE = FloatDistribution(1e-5, 1e-3, log=True)
UNIT = FloatDistribution(0.0, 1.0)


def one(value, params, space, state=TrialState.COMPLETE, curve=(), **attributes):
    return create_trial(
        state=state, value=value, params=params, distributions={n: space[n] for n in params},
        intermediate_values=dict(curve), user_attrs=attributes,
    )  # fmt: skip


def study_of(trials, direction="maximize", **attributes):
    study = optuna.create_study(direction=direction, study_name="known")
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    study.add_trials(trials)
    return study


def hill(rate, depth, dummy):
    """A hill over the log rate at 2.5e-4; depth 1 to 4 adds 0.05 each; `dummy` nothing."""
    return 0.4 + 0.3 * math.exp(-(((math.log10(rate) + 3.6) / 0.5) ** 2)) + 0.05 * depth


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(1)
    space = {"rate": RATE, "depth": IntDistribution(1, 4), "dummy": UNIT}
    trials = [one(hill(1e-5, 1, 0.5), {"rate": 1e-5, "depth": 1, "dummy": 0.5}, space,
                  chosen_by="default", wall_seconds=10.0)]  # fmt: skip
    for i in range(60):
        params = {"rate": float(1e-5 * 100 ** rng.random()), "depth": int(rng.integers(1, 5)),
                  "dummy": float(rng.random())}  # fmt: skip
        score = hill(**params) + 0.01 * float(rng.standard_normal())
        trials.append(one(score, params, space, chosen_by="random", wall_seconds=20.0 + i, seed=i))
    best = max(range(61), key=lambda i: trials[i].value)
    for of in (0, best):
        for seed in range(3):
            score = hill(**trials[of].params) + 0.01 * float(rng.standard_normal())
            trials.append(one(score, trials[of].params, space, purpose="confirm", confirms=of,
                              seed=1000 + seed, chosen_by="confirmation"))  # fmt: skip
    return study_of(trials)


@pytest.fixture(scope="module")
def report(study):
    return compute_report(read_table(study))["sections"]


def drawn(report, name):
    section = next(s for s in SECTIONS if name == s.NAME)
    return section.draw(report[name])


def texts(drawing):
    return [s.text if isinstance(s, Linked) else s for s in [*drawing.sentences, *drawing.steps]]


def test_the_curve_along_a_hyperparameter_is_its_mean_over_the_others(report):
    rate = next(p for p in report["effects"]["parameters"] if p["column"]["name"] == "rate")
    effect = rate["effect"]
    grid = np.geomspace(1e-5, 1e-3, 400)
    bump = [
        np.interp(math.log(v), np.log(grid), [hill(g, 0, 0) for g in grid])
        for v in effect["values"]
    ]
    true = np.array(bump) + 0.05 * 2.5
    inside = (np.array(effect["low"]) <= true) & (true <= np.array(effect["high"]))
    assert inside.mean() > 0.8
    assert np.abs(np.array(effect["middle"]) - true).max() < 0.03


def test_the_curve_around_the_winner_goes_through_its_score(report):
    rate = next(p for p in report["robustness"]["parameters"] if p["column"]["name"] == "rate")
    winner = report["winner"]["winner"]["params"]
    at = np.interp(
        math.log(winner["rate"]), np.log(rate["curve"]["values"]), rate["curve"]["middle"]
    )
    assert at == pytest.approx(hill(**winner), abs=0.02)
    assert rate["safe_range"]["low"] <= winner["rate"] <= rate["safe_range"]["high"]


def test_a_winner_that_the_model_does_not_favour_is_shown_with_its_chance(report):
    section = report["winner"]
    number = section["winner"]["number"]
    score = {"estimate": 0.9, "low": 0.8, "high": 1.0, "level": 0.9}
    chances = {number + 1: 0.6, number + 2: 0.3, number: 0.04}
    contenders = [{"trial": t, "probability_best": p, "score": score} for t, p in chances.items()]
    odds = section["odds"] | {"contenders": contenders}
    told = drawn(report | {"winner": section | {"odds": odds}}, "winner")
    assert any(f"The winner, trial {number}, has 4% there." in s for s in texts(told))
    (table,) = [t for t in told.tables if "is the best" in t.caption]
    assert [row[0] for row in table.rows] == list(chances)
    first = odds | {"contenders": contenders[::-1]}
    told = drawn(report | {"winner": section | {"odds": first}}, "winner")
    assert not any("there. It is named by" in s for s in texts(told))


def test_an_interaction_is_mapped_where_there_is_one():
    rng = np.random.default_rng(2)
    space = {"a": UNIT, "b": UNIT, "c": UNIT}
    trials = []
    for _ in range(80):
        params = {name: float(rng.random()) for name in space}
        score = 4 * (params["a"] - 0.5) * (params["b"] - 0.5) + 0.05 * rng.standard_normal()
        trials.append(one(float(score), params, space))
    report = compute_report(read_table(study_of(trials)))["sections"]
    found = report["interactions"]["maps"][0]
    assert set(found["names"]) == {"a", "b"}
    first, second = (np.array(v) for v in found["values"])
    true = 4 * np.outer(second - 0.5, first - 0.5)
    assert np.abs(np.array(found["middle"]) - true).mean() < 0.1
    assert len(drawn(report, "interactions").figures) == len(report["interactions"]["maps"])


def test_no_interaction_is_claimed_where_there_is_none(report):
    assert report["interactions"]["has_pairs"]
    assert report["interactions"]["maps"] == []
    shares = [p["share"]["low"] for p in report["sensitivity"]["interactions"]]
    assert len(shares) == 3
    assert all(low < 0.02 for low in shares)
    assert "No two hyperparameters are seen" in texts(drawn(report, "interactions"))[0]


def test_where_pairs_are_not_modelled_nothing_is_excluded():
    rng = np.random.default_rng(2)
    wide = {f"p{n}": CategoricalDistribution([f"v{i}" for i in range(n)]) for n in (45, 46)}
    for space, words in (
        (wide, "too many values for a model"),
        ({"a": UNIT}, "There is one hyperparameter, and so no pair"),
    ):
        trials = []
        for _ in range(150):
            at = {name: rng.random() for name in space}
            params = {
                name: u if d is UNIT else d.choices[int(u * len(d.choices))]
                for (name, d), u in zip(space.items(), at.values(), strict=True)
            }
            score = sum((u > 0.5) for u in at.values()) + 0.02 * rng.standard_normal()
            trials.append(one(score, params, space))
        report = compute_report(read_table(study_of(trials)))["sections"]
        assert words in texts(drawn(report, "interactions"))[0]


def test_a_range_that_ends_at_nothing_is_not_to_be_widened_below_it():
    rng = np.random.default_rng(3)

    def advice_for(low):
        space = {"a": FloatDistribution(low, low + 1.0)}
        trials = []
        for x in [*rng.random(40), 0.004]:
            score = 0.9 - 0.5 * x + 0.01 * rng.standard_normal()
            trials.append(one(score, {"a": float(low + x)}, space))
        report = compute_report(read_table(study_of(trials)))["sections"]
        return " ".join(step["text"] for step in report["summary"]["next"])

    assert "Widen a beyond its lower end" in advice_for(0.5)
    assert "Widen" not in advice_for(0.0)
    epochs, rate = (advice.Column("x", kind, low=1, high=5) for kind in ("int", "float"))
    assert not advice._may_widen(epochs, "lower")
    assert advice._may_widen(rate, "lower")
    assert advice._may_widen(epochs, "upper")


def test_the_summary_says_what_matters_and_what_to_do(report):
    said = " ".join(texts(drawn(report, "summary")))
    assert "What matters, with its share of the variance that hyperparameters cause: rate" in said
    assert "What hardly matters: dummy." in said
    assert "Fix dummy at" in said
    assert "Narrow rate to between" in said
    assert "Widen depth beyond its upper end: the winner's 4 lies there" in said
    assert "61 search trials (61 finished); 6 confirmation runs (6 finished)" in said


def test_every_sentence_of_the_summary_leads_to_a_section(report):
    names = {s.NAME for s in SECTIONS}
    drawing = drawn(report, "summary")
    assert {s.section for s in [*drawing.sentences, *drawing.steps]} <= names


def test_an_unconfirmed_winner_is_to_be_confirmed_first():
    space = {"a": UNIT}
    trials = [one(0.5 + 0.1 * i, {"a": 0.1 * i}, space) for i in range(4)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert report["summary"]["next"][0]["text"].startswith("Run the best configurations again")


def test_seeds_that_cannot_tell_ask_for_about_as_many_as_it_takes():
    space = {"a": UNIT}
    trials = [one(0.80, {"a": 0.1}, space, chosen_by="default"), one(0.82, {"a": 0.9}, space)]
    trials.append(one(0.70, {"a": 0.5}, space))
    for seed, (default, winner) in enumerate([(0.79, 0.82), (0.81, 0.80), (0.80, 0.82)]):
        trials += [
            one(default, {"a": 0.1}, space, purpose="confirm", confirms=0, seed=seed),
            one(winner, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=seed),
        ]
    report = compute_report(read_table(study_of(trials)))["sections"]
    step = report["summary"]["next"][0]["text"]
    # Student's interval is ±0.014 about 0.0133 (the default's search run counts); it shrinks with the root.
    assert step.startswith("Give the winner and the default about 4 fresh seeds each in all")


def test_one_evaluation_is_no_curve():
    space = {"a": UNIT}
    points = [one(0.8, {"a": i / 9}, space, curve={100: 0.8}) for i in range(3)]
    drawing = drawn(compute_report(read_table(study_of(points)))["sections"], "curves")
    assert texts(drawing) == ["Each trial was evaluated once, so there are no curves."]
    assert not drawing.figures


def test_only_the_lowest_numbers_of_further_trials_are_told_one_by_one():
    nothing = dict.fromkeys(("main", "total", "local", "safe_range", "effect", "around"))
    needed = {"a": 20, "b": 40, "c": 40, "d": 150, "e": 170, "f": 600, "g": None}
    parameters = [
        Parameter(name, verdict=CANNOT_TELL, sentence="", more_trials=number, active_in=9,
                  conditional=False, **nothing)
        for name, number in needed.items()
    ]  # fmt: skip
    [step] = advice._more(parameters)
    assert step.text == (
        "If it is worth knowing: about 20 more trials may tell whether a matters; about 40 more trials may "
        "tell whether b or c matters; about 150 more trials may tell whether d matters; e and f would take "
        "170 or more."
    )


def test_summary_and_winner_agree_on_whether_the_default_is_beaten():
    space = {"a": UNIT}
    trials = [one(0.78, {"a": 0.1}, space, chosen_by="default"), one(0.9, {"a": 0.9}, space)]
    trials.append(one(0.70, {"a": 0.5}, space))
    for seed, (default, winner) in enumerate([(0.81, 0.82), (0.79, 0.83)]):
        trials += [
            one(default, {"a": 0.1}, space, purpose="confirm", confirms=0, seed=seed),
            one(winner, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=seed),
        ]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert "the winner is better than the default" in " ".join(texts(drawn(report, "winner")))
    assert "to be sure which is better" not in " ".join(texts(drawn(report, "summary")))


def test_means_that_share_no_seed_are_not_called_the_best():
    space = {"a": UNIT}
    trials = [
        one(0.8, {"a": 0.1}, space), one(0.9, {"a": 0.9}, space),
        one(0.95, {"a": 0.1}, space, purpose="confirm", confirms=0, seed=10),
        one(0.5, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=11),
    ]  # fmt: skip
    report = compute_report(read_table(study_of(trials)))["sections"]
    text = " ".join(texts(drawn(report, "winner")))
    assert "best mean" not in text
    assert "have no seed in common" in text


def test_means_over_other_seeds_than_the_common_ones_are_said_to_be():
    space = {"a": UNIT}
    trials = [
        one(0.8, {"a": 0.1}, space, chosen_by="default"), one(0.9, {"a": 0.9}, space),
        one(0.81, {"a": 0.1}, space, purpose="confirm", confirms=0, seed=10),
        one(0.82, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=10),
        one(0.70, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=11),
    ]  # fmt: skip
    report = compute_report(read_table(study_of(trials)))["sections"]
    text = " ".join(texts(drawn(report, "winner")))
    assert "Trial 1 wins" in text
    assert "the best mean objective on the one that all have, its search run counted." in text


def test_where_all_ran_again_the_winner_is_the_best_on_all_of_its_runs():
    """Those are the runs that the interval against the default rests on, too."""
    space = {"a": UNIT}
    trials = [
        one(0.80, {"a": 0.1}, space, chosen_by="default"),
        one(0.70, {"a": 0.5}, space), one(0.86, {"a": 0.9}, space),
    ]  # fmt: skip
    fresh = [(0, 0.81), (1, 0.85), (2, 0.84)]
    trials += [
        one(score + 0.001 * seed, trials[of].params, space, purpose="confirm", confirms=of, seed=seed)
        for seed in (10, 11) for of, score in fresh
    ]  # fmt: skip
    study = study_of(trials)
    report = compute_report(read_table(study))["sections"]
    assert report["winner"]["winner"]["number"] == 2, "1 is better on fresh seeds alone"
    assert (
        "has the best mean objective, its search run counted." in texts(drawn(report, "winner"))[0]
    )
    study.add_trial(one(0.5, {"a": 0.3}, space))
    report = compute_report(read_table(study))["sections"]
    assert report["winner"]["winner"]["number"] == 1, "what ran again was picked by its score"
    assert "search run counted." not in texts(drawn(report, "winner"))[0]


def test_a_confirmation_that_was_cut_off_can_go_on():
    space = {"a": UNIT}
    trials = [one(0.8, {"a": 0.1}, space, chosen_by="default"), one(0.9, {"a": 0.9}, space)]
    trials += [
        one(0.8, trials[of].params, space, purpose="confirm", confirms=of, seed=10) for of in (0, 1)
    ]

    def steps(*more):
        study = study_of([*trials, *more])
        return " ".join(texts(drawn(compute_report(read_table(study))["sections"], "summary")))

    cut = one(
        None, {"a": 0.9}, space, TrialState.FAIL, purpose="confirm", confirms=1, seed=11,
        outcome="interrupted",
    )  # fmt: skip
    assert "where that ended it): 1 confirmation run was cut short." in steps(cut)
    assert "where that ended it" not in steps()
    again = one(0.8, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=11, continues=4)
    assert "where that ended it" not in steps(cut, again)


def test_a_winner_that_was_compared_with_nobody_is_said_to_be():
    space = {"a": UNIT}
    trials = [one(0.8, {"a": 0.1}, space), one(0.9, {"a": 0.9}, space)]
    trials.append(one(0.7, {"a": 0.9}, space, purpose="confirm", confirms=1, seed=10))
    for top, is_advised in ((1, True), (3, False)):
        study = study_of(trials, sweep={"confirm": {"top": top}})
        said = texts(drawn(compute_report(read_table(study))["sections"], "summary"))
        assert any("rests on the search's single runs" in text for text in said)
        assert is_advised == any("3): that the winner is the best" in text for text in said)


def test_how_scores_were_computed_stands_with_where_they_come_from():
    space, metrics = {"a": UNIT}, {"pretrained_sha256": "f0", "path": "packed", "precision": "bf16"}
    trials = [one(0.8, {"a": a}, space, metrics=metrics) for a in (0.1, 0.9)]
    trials.append(one(0.8, {"a": 0.5}, space, metrics={"path": "/here", "precision": 0.7}))
    report = compute_report(read_table(study_of(trials)))["sections"]
    [table] = drawn(report, "provenance").tables
    assert ("computed", "packed, bf16 (2 runs)") in table.rows


def test_the_best_of_several_looks_is_called_flattered():
    space, curve = {"a": UNIT}, {50: 0.9, 100: 0.8}
    for kept, is_said in (("best", True), ("last", False)):
        trials = [one(0.9, {"a": 0.1}, space, curve=curve, metrics={"objective_evaluation": kept})]
        report = compute_report(read_table(study_of(trials)))["sections"]
        assert ("a little flattered" in " ".join(texts(drawn(report, "curves")))) == is_said


def test_one_trial_alone_is_not_called_lucky():
    report = compute_report(read_table(study_of([one(0.8, {"a": 0.1}, {"a": UNIT})])))["sections"]
    text = " ".join([*texts(drawn(report, "winner")), *texts(drawn(report, "summary"))])
    assert "how far another seed changes it is not known" in text
    assert "optimistic" not in text


def branched(value=1.0):
    """`b` exists under adam only, and decides little; which of the two it is decides nearly all."""
    rng = np.random.default_rng(4)
    space = {"kind": CategoricalDistribution(("sgd", "adam")), "b": UNIT}
    trials = []
    for i in range(40):
        params = {"kind": ("sgd", "adam")[i % 2]} | ({"b": float(rng.random())} if i % 2 else {})
        score = value * (i % 2) + 0.2 * params.get("b", 0.0) + 0.005 * rng.standard_normal()
        extra = {"chosen_by": "default"} if i == 0 else {}
        trials.append(one(float(score), params, space, **extra))
    return compute_report(read_table(study_of(trials)))["sections"]


def test_a_share_where_a_parameter_exists_is_not_called_one_of_the_whole():
    report = branched()
    assert "b (where it exists)" in " ".join(texts(drawn(report, "summary")))
    sentence = report["sensitivity"]["parameters"]["b"]["sentence"]
    assert "of the variance that hyperparameters cause there" in sentence
    figure = drawn(report, "sensitivity").figures[0].figure
    assert any("b (where it exists)" in list(trace.y or ()) for trace in figure.data)


def test_what_only_the_winner_has_is_named_beside_the_path():
    said = " ".join(texts(drawn(branched(), "path")))
    assert "Only one of the two has b: that is averaged over" in said


def test_withheld_shares_are_withheld_of_every_parameter():
    rng = np.random.default_rng(6)
    space = {"kind": CategoricalDistribution(("sgd", "adam")), "b": UNIT}
    trials = [one(1e200, {"kind": "sgd"}, space)]
    for _ in range(14):
        b = float(rng.random())
        trials.append(
            one(1 - b + 0.01 * float(rng.standard_normal()), {"kind": "adam", "b": b}, space)
        )
    report = compute_report(read_table(study_of(trials, "minimize")))["sections"]
    assert {p["verdict"] for p in report["sensitivity"]["parameters"].values()} == {"cannot tell"}
    assert "Shares are withheld" in texts(drawn(report, "sensitivity"))[0]


def test_of_a_winner_outside_the_declared_space_no_range_is_told():
    rng = np.random.default_rng(7)
    space = {"a": UNIT, "b": UNIT}
    trials = []
    for _ in range(16):
        params = {"a": float(rng.random()), "b": float(rng.random())}
        trials.append(one(1 - params["a"], params, space))
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial({"a": 5.0, "b": 0.5})
    with pytest.warns(UserWarning, match="out of range"):
        first = study.ask(space)
    study.tell(first, -4.0)
    study.add_trials(trials)
    report = compute_report(read_table(study))["sections"]
    assert report["winner"]["winner"]["params"]["a"] == 5.0
    said = " ".join(t for name in ("summary", "robustness") for t in texts(drawn(report, name)))
    assert "Safe ranges" not in said
    assert "Fix b" not in said
    assert "the winner lies outside the declared space" in said


@pytest.mark.parametrize("choices", [(1.0, 2.0), (True, False), (float("nan"), 1.0), (1, "1")])
def test_choices_that_look_alike_are_told_apart(choices):
    space = {"a": CategoricalDistribution(choices)}
    given = [1 if choice == 1 and not isinstance(choice, str) else choice for choice in choices]
    trials = [one(float(i % 2) + 0.01 * i, {"a": given[i % 2]}, space) for i in range(20)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert report["sensitivity"]["outside"] == 0
    for section in SECTIONS:
        section.draw(report[section.NAME])
    figure = drawn(report, "effects").figures[0].figure
    assert len(set(figure.layout.xaxis.categoryarray)) == 2


def test_a_parameter_with_one_value_is_no_open_question():
    space = {"a": UNIT, "fixed": IntDistribution(3, 3)}
    trials = [one(0.1 * i, {"a": 0.1 * i, "fixed": 3}, space) for i in range(10)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert report["sensitivity"]["parameters"]["fixed"]["verdict"] == "one value"
    assert "fixed" not in " ".join(texts(drawn(report, "summary"))).replace("fixed=3", "")


def test_scores_that_differ_by_next_to_nothing_are_no_crash():
    trials = [one(i * 1e-170, {"a": 0.05 * i}, {"a": UNIT}) for i in range(20)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert "the same objective, nearly" in report["sensitivity"]["fit"]["reason"]


def test_what_was_spent_on_failures_is_told_without_a_score():
    trials = [one(None, {"a": 0.1}, {"a": UNIT}, TrialState.FAIL, wall_seconds=60.0)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert texts(drawn(report, "cost")) == [
        "Spent: 1 min 00 s on failed trials. None of them has a score."
    ]


def test_the_path_leads_from_the_default_to_the_winner_with_what_each_change_bought(report):
    steps = report["path"]["steps"]
    assert {s["parameter"] for s in steps} == {"rate", "depth", "dummy"}
    gained = {s["parameter"]: s["gain"]["estimate"] for s in steps}
    winner = report["winner"]["winner"]["params"]
    assert gained["depth"] == pytest.approx(0.05 * (winner["depth"] - 1), abs=0.03)
    assert gained["dummy"] == pytest.approx(0.0, abs=0.02)
    assert len(drawn(report, "path").figures) == 1


@pytest.mark.parametrize(("attributes", "why"), [
    ({}, "no trial is known to be the default configuration"),
    ({"chosen_by": "default"}, "the default is the winner"),
], ids=["not tried", "winner"])  # fmt: skip
def test_without_a_path_the_reason_is_said(attributes, why):
    trials = [one(0.5, {"a": 0.1}, {"a": UNIT}, **attributes)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert why in texts(drawn(report, "path"))[0]


def test_the_cheapest_way_to_each_score_is_drawn(report):
    front = report["cost"]["front"]
    assert [p["cost"] for p in front] == sorted(p["cost"] for p in front)
    assert [p["score"] for p in front] == sorted(p["score"] for p in front)
    assert front[0]["trial"] == 0
    assert report["cost"]["in_dollars"] is False


def test_dollars_stand_in_for_seconds_where_they_are_known():
    trials = [one(0.5, {"a": 0.1}, {"a": UNIT}, cost_usd=0.25, wall_seconds=60.0)]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert report["cost"]["in_dollars"] is True
    assert "Spent: $0.2500 on finished trials." in texts(drawn(report, "cost"))
    trials.append(one(0.9, {"a": 0.2}, {"a": UNIT}, wall_seconds=6000.0))
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert (
        "Spent: at least $0.2500 on finished trials; of 2 trials 1 has no price, and is not shown here."
        in texts(drawn(report, "cost"))
    )
    assert "at least $0.2500" in " ".join(texts(drawn(report, "summary")))


def test_best_of_n_is_given_for_random_trials_and_the_reason_otherwise(report):
    assert report["budget"]["best_of_n"]["trials"][-1] == 60
    assert "with the luck of being first" in texts(drawn(report, "budget"))[0]
    trials = [one(0.1 * i, {"a": 0.1 * i}, {"a": UNIT}, chosen_by="adaptive") for i in range(5)]
    other = compute_report(read_table(study_of(trials)))["sections"]
    assert "not all trials were random (adaptive)" in texts(drawn(other, "budget"))[0]


def test_every_picture_has_words_a_table_and_named_axes(report):
    for section in SECTIONS:
        for view in section.draw(report[section.NAME]).figures:
            assert len(view.description) > 20
            assert view.table.rows
            layout = view.figure.layout
            axes = [layout[key] for key in layout if str(key).startswith(("xaxis", "yaxis"))]
            assert any(axis.title.text or axis.ticktext for axis in axes)


def test_figures_of_very_many_trials_draw_some_and_say_so():
    trials = [
        one(math.sin(i), {"a": (i % 997) / 997}, {"a": UNIT}, curve=[(1, 0.1), (2, 0.2)])
        for i in range(1500)
    ]
    report = compute_report(read_table(study_of(trials)))["sections"]
    assert len(report["history"]["points"]) == 1000
    assert "1,000 of the 1,500 trials are drawn" in texts(drawn(report, "history"))[0]
    assert "200 of the 1,500 curves are drawn" in texts(drawn(report, "curves"))[0]
    assert "1,500" not in " ".join(texts(drawn(report, "trials")))
    assert len(report["trials"]["trials"]) == 1500


def test_thinning_keeps_the_first_and_the_last():
    assert thinned(range(10), 4) == [0, 3, 6, 9]
    assert thinned([1, 2], 4) == [1, 2]


def test_unordered_choices_are_points_with_intervals():
    rng = np.random.default_rng(5)
    space = {"kind": CategoricalDistribution(("a", "b", "c")), "u": UNIT}
    trials = []
    for i in range(45):
        kind = "abc"[i % 3]
        score = {"a": 0.2, "b": 0.5, "c": 0.8}[kind] + 0.05 * rng.standard_normal()
        trials.append(one(float(score), {"kind": kind, "u": float(rng.random())}, space))
    report = compute_report(read_table(study_of(trials)))["sections"]
    effect = report["effects"]["parameters"][0]["effect"]
    assert effect["values"] == ["a", "b", "c"]
    assert effect["middle"] == pytest.approx([0.2, 0.5, 0.8], abs=0.06)
    assert (
        "Keep kind at c: with any other, the expected loss is more than the seed noise."
        in " ".join(texts(drawn(report, "summary")))
    )


def said_of_the_winner(*pairs):
    """Of a default and another configuration, each with its score in the search and on one fresh seed."""
    space, trials = {"rate": RATE}, []
    for number, (searched, _) in enumerate(pairs):
        chosen_by = "default" if number == 0 else "adaptive"
        trials.append(one(searched, {"rate": 1e-4 * (1 + number)}, space, chosen_by=chosen_by))
    for number, (_, fresh) in enumerate(pairs):
        confirms = {"purpose": "confirm", "confirms": number, "seed": 1000}
        trials.append(one(fresh, trials[number].params, space, **confirms))
    sections = compute_report(read_table(study_of(trials)))["sections"]
    return " ".join(texts(drawn(sections, "winner")))


def test_the_default_wins_a_tie():
    """That it is no worse is all that there is to say for the other."""
    assert "has no better mean" in said_of_the_winner((0.81, 0.82), (0.82, 0.81))


def test_a_collapsed_default_makes_nobody_surely_better():
    """It calls every pair the same on each seed, and so has the same score to all digits."""
    said = said_of_the_winner((0.8122, 0.8122), (0.8209, 0.8209))
    assert "so few runs cannot tell the two apart" in said
    assert "From seed to seed" not in said


def test_a_space_all_of_which_has_run_asks_for_no_more_trials():
    space = {
        "rate": CategoricalDistribution([1, 2, 3]),
        "depth": CategoricalDistribution([1, 2, 3]),
    }
    grid = [{"rate": rate, "depth": depth} for rate in (1, 2, 3) for depth in (1, 2, 3)]
    rng = np.random.default_rng(3)
    trials = [one(float(rng.random()), point, space, chosen_by="grid") for point in grid]
    for part in (trials, trials[:8], trials[:7]):
        sections = compute_report(read_table(study_of(part)))["sections"]
        numbers = {p["more_trials"] for p in sections["sensitivity"]["parameters"].values()}
        asks = any("more trials" in text for text in texts(drawn(sections, "summary")))
        assert numbers == ({None} if len(part) == 9 else {20})
        assert asks == (len(part) < 9)
    small = {"kind": CategoricalDistribution(["a", "b"])}
    study = study_of([one(0.1, {"kind": "a"}, small)])
    said = compute_report(read_table(study))["sections"]["sensitivity"]["parameters"]["kind"][
        "sentence"
    ]
    assert said.endswith(
        "only 1 configuration finished, and 8 are the least that anything can be said from."
    )


def test_random_trials_that_failed_are_not_counted_among_the_best_of_n():
    space, rng = {"rate": RATE}, np.random.default_rng(2)
    trials = [
        one(float(rng.random()), {"rate": 1e-4 * (i + 1)}, space, chosen_by="random")
        for i in range(8)
    ]
    trials += [
        one(None, {"rate": 9e-4}, space, TrialState.FAIL, chosen_by="random", outcome="failed")
    ] * 3
    (text,) = texts(drawn(compute_report(read_table(study_of(trials)))["sections"], "budget"))
    assert "8 independent random trials that finish" in text
    assert text.endswith("Here 3 trials failed beside them.")


def test_few_points_are_seen_where_they_lie_in_the_declared_range():
    """An axis around two learning rates would have no number at all."""
    space = {"rate": FloatDistribution(1e-5, 2e-3, log=True)}
    trials = [one(score, {"rate": rate}, space) for rate, score in ((5e-5, 0.5), (8.8e-5, 0.4))]
    drawing = drawn(compute_report(read_table(study_of(trials)))["sections"], "effects")
    low, high = drawing.figures[0].figure.layout.xaxis.range
    assert low < -5 < math.log10(2e-3) < high < -2.5
