import math

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind

from reports.sensitivity.difference import difference, more_runs
from reports.sensitivity.seed_noise import seed_noise


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


def test_others_tell_how_large_the_seed_noise_is():
    """Two lucky pairs lie together; a third configuration shows that the noise is larger."""
    alone = difference([0.85, 0.851], [0.83, 0.831])
    pooled = difference([0.85, 0.851], [0.83, 0.831], others=[[0.80, 0.82], [0.79]])
    assert alone.low > 0.017
    assert pooled.estimate == alone.estimate
    # Squares: 2 of 0.0000005 and one of 0.0002, over 3 degrees; Student's 2.353 of it.
    error = ((0.000001 + 0.0002) / 3) ** 0.5
    assert pooled.high - pooled.estimate == pytest.approx(2.3534 * error, rel=1e-3)


def test_two_runs_that_are_the_same_do_not_say_that_there_is_no_noise():
    assert difference([0.8209], [0.8122, 0.8122]) is None
    sure = difference([0.9] * 3, [0.8] * 3)
    assert sure.low == sure.high == pytest.approx(0.1)


def test_configurations_that_collapsed_do_not_make_the_others_surer():
    a, b = [0.86, 0.87, 0.88], [0.845, 0.85, 0.87]
    assert difference(a, b, others=[[0.8122] * 3] * 6) == difference(a, b)
    assert seed_noise([a, b, *[[0.8122] * 3] * 6]) == seed_noise([a, b])
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        runs = [rng.normal(size=3), rng.normal(size=3)]
        found = difference(*runs, others=[[0.0] * 3] * 10)
        held += found.low <= 0 <= found.high
    assert held / 1000 == pytest.approx(0.9, abs=0.03)


def test_more_runs_narrow_an_interval_by_their_degrees_of_freedom_too():
    """0.0086 of noise, 0.0150 apart: of two runs each the quantile is 2.9, of three 2.1, of four 1.9."""
    a, b = [0.8150 - 0.00608, 0.8150 + 0.00608], [0.8 - 0.00608, 0.8 + 0.00608]
    assert difference(a, b).low < 0
    more = more_runs(a, b, 0.9, [], 30)
    assert more == 1
    reach = student.ppf(0.95, 4) * 0.0086 * math.sqrt(2 / 3)
    assert reach < 0.0150
    assert more_runs(a, [x + 0.0149 for x in b], 0.9, [], 30) is None
