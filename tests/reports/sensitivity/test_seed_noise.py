import numpy as np
import pytest

from reports.sensitivity.seed_noise import seed_noise


def test_known_scores_give_the_pooled_deviation():
    """Within-group squares 2 and 2 over 3 degrees of freedom."""
    noise = seed_noise([[1.0, 3.0], [0.0, 1.0, 2.0], [9.0]])
    assert noise.estimate == pytest.approx(np.sqrt(4 / 3))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        means = rng.normal(0, 5, size=3)
        noise = seed_noise(
            [rng.normal(m, 0.7, size=n) for m, n in zip(means, (2, 3, 4), strict=True)]
        )
        hits += noise.low <= 0.7 <= noise.high
    assert hits / 2000 == pytest.approx(0.9, abs=0.02)


def test_without_a_repeated_configuration_there_is_no_estimate():
    assert seed_noise([]) is None
    assert seed_noise([[0.5], [0.7]]) is None


def test_equal_scores_mean_no_noise():
    assert seed_noise([[0.5, 0.5]]) is None  # of a collapsed model, say
    assert seed_noise([[0.5] * 3, [0.7] * 3]).high == 0.0


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        seed_noise([[0.5, float("nan")]])
