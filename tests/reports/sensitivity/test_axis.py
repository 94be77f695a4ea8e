import math

import numpy as np
import pytest

from reports.sensitivity.axis import Axis

AXES = {
    "float": Axis("a", 0.0, 0.3),
    "log": Axis("a", 1e-5, 1e-3, log=True),
    "int": Axis("a", 2, 5, step=1),
    "ordered": Axis("a", choices=(8, 16, 32)),
    "unordered": Axis("a", choices=("linear", "cosine", None)),
    "many levels": Axis("a", 1, 1000, step=1),
}


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_functions_have_mean_0_variance_1_and_no_correlation_over_the_range(axis):
    fine = axis.candidates(20_001)
    values_MK = axis.features(fine)
    count = len(fine)
    weights = np.full(count, 1 / count)
    if not axis.has_levels:  # trapezium
        weights = np.full(count, 1 / (count - 1))
        weights[[0, -1]] /= 2
    assert values_MK.T @ weights == pytest.approx(np.zeros(axis.size), abs=1e-4)
    assert (values_MK * weights[:, None]).T @ values_MK == pytest.approx(
        np.eye(axis.size), abs=2e-4
    )


@pytest.mark.parametrize(
    ("axis", "value", "position"),
    [
        ("float", 0.15, 0.5),
        ("log", 1e-4, 0.5),
        ("int", 3, 1 / 3),
        ("ordered", 16, 0.5),
        ("unordered", "cosine", 1.0),
        ("unordered", None, 2.0),
    ],
)
def test_position_and_value_are_each_others_inverse(axis, value, position):
    assert AXES[axis].position(value) == pytest.approx(position)
    assert AXES[axis].value(position) == (
        pytest.approx(value) if isinstance(value, float) else value
    )


def test_a_value_beyond_the_range_counts_as_its_end_and_an_unknown_one_as_missing():
    assert AXES["float"].position(0.9) == 1.0
    assert AXES["log"].position(0.0) == 0.0
    assert math.isnan(AXES["unordered"].position("exponential"))
    assert math.isnan(AXES["float"].position("fast"))


def test_a_missing_position_has_no_effect():
    assert not AXES["log"].features(np.array([np.nan])).any()


def test_unordered_choices_are_equally_far_from_each_other():
    values = AXES["unordered"].features(np.array([0.0, 1.0, 2.0]))
    apart = [float(((values[i] - values[j]) ** 2).sum()) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert apart == pytest.approx([apart[0]] * 3)


def test_a_long_length_scale_leaves_the_straight_function_only():
    short, _ = AXES["float"].log_weights(math.log(0.1))
    long, _ = AXES["float"].log_weights(math.log(5.0))
    assert np.exp(long)[0] > 0.95
    assert np.exp(short)[0] < 0.5
    assert np.exp(long).sum() == pytest.approx(1.0, abs=1e-3)


def test_the_neighbourhood_of_a_level_has_the_levels_beside_it():
    assert AXES["int"].near(1 / 3, 0.1) == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert AXES["float"].near(0.05, 0.1).min() == 0.0


def test_one_value_is_no_axis():
    assert Axis("a", 0.1, 0.1).size == 0
    assert Axis("a", choices=("only",)).size == 0


def test_integers_on_a_log_scale_weigh_as_optuna_draws_them():
    """Half of 1..64 in the logarithm lies below 5 and 6, as it does just beyond 64 levels."""
    for high in (64, 65):
        axis = Axis("a", 1, high, log=True, step=1)
        drawn = axis.draw(np.linspace(0, 0.9999, 2001))
        assert axis.value(float(np.median(drawn))) in (5, 6, 7, 8)
    assert isinstance(Axis("a", 1, 1000, step=1).value(0.5003), int)


def test_choices_that_are_not_finite_have_no_order():
    axis = Axis("a", choices=(0.5, 1.0, math.inf))
    assert not axis.ordered
    assert axis.position(math.inf) == 2.0
