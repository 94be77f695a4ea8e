import math

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest

from tuner.space import Parameter, SearchSpace


def space(**parameters):
    return SearchSpace({name: Parameter(**form) for name, form in parameters.items()})


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({}, "needs exactly one of float, int, choice (found none)"),
        ({"float": [0.0, 1.0], "int": [0, 1]}, "found float and int"),
        ({"float": [2.0, 1.0]}, "low 2 must be less than high 1"),
        ({"int": [2, 2]}, "low 2 must be less than high 2"),
        ({"float": [0.0, 1.0], "scale": "log"}, "scale log needs a low above 0"),
        ({"float": [1.0]}, "needs [low, high], not 1 values"),
        ({"float": [0.0, math.inf]}, "needs bounds between"),
        ({"choice": []}, "choice is empty"),
        ({"choice": [1, 1]}, "names a value twice"),
        ({"choice": [1], "scale": "log"}, "not with choice"),
        ({"float": [0.0, 1.0], "step": 0.3}, "step 0.3 does not lead from 0 to 1"),
        ({"int": [1, 9], "step": 1.5}, "must be a whole number"),
        ({"float": [1.0, 4.0], "scale": "log", "step": 1.0}, "step does not go with scale log"),
        ({"int": [1, 9], "default": 12}, "default 12 is none of its values"),
        ({"choice": [8, 16], "default": 32}, "default 32 is none of its values"),
        ({"float": [0.0, 0.3], "step": 0.1, "default": 0.15}, "default 0.15 is none of its values"),
    ],
)
def test_impossible_parameter_is_explained(form, fault):
    with pytest.raises(ValidationError) as caught:
        Parameter(**form)
    assert fault in str(caught.value)


FORMS = st.one_of(
    st.tuples(st.floats(1e-6, 1.0), st.floats(1.1, 100.0), st.sampled_from(["linear", "log"])).map(
        lambda t: {"float": [t[0], t[1]], "scale": t[2]}
    ),
    st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from(["linear", "log"])).map(
        lambda t: {"int": [t[0], t[0] + t[1]], "scale": t[2]}
    ),
    st.lists(st.integers() | st.text(max_size=4), min_size=1, max_size=5, unique_by=repr).map(
        lambda values: {"choice": values}
    ),
)


@given(FORMS, st.floats(0, 1, exclude_max=True))
def test_unit_cube_points_are_points_that_optuna_accepts(form, u):
    only = space(p=form)
    point = only.from_unit([u])
    study = optuna.create_study()
    study.enqueue_trial(point)
    assert only.suggest(study.ask()) == point


def test_log_parameter_is_uniform_on_its_log_scale():
    only = space(p={"float": [1e-5, 1e-1], "scale": "log"})
    values = [math.log10(only.from_unit([u])["p"]) for u in np.random.default_rng(0).random(2000)]
    assert kstest(values, "uniform", args=(-5, 4)).pvalue > 0.01


def test_int_parameter_gives_every_value_its_share():
    only = space(p={"int": [1, 4]})
    counts = np.bincount([only.from_unit([u])["p"] for u in np.linspace(0, 0.9999, 4000)])[1:]
    assert counts.tolist() == pytest.approx([1000] * 4, abs=2)


def test_stepped_floats_have_the_digits_that_a_person_wrote():
    assert Parameter(**{"float": [0.0, 0.3], "step": 0.1}).grid() == [0.0, 0.1, 0.2, 0.3]


def test_conditional_parameter_is_active_only_then():
    both = space(rate={"float": [0.0, 1.0], "when": {"kind": "b"}}, kind={"choice": ["a", "b"]})
    assert list(both.parameters) == ["kind", "rate"]
    assert both.from_unit([0.0, 0.5]) == {"kind": "a"}
    assert both.from_unit([0.9, 0.5]) == {"kind": "b", "rate": 0.5}


def test_conditions_in_a_circle_are_refused():
    with pytest.raises(ValueError, match="in a circle"):
        space(a={"choice": [1, 2], "when": {"b": 1}}, b={"choice": [1, 2], "when": {"a": 1}})


def test_grid_of_a_conditional_space_has_no_point_twice():
    both = space(kind={"choice": ["a", "b"]}, n={"int": [1, 3], "when": {"kind": "b"}})
    assert len(both.grid()) == 1 + 3


def test_nearest_point_keeps_what_fits():
    both = space(x={"float": [1.0, 2.0]}, k={"int": [2, 8], "step": 2}, c={"choice": ["p", "q"]})
    assert both.nearest({"x": 9.0, "k": 5, "c": "z"}) == {"x": 2.0, "k": 4, "c": "p"}


@pytest.mark.parametrize(
    "sampler",
    [optuna.samplers.TPESampler(n_startup_trials=3, seed=1), optuna.samplers.RandomSampler(seed=1),
     optuna.samplers.GPSampler(n_startup_trials=3, seed=1)],
    ids=["tpe", "random", "gp"],
)  # fmt: skip
def test_optunas_samplers_draw_stepped_floats_with_these_digits_too(sampler):
    """0.30000000000000004 would be another configuration than the default's 0.3."""
    stepped = space(dropout={"float": [0.0, 0.5], "step": 0.1})
    study = optuna.create_study(sampler=sampler)
    drawn = set()
    for _ in range(12):
        trial = study.ask()
        drawn.add(stepped.suggest(trial)["dropout"])
        study.tell(trial, 0.0)
    assert drawn <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
