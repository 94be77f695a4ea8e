import numpy as np
import pytest
from scipy.stats import ttest_ind

from reports.sensitivity.difference import difference


def test_interval_is_that_of_scipys_t_test():
    a, b = [0.8, 0.9, 0.7], [0.5, 0.6]
    found = difference(a, b)
    expected = ttest_ind(a, b).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.estimate == pytest.approx(0.25)


def test_two_equal_configurations_are_told_apart_in_one_case_of_ten():
    rng = np.random.default_rng(0)
    pairs = (difference(rng.normal(size=2), rng.normal(size=2)) for _ in range(2000))
    told = sum(not found.low <= 0 <= found.high for found in pairs)
    assert told / 2000 == pytest.approx(0.1, abs=0.02)


def test_one_score_each_says_nothing():
    assert difference([0.5], [0.4]) is None
    assert difference([0.5, 0.6, 0.7], []) is None


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        difference([0.5, float("inf")], [0.5])
