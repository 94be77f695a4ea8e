"""The section on single changes: whose gain, with which interval, and what is said of it."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from reports.analysis import analyze_table
from reports.sections import ablation, sensitivity, summary
from reports.trials import read_table

SPACE = {
    "schedule": CategoricalDistribution(["linear", "cosine", "constant"]),
    "frozen": CategoricalDistribution([0, 2, 4]),
    "rdrop": CategoricalDistribution([0.0, 1.0]),
}
DEFAULT = {"schedule": "linear", "frozen": 0, "rdrop": 0.0}
CHANGES = [DEFAULT | {name: v} for name, d in SPACE.items() for v in d.choices[1:]]


def study_of(gains, seeds=2, noise=0.01, seed=0, direction="maximize", confirmed=99):
    """The default and its changes, each once in the search and on so many fresh seeds."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction=direction)
    points = [DEFAULT, *CHANGES]
    for number, point in enumerate(points):
        kind = "default" if number == 0 else "one at a time"
        add(study, point, gains.get(number, 0) + noise * rng.normal(), chosen_by=kind, seed=number)
    for k in range(seeds):
        for number, point in enumerate(points[: confirmed + 1]):
            add(study, point, gains.get(number, 0) + noise * rng.normal(), purpose="confirm",
                chosen_by="confirmation", confirms=number, seed=1000 + k, wall_seconds=20.0)  # fmt: skip
    return study


def add(study, point, score, **attributes):
    facts = {"purpose": "search", "wall_seconds": 10.0} | attributes
    study.add_trial(
        create_trial(params=point, distributions=SPACE, value=0.8 + score, user_attrs=facts)
    )


def section(study):
    table = read_table(study)
    return ablation.compute(table, analyze_table(table))


def test_each_change_has_its_gain_and_what_is_sure_is_said():
    data = section(study_of({1: 0.2, 3: -0.2}))
    rows = {row["trial"]: row for row in data["changes"]}
    assert data["changes"][0]["trial"] == 1
    assert rows[1]["gain"]["estimate"] == pytest.approx(0.2, abs=0.03)
    assert {n: row["verdict"] for n, row in rows.items()} == {
        1: "better", 2: "cannot tell", 3: "worse", 4: "cannot tell", 5: "cannot tell"
    }  # fmt: skip
    assert (rows[3]["parameter"], rows[3]["before"], rows[3]["after"]) == ("frozen", 0, 2)
    assert len(rows[1]["runs"]) == len(data["default_runs"]) == 3
    assert rows[1]["times_as_long"] == 1
    drawing = ablation.draw(data)
    text = " ".join(drawing.sentences)
    assert "Surely better than the default: schedule = cosine." in text
    assert "Surely worse than the default: frozen = 2." in text
    assert "About one in ten intervals of 90% misses" in text
    assert [row[7] for row in drawing.figures[0].table.rows].count("cannot tell") == 3


def test_the_summary_of_an_ablation_says_what_is_sure_and_advises_no_trials_that_there_are_not():
    study = study_of({1: 0.2, 3: -0.2})
    table = read_table(study)
    analysis = analyze_table(table)
    data = summary.compute(table, analysis)
    said = {sentence["text"]: sentence["section"] for sentence in data["sentences"]}
    sure = (
        "Changed one at a time, surely better than the default: schedule = cosine; surely worse: frozen = 2; "
        "of the other 3 these runs cannot tell."
    )
    assert said[sure] == "ablation"
    assert not any("What these trials cannot tell" in text for text in said)
    assert not any("more trial" in step["text"] for step in data["next"])
    assert not any("more trial" in p.sentence for p in analysis.parameters.values())
    assert {p.verdict for p in analysis.parameters.values()} == {"cannot tell"}
    assert not any("hardly matters" in text or text.startswith("Safe") for text in said)
    shown = " ".join(sensitivity.draw(sensitivity.compute(table, analysis)).sentences)
    assert "Shares are withheld: changes one at a time do not show" in shown
    assert "stands under One change at a time" in shown
    add(study, DEFAULT | {"rdrop": 1.0, "frozen": 4}, 0.0, chosen_by="adaptive")
    table = read_table(study)
    data = summary.compute(table, analyze_table(table))
    assert not any(sentence["text"] == sure for sentence in data["sentences"])


def test_a_change_that_did_nothing_is_named():
    study = study_of({}, seeds=0)
    for number, point in enumerate([DEFAULT, *CHANGES]):
        for seed in (7, 8):
            score = 0.01 * seed if number in (0, 4) else 0.01 * seed * (number + 2)
            add(study, point, score, purpose="confirm", confirms=number, seed=seed)
    text = " ".join(ablation.draw(section(study)).sentences)
    named = f"{CHANGES[3]['frozen']}"
    assert f"on the fresh seeds that both ran on: frozen = {named}; what it gains is" in text
    assert "very scores" not in " ".join(ablation.draw(section(study_of({}))).sentences)


def test_where_none_is_sure_that_is_the_sentence():
    text = ablation.in_short(section(study_of({})))
    assert text == (
        "Changed one at a time: these runs cannot tell of any of the 5 changes whether it is better or "
        "worse than the default."
    )


def test_how_long_is_by_the_fastest_runs():
    study = study_of({})
    add(study, DEFAULT, 0.0, purpose="confirm", confirms=0, seed=2000, wall_seconds=1000.0)
    assert {row["times_as_long"] for row in section(study)["changes"]} == {1.0}


def test_of_a_loss_less_is_a_gain():
    higher, lower = section(study_of({1: 0.2})), section(study_of({1: -0.2}, direction="minimize"))
    assert lower["changes"][0]["trial"] == 1
    assert lower["changes"][0]["verdict"] == "better"
    assert lower["changes"][0]["gain"]["estimate"] == pytest.approx(0.2, abs=0.03)
    assert higher["changes"][0]["trial"] == 1


def test_a_score_that_was_chosen_for_being_good_does_not_count():
    """Where only some ran again, their search run does not; where all did, it does."""
    data = section(study_of({}, confirmed=2))
    runs = {row["trial"]: len(row["runs"]) for row in data["changes"]}
    assert runs == {1: 2, 2: 2, 3: 1, 4: 1, 5: 1}
    assert "Not all of the changes ran to their end" in " ".join(ablation.draw(data).sentences)


def test_survivors_of_a_pruner_were_chosen_by_their_score():
    study = study_of({})
    add(
        study, DEFAULT | {"frozen": 4, "rdrop": 0.0}, 0.0, chosen_by="one at a time"
    )  # a finished repeat
    before = {row["trial"]: len(row["runs"]) for row in section(study)["changes"]}
    assert before == {1: 3, 2: 3, 3: 3, 4: 4, 5: 3}, "one row a configuration"
    pruned = create_trial(
        params=DEFAULT | {"rdrop": 1.0}, distributions=SPACE, state=TrialState.PRUNED,
        intermediate_values={25: 0.7}, user_attrs={"purpose": "search"},
    )  # fmt: skip
    study.add_trial(pruned)
    data = section(study)
    assert {len(row["runs"]) for row in data["changes"]} == {2}
    assert "Stopped early, and so without a row: rdrop = 1" in " ".join(
        ablation.draw(data).sentences
    )


def test_without_seeds_or_changes_there_is_no_such_section():
    assert section(study_of({}, seeds=0)) == {}
    study = optuna.create_study(direction="maximize")
    for score in (0.1, 0.2):
        add(study, DEFAULT, score, chosen_by="default")
    assert section(study) == {}


def test_the_intervals_hold_and_nothing_is_called_sure_by_chance():
    """400 sweeps of planted gains: 90 % of the intervals hold, at most a tenth has one false verdict."""
    rng = np.random.default_rng(5)
    held, false = [], 0
    for seed in range(400):
        gains = {n: float(g) for n, g in enumerate(rng.choice([0, 0, 0.01, -0.02], 6))} | {0: 0.0}
        table = read_table(study_of(gains, seeds=1, seed=seed))
        rows = ablation.compute(table, None)["changes"]
        held += [row["gain"]["low"] <= gains[row["trial"]] <= row["gain"]["high"] for row in rows]
        wrong = {
            "better": lambda g: g <= 0,
            "worse": lambda g: g >= 0,
            "cannot tell": lambda g: False,
        }
        false += any(wrong[row["verdict"]](gains[row["trial"]]) for row in rows)
    assert 0.87 <= np.mean(held) <= 0.93
    assert false / 400 <= 0.1


def test_one_change_made_on_purpose_is_enough_and_one_made_by_chance_is_not():
    def study(chosen_by):
        made = optuna.create_study(direction="maximize")
        for seed in range(3):
            for point, kind in ((DEFAULT, "default"), (DEFAULT | {"rdrop": 1.0}, chosen_by)):
                add(made, point, 0.001 * seed, chosen_by=kind)
        return made

    drawing = ablation.draw(section(study("one at a time")))
    assert "misses the truth" not in " ".join(drawing.sentences)
    assert len(drawing.figures[0].table.rows) == 1
    assert section(study("adaptive")) == {}
