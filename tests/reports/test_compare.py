"""Two runs: what has changed is said, and nothing else."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from reports import ReportError, write_report
from reports.compare import BETTER, CANNOT_TELL, MOVED, SAME, WORSE, _are_apart, _range, compare
from reports.index import write_index
from reports.sensitivity.local import SafeRange
from reports.trend import Slot, trend_of

SPACE = {
    "rate": FloatDistribution(1e-5, 1e-2, log=True), "depth": FloatDistribution(0.0, 1.0)
}  # fmt: skip


def run_of(seed, best=1e-4, level=0.0, size=30, direction="maximize", space=SPACE, name=None):
    """Random trials of a hill over the rate, and the winner and the first one on two fresh seeds."""
    rng = np.random.default_rng(seed)
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(direction=direction, study_name=name)
    study.set_user_attr("metric", "f1")

    def score(point):
        away = np.log10(point["rate"] / best)
        return sign * (float(np.exp(-((away / 0.7) ** 2))) + level + 0.1 * rng.standard_normal())

    def add(point, **attributes):
        study.add_trial(
            create_trial(
                params=point, distributions=space, value=score(point), user_attrs=attributes
            )
        )

    for _ in range(size):
        add(
            {"rate": float(10 ** rng.uniform(-5, -2)), "depth": float(rng.uniform())},
            purpose="search",
        )
    for number in {study.best_trial.number, 0}:
        for k in range(2):
            add(study.trials[number].params, purpose="confirm", confirms=number, seed=100_000 + k)
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_nothing_has_changed_where_only_the_seeds_are_others(direction):
    found = compare(run_of(1, direction=direction), run_of(2, direction=direction))
    assert found.verdict == SAME
    assert found.level_change.low < 0 < found.level_change.high
    assert found.sentence.startswith("Nothing has visibly changed")
    assert ("above 0 is better" in found.sentence) == (direction == "minimize")


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_shift_of_the_best_place_is_told_and_what_staying_costs(direction):
    found = compare(run_of(1, direction=direction), run_of(2, best=8e-4, direction=direction))
    assert found.verdict == MOVED
    assert found.gain.low > 0
    assert found.probability > 0.9
    assert "The best place has moved" in found.sentence
    (safe,) = [c for c in found.disagreements if (c.parameter, c.what) == ("rate", "safe range")]
    assert float(safe.before.split(" to ")[1]) < float(safe.after.split(" to ")[0])


@pytest.mark.parametrize(("level", "verdict"), [(0.4, BETTER), (-0.4, WORSE)])
def test_a_change_of_all_scores_is_no_other_place(level, verdict):
    found = compare(run_of(1), run_of(2, level=level))
    assert found.verdict == verdict
    assert found.level_change.estimate == pytest.approx(level, abs=0.15)
    assert found.place_change.low <= 0


def test_runs_of_other_spaces_are_not_called_the_same():
    other = SPACE | {"depth": FloatDistribution(0.0, 2.0)}
    found = compare(run_of(1), run_of(2, space=other))
    assert found.verdict == CANNOT_TELL
    assert "depth was not searched in the same range in both" in found.sentence


def test_two_ablations_are_told_apart_by_their_level():
    """Such runs tell no shares; that all scores fell they do tell."""
    space = {name: optuna.distributions.CategoricalDistribution([0, 1, 2]) for name in "abc"}
    default = dict.fromkeys("abc", 0)
    points = [default, *(default | {name: value} for name in "abc" for value in (1, 2))]

    def ablation(level):
        rng, study = (
            np.random.default_rng(int(10 * level)),
            optuna.create_study(direction="maximize"),
        )
        for seed in range(3):
            for number, point in enumerate(points):
                facts = {"purpose": "confirm", "confirms": number, "seed": seed} if seed else {
                    "chosen_by": "one at a time" if number else "default"
                }  # fmt: skip
                study.add_trial(optuna.trial.create_trial(
                    params=point, distributions=space, value=level + 0.002 * rng.normal(), user_attrs=facts,
                ))  # fmt: skip
        return study

    assert compare(ablation(0.8), ablation(0.6)).verdict == WORSE


def test_runs_without_trials_are_not_called_the_same():
    empty = optuna.create_study(direction="maximize")
    empty.set_user_attr("metric", "f1")
    assert compare(run_of(1), empty).verdict == CANNOT_TELL
    assert compare(run_of(1, size=3), run_of(2, size=3)).verdict == CANNOT_TELL


def test_another_metric_or_direction_does_not_compare():
    with pytest.raises(ReportError, match="one has maximize f1, the other minimize f1"):
        compare(run_of(1), run_of(2, direction="minimize"))


def test_what_else_differs_is_named():
    before, after = run_of(1), run_of(2)
    for study, size, version in ((before, 100, "5.1"), (after, 200, "5.2")):
        data = {"sha256": str(size), "training_examples": size, "validation_examples": 50}
        study.set_user_attr("data", data)
        study.set_user_attr("machine", {"cores": 2, "packages": {"transformers": version}})
        study.set_user_attr("sweep", {"name": str(size), "fixed": {"epochs": size}})
        study.set_user_attr("code_sha256", "the same")
    assert compare(before, after).differences == [
        "the data is another: 100 + 50 examples before, 200 + 50 now",
        "version: transformers was 5.1, is 5.2",
        "fixed.epochs was 100, is 200",
    ]


def test_the_index_of_slots_shows_their_trend_in_their_order(tmp_path):
    for i, slot in enumerate(["20260105T0600Z", "20260112T0600Z", "20260119T0600Z"]):
        write_report(run_of(i, size=10, name=f"weekly.{slot}"), tmp_path / slot)
    html = write_index(tmp_path).read_text()
    assert html.index("2026-01-19 06:00</a>") < html.index("2026-01-05 06:00</a>")
    assert html.count("<circle") == 3
    assert "2026-01-12 06:00: winner" in html
    assert "<script" not in html


def test_a_trend_needs_two_slots_and_keeps_its_marks_inside():
    assert trend_of([Slot("a", [1.0], [], "")], "f1") is None
    slots = [Slot(str(i), [i / 10, i / 10 + 0.05], [0.2], "same") for i in range(40)]
    trend = trend_of([*slots, Slot("none", [], [], "")], "f1")
    assert len(trend.marks) == 80
    assert all(
        0 < m.x < trend.width and 0 < m.high <= m.y <= m.low < trend.height for m in trend.marks
    )
    assert len(trend.labels) <= 8
    assert trend.marks[1].text == "0: winner 0.0250, same"


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ((16, 256, []), (128, 512, [128, 160, 512]), False),
        ((16, 64, []), (128, 512, [128, 160, 512]), True),
        ((None, None, ["linear"]), (None, None, ["cosine"]), True),
        ((None, None, ["linear", "cosine"]), (None, None, ["cosine"]), False),
        ((16, 64, []), (None, None, ["16", "32"]), False),
    ],
)
def test_ranges_are_compared_as_what_they_are(one, other, apart):
    a, b = (SafeRange(*ends, (False, False)) for ends in (one, other))
    assert _are_apart(a, b) is _are_apart(b, a) is apart
    assert _range(SafeRange(16, 64, [], (False, False))) == "16 to 64"
