import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

from reports.sensitivity.axis import Axis
from reports.sensitivity.shares import sobol_shares
from reports.sensitivity.surrogate import MEAN_VARIANCE, Posterior, Surrogate, _truncated
from reports.sensitivity.terms import Terms

AXES = [Axis("a", 0.0, 1.0), Axis("b", choices=(8, 16, 32)), Axis("c", choices=("x", "y"))]


def points(count, seed=0, axes=AXES):
    uniform = np.random.default_rng(seed).random((count, len(axes)))
    return np.column_stack([axis.draw(uniform[:, j]) for j, axis in enumerate(axes)])


def surrogate_of(count, axes=AXES, noise=0.1):
    positions = points(count, axes=axes)
    scores = positions.sum(axis=1) + noise * np.random.default_rng(1).standard_normal(count)
    return Surrogate(Terms(axes), positions, scores, scores)


@pytest.mark.parametrize("count", [12, 200])
def test_gradient_is_that_of_the_density_on_both_roads(count):
    surrogate = surrogate_of(count)
    assert (surrogate._gram_PP is not None) == (count == 200)
    state = np.random.default_rng(2).standard_normal(surrogate.hyperparameters) * 0.5
    _, slope = surrogate.log_density(state)
    each = np.eye(surrogate.hyperparameters) * 1e-5
    numeric = [
        (surrogate.log_density(state + e)[0] - surrogate.log_density(state - e)[0]) / 2e-5
        for e in each
    ]
    assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("count", [12, 200])
def test_density_is_that_of_a_normal_with_the_terms_covariance(count):
    surrogate = surrogate_of(count)
    state = np.random.default_rng(3).standard_normal(surrogate.hyperparameters) * 0.5
    scale, noise, _ = surrogate._scales(state)
    scaled = surrogate.features_NP * scale
    covariance = scaled @ scaled.T + MEAN_VARIANCE + noise * np.eye(count)
    factor = cho_factor(covariance, lower=True)
    scores = surrogate._scores_N
    expected = -0.5 * scores @ cho_solve(factor, scores) - np.log(np.diag(factor[0])).sum()
    assert surrogate.log_density(state)[0] == pytest.approx(expected - 0.5 * state @ state)


@pytest.mark.parametrize("count", [12, 200])
def test_left_out_scores_are_those_of_a_fit_without_the_group(count):
    surrogate = surrogate_of(count)
    state = np.zeros((1, surrogate.hyperparameters))
    group = np.arange(count) // 2
    predicted = surrogate.left_out(state, group)
    scale, noise, _ = surrogate._scales(state[0])
    scaled = surrogate.features_NP * scale
    covariance = scaled @ scaled.T + MEAN_VARIANCE
    rest = np.arange(count) >= 2
    pull = np.linalg.solve(
        covariance[np.ix_(rest, rest)] + noise * np.eye(count - 2), surrogate._scores_N[rest]
    )
    expected = covariance[np.ix_(~rest, rest)] @ pull * surrogate.unit + surrogate.centre
    assert predicted[:2] == pytest.approx(expected)


@pytest.mark.parametrize("count", [12, 200])
def test_drawn_functions_have_the_posteriors_mean(count):
    surrogate = surrogate_of(count)
    state = np.zeros(surrogate.hyperparameters)
    drawn, mean, noise = surrogate._functions(state, np.random.default_rng(4), 4000)
    scale, _, _ = surrogate._scales(state)
    scaled = surrogate.features_NP * scale
    covariance = scaled @ scaled.T + MEAN_VARIANCE
    expected = covariance @ np.linalg.solve(covariance + noise * np.eye(count), surrogate._scores_N)
    values = surrogate.features_NP @ drawn + mean
    assert values.mean(axis=1) == pytest.approx(expected, abs=0.05)


def test_squared_coefficients_are_the_shares():
    """a's straight function with 1, a product of b and c with 2: variances 1 and 4."""
    terms = Terms(AXES)
    coefficients = np.zeros((terms.count, 1))
    coefficients[0] = 1.0
    both = terms.uses_DP[1] & terms.uses_DP[2] & ~terms.uses_DP[0]
    coefficients[np.flatnonzero(both)[0]] = 2.0
    shares = sobol_shares(Posterior(terms, coefficients, np.zeros(1), np.ones(1)))
    assert shares.total_DS[:, 0] == pytest.approx([0.2, 0.8, 0.8])
    assert shares.main_DS[:, 0] == pytest.approx([0.2, 0.0, 0.0])
    assert shares.pair_S[1, 2] == pytest.approx([0.8])
    assert shares.variance_S == pytest.approx([5.0])


def test_shares_of_ishigami_are_found():
    """Closed form at a = 7, b = 0.1: totals 0.558, 0.442, 0.244, first orders 0.314, 0.442, 0."""
    axes = [Axis(name, -np.pi, np.pi) for name in "abc"]
    at = points(400, axes=axes)
    x = np.pi * (2 * at - 1)
    scores = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    surrogate = Surrogate(Terms(axes), at, scores, scores)
    posterior, _ = surrogate.sample(np.random.default_rng(0), draws=20)
    shares = sobol_shares(posterior)
    assert np.median(shares.total_DS, axis=1) == pytest.approx([0.558, 0.442, 0.244], abs=0.03)
    assert np.median(shares.main_DS, axis=1) == pytest.approx([0.314, 0.442, 0.0], abs=0.03)


def test_scores_that_are_only_bounded_stay_within_their_bounds():
    positions = points(30)
    low = positions.sum(axis=1)
    high = low.copy()
    low[:10], high[:10] = -np.inf, 0.5
    low[10:15] = high[10:15] - 0.2
    surrogate = Surrogate(Terms(AXES), positions, low, high)
    surrogate.sample(np.random.default_rng(0), draws=5, warm_up=5)
    scores = surrogate._scores_N * surrogate.unit + surrogate.centre
    assert (scores <= high + 1e-9).all()
    assert (scores >= low - 1e-9).all()


def test_truncated_normal_numbers_are_right_far_in_the_tails():
    rng = np.random.default_rng(0)
    far = _truncated(np.full(4000, 8.0), np.full(4000, np.inf), rng)
    assert far.min() >= 8.0
    assert far.mean() == pytest.approx(8.1213, abs=0.01)  # 8's inverse Mills ratio
    below = _truncated(np.full(4000, -np.inf), np.full(4000, 0.0), rng)
    assert below.mean() == pytest.approx(-np.sqrt(2 / np.pi), abs=0.03)


def test_thirty_axes_keep_their_pairs_within_bounds():
    terms = Terms([Axis(f"p{j}", 0.0, 1.0) for j in range(30)])
    assert terms.count <= 800
    assert terms.uses_DP.any(axis=1).all()
    assert (terms.order_P == 2).any()
