"""The small statistics around the surrogate, each against a known answer."""

import math

import numpy as np
import pytest

from reports.sensitivity.axis import Axis
from reports.sensitivity.bounds import pruned_bounds
from reports.sensitivity.expected_best import expected_best
from reports.sensitivity.failures import failures_of
from reports.sensitivity.interval import Interval
from reports.sensitivity.odds import odds
from reports.sensitivity.spread import spread_of
from reports.sensitivity.trust import r_squared
from reports.sensitivity.verdict import CANNOT_TELL, MATTERS, NEGLIGIBLE, more_trials, verdict_of

UNIT = [Axis("a", 0.0, 1.0), Axis("b", 0.0, 1.0)]


def test_r_squared_of_the_truth_is_1_and_of_the_mean_0():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(40)
    groups = np.arange(40)
    assert r_squared(scores, scores, scores, groups, rng)[0].estimate == 1.0
    mean = np.full(40, scores.mean())
    r2, squares = r_squared(mean, scores, scores, groups, rng)
    assert r2.estimate == pytest.approx(0.0)
    assert squares == pytest.approx(40 * scores.var())
    with pytest.raises(ValueError, match="without variance"):
        r_squared(mean, np.ones(40), np.ones(40), groups, rng)


def test_r_squared_resamples_configurations_not_rows():
    """Ten seeds of each of four configurations are four pieces of evidence, not forty."""
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.standard_normal(4), 10)
    guess = truth + np.repeat(rng.standard_normal(4) * 0.5, 10)
    grouped, _ = r_squared(guess, truth, truth, np.repeat(np.arange(4), 10), rng)
    rows, _ = r_squared(guess, truth, truth, np.arange(40), rng)
    assert grouped.high - grouped.low > 1.5 * (rows.high - rows.low)


def test_r_squared_counts_a_bound_that_was_foreseen():
    """Two known scores of 1; two trials that lie somewhere below 0. The best constant is 1/2."""
    low, high = np.array([1.0, 1.0, -np.inf, -2.0]), np.array([1.0, 1.0, 0.0, 0.0])
    rng = np.random.default_rng(2)
    r2, squares = r_squared(np.array([1.0, 1.0, -5.0, -1.0]), low, high, np.arange(4), rng)
    assert (r2.estimate, squares) == (1.0, pytest.approx(1.0))
    blind, _ = r_squared(np.full(4, 0.5), low, high, np.arange(4), rng)
    assert blind.estimate == pytest.approx(0.0)
    too_low, _ = r_squared(np.array([1.0, 1.0, 0.0, -2.5]), low, high, np.arange(4), rng)
    assert too_low.estimate == pytest.approx(0.75)


def test_a_pruned_score_is_bounded_by_what_became_of_others_with_its_early_score():
    """Finals are twice the early scores plus noise: the interval holds the truth in 95 of 100."""
    rng = np.random.default_rng(1)
    hits, widths = 0, {0.0: [], 2.0: []}
    for i in range(2000):
        early = rng.standard_normal(8)
        final = 2 * early + 0.1 * rng.standard_normal(8)
        finished = [([(25, e), (100, f)], f) for e, f in zip(early, final, strict=True)]
        at = 2.0 * (i % 2)
        low, high = pruned_bounds([(25, at)], finished, maximize=True)
        hits += low <= 2 * at + 0.1 * rng.standard_normal() <= high
        widths[at].append(high - low)
    assert 0.93 <= hits / 2000 <= 0.97
    assert np.mean(widths[2.0]) > 1.15 * np.mean(widths[0.0])


def test_curves_that_all_stood_alike_predict_nothing():
    finished = [([(25, 0.5)], 0.5 + 0.1 * i) for i in range(6)]
    assert pruned_bounds([(25, 0.4)], finished, maximize=True) == (-math.inf, 0.75)


def test_without_curves_a_pruned_score_is_no_better_than_the_median():
    finished = [([], score) for score in (0.5, 0.6, 0.9)]
    assert pruned_bounds([], finished, maximize=True) == (-math.inf, 0.6)
    assert pruned_bounds([(1, 0.2)], finished, maximize=False) == (0.6, math.inf)
    with pytest.raises(ValueError, match="none finished"):
        pruned_bounds([], [], maximize=True)


def test_expected_best_of_two_scores():
    """Of 0 and 1: the best of 1 is 1/2, of both it is 1."""
    best = expected_best([0.0, 1.0])
    assert best.expected == pytest.approx([0.5, 1.0])
    assert best.low is None
    down = expected_best([0.0, 1.0], maximize=False)
    assert down.expected == pytest.approx([0.5, 0.0])


def test_the_best_of_very_many_is_still_a_number():
    best = expected_best(np.linspace(0.0, 1.0, 1101), score_range=(0.0, 1.0))
    truth = np.arange(1, 1102) / np.arange(2, 1103)
    assert best.expected == pytest.approx(truth, abs=0.001)
    few = expected_best([0.7, 0.8, 0.9, 1.0], score_range=(0.0, 1.0))
    assert few.low[-1] <= few.expected[-1] <= few.high[-1]


def test_bands_of_the_expected_best_hold_at_all_numbers_at_once():
    """Scores uniform on 0..1: the best of n is n/(n+1) in truth."""
    rng = np.random.default_rng(2)
    truth = np.arange(1, 13) / np.arange(2, 14)
    hits, told, widths = 0, [], []
    for _ in range(1000):
        best = expected_best(rng.random(12), score_range=(0.0, 1.0))
        low, high = np.array(best.low), np.array(best.high)
        hits += bool(((low <= truth) & (truth <= high)).all())
        told.append(best.expected)
        widths.append(high - low)
    assert hits / 1000 >= 0.88
    assert np.mean(widths) < 0.6
    assert np.mean(told, axis=0) == pytest.approx(truth, abs=0.02)  # without bias


def test_bands_of_a_loss_mirror_those_of_a_score():
    scores = [0.2, 0.5, 0.9]
    up = expected_best(scores, score_range=(0.0, 1.0))
    down = expected_best([1 - s for s in scores], maximize=False, score_range=(0.0, 1.0))
    assert down.low == pytest.approx([1 - high for high in up.high])
    assert down.high == pytest.approx([1 - low for low in up.low])
    with pytest.raises(ValueError, match="outside"):
        expected_best([1.5], score_range=(0.0, 1.0))


def test_points_in_a_corner_count_for_less_than_spread_ones():
    rng = np.random.default_rng(3)
    spread = spread_of(UNIT, rng.random((60, 2)), seed=0)
    corner = spread_of(UNIT, 0.3 * rng.random((60, 2)), seed=0)
    assert spread.effective > 25
    assert spread.extrapolated < 0.3
    assert corner.effective < 8
    assert corner.extrapolated > 0.7
    many = [Axis(f"p{j}", 0.0, 1.0) for j in range(7)]
    assert spread_of(many, np.full((64, 7), 0.5), seed=0) is None


def test_what_makes_trials_fail_is_named():
    rng = np.random.default_rng(4)
    positions = rng.random((40, 2))
    failed = positions[:, 0] > 0.7
    found = failures_of(UNIT, positions, failed, seed=0, level=0.9)
    assert found.total["a"].estimate > 0.8
    assert found.total["b"].high < 0.5
    assert (
        f"{failed.sum()} of 40 search trials failed, more often with some values of a: at "
        in found.sentence
    )
    assert found.sentence.endswith(f"{failed.sum()} of {failed.sum()} failed, elsewhere 0 of "
                                   f"{40 - failed.sum()}.")  # fmt: skip


def test_failures_by_chance_name_nothing():
    rng = np.random.default_rng(5)
    failed = rng.random(40) < 0.3
    found = failures_of(UNIT, rng.random((40, 2)), failed, seed=0, level=0.9)
    assert "cannot tell" in found.sentence
    assert failures_of(UNIT, rng.random((4, 2)), np.zeros(4, dtype=bool), 0, 0.9) is None
    few = failures_of(UNIT, rng.random((4, 2)), np.array([1, 0, 0, 0], dtype=bool), 0, 0.9)
    assert "too few" in few.sentence
    all_failed = failures_of(UNIT, rng.random((4, 2)), np.ones(4, dtype=bool), 0, 0.9)
    assert all_failed.sentence == "All 4 search trials failed."


def test_verdicts_follow_the_interval():
    sound, empty = Interval(0.5, 0.2, 0.7), Interval(0.9, 0.5, 0.98)
    r2 = Interval(0.4, 0.1, 0.7)
    assert verdict_of(Interval(0.5, 0.2, 0.8), sound, r2, 50) == MATTERS
    assert verdict_of(Interval(0.5, 0.2, 0.8), empty, r2, 50) == CANNOT_TELL
    assert verdict_of(Interval(0.5, 0.2, 0.8), sound, Interval(0.2, -0.01, 0.5), 16) == CANNOT_TELL
    assert verdict_of(Interval(0.5, 0.2, 0.8), sound, Interval(0.2, -0.01, 0.5), 20) == MATTERS
    assert verdict_of(Interval(0.04, 0.021, 0.3), sound, r2, 50) == MATTERS
    assert verdict_of(Interval(0.01, 0.0, 0.05), sound, r2, 50) == NEGLIGIBLE
    assert verdict_of(Interval(0.05, 0.03, 0.09), sound, r2, 50) == NEGLIGIBLE
    assert verdict_of(Interval(0.1, 0.01, 0.3), sound, r2, 50) == CANNOT_TELL


def test_more_trials_follow_from_the_square_root_law():
    """0.2 with 0.19 below it must come within 0.15: (0.19/0.15)² = 1.6 times the trials."""
    assert more_trials(Interval(0.2, 0.01, 0.5), 100) == 20
    assert more_trials(Interval(0.075, 0.0, 0.9), 20) is not None
    assert more_trials(Interval(0.021, 0.0, 0.9), 20) is None


def test_odds_are_the_share_of_functions_in_which_a_configuration_is_best():
    values = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 2.0], [-1.0, -1.0, -1.0, -1.0]])
    found = odds(values, [7, 8, 9], np.array([1.5, 0.2, -1.0]), 0, 2, True, 0.9)
    assert [(c.trial, c.probability_best) for c in found.contenders[:2]] == [(7, 0.75), (8, 0.25)]
    assert found.optimism.estimate == pytest.approx(0.5)
    assert found.beats_default == 1.0
    down = odds(-values, [7, 8, 9], -np.array([1.5, 0.2, -1.0]), 0, 2, False, 0.9)
    assert down.optimism.estimate == pytest.approx(0.5)
    assert down.beats_default == 1.0
    assert odds(values, [7, 8, 9], np.ones(3), 0, None, True, 0.9).beats_default is None
    few = odds(values, [7, 8, 9], np.ones(3), 2, None, True, 0.9, most=1)
    assert [c.trial for c in few.contenders] == [7, 9], (
        "the likeliest, and the winner wherever it stands"
    )


def test_a_loss_that_ran_away_is_bounded_like_the_worst_and_not_beyond():
    rng = np.random.default_rng(9)
    early = rng.random(30)
    finished = [([(25, e)], 0.8 * e + 0.02 * rng.standard_normal()) for e in early]
    low, high = pruned_bounds([(25, 1e6)], finished, maximize=False)
    assert 1.0 < low < high < 2.5


def test_a_falling_line_never_turns_the_worst_into_the_best():
    finished = [([(25, e)], 0.8 - 0.1 * e) for e in (0.70, 0.72, 0.74, 0.76, 0.78)]
    low, high = pruned_bounds([(25, 0.5)], finished, maximize=True)
    assert (low + high) / 2 < 0.73


def test_a_full_grid_covers_its_space():
    axes = [Axis("a", choices=(1, 2, 4, 8)), Axis("b", 0, 3, step=1)]
    grid = np.array([[i / 3, j / 3] for i in range(4) for j in range(4)])
    spread = spread_of(axes, grid, seed=0)
    assert spread.effective == 16
    assert spread.extrapolated == 0.0


@pytest.mark.slow
def test_chance_failures_of_one_parameter_blame_nothing():
    blamed = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found = failures_of(UNIT[:1], rng.random((40, 1)), rng.random(40) < 0.2, seed, 0.9)
        blamed += "cannot tell" not in found.sentence and "too few" not in found.sentence
    assert blamed <= 1
