"""How points are chosen, seen from the ledger."""

import statistics
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from tuner.ledger import Ledger
from tuner.points import CONFIRM_SEED, Points, make_pruner
from tuner.sweep import load_sweep


@pytest.fixture
def make(write_sweep):
    def of(study=None, **blocks):
        loaded = load_sweep(write_sweep(**blocks))
        return Points(loaded, Ledger(study or optuna.create_study(direction="maximize")))

    return of


def score(point):
    import math

    return 1 - (math.log10(point["rate"]) + 3) ** 2 - 0.1 * point["depth"]


def begin(points, proposal):
    """Starts the proposed trial as a backend does."""
    distributions = points.space.distributions()
    attributes = proposal.attributes | {"arguments": []}
    trial = points.ledger.start_at(proposal.point, distributions, attributes, proposal.of_sampler)
    assert points.space.suggest(trial) == proposal.point
    return trial, proposal.point


def play(points, count=None, until_confirmed=False):
    """Runs the search to its end (or `count` trials) with the closed form in place of a script."""
    for phase in (points.next_search, points.next_confirm)[: 2 if until_confirmed else 1]:
        while proposal := phase():
            trial, point = begin(points, proposal)
            points.ledger.finish(trial, score(point), TrialState.COMPLETE)
            if count is not None and len(points.ledger.read_trials()) >= count:
                return


def chosen(points):
    return [t.user_attrs["chosen_by"] for t in points.ledger.read_trials()]


def params(points):
    return [t.params for t in points.ledger.read_trials()]


def test_default_then_space_filling_then_adaptive(make):
    points = make(budget={"trials": 12}, search={"space_filling": 0.25})
    play(points)
    assert chosen(points) == ["default"] + ["space-filling"] * 3 + ["adaptive"] * 8
    assert params(points)[0] == {"rate": 1e-4, "depth": 2}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_resumed_search_has_the_points_of_an_uninterrupted_one(make, sampler):
    blocks = {"budget": {"trials": 9}, "search": {"sampler": sampler, "seed": 3}}
    whole = make(**blocks)
    play(whole)
    study = optuna.create_study(direction="maximize")
    play(make(study, **blocks), count=5)
    resumed = make(study, **blocks)
    play(resumed)
    assert params(resumed) == params(whole)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_no_sampler_repeats_a_point_of_a_continuous_space(make, sampler):
    points = make(budget={"trials": 10}, search={"sampler": sampler})
    play(points)
    assert len({p["rate"] for p in params(points)}) == 10


def test_every_search_trial_has_a_seed_of_its_own_and_zero_is_a_seed(make):
    points = make(budget={"trials": 5})
    play(points)
    assert [t.user_attrs["seed"] for t in points.ledger.read_trials()] == [0, 1, 2, 3, 4]


def test_larger_budget_goes_to_the_adaptive_sampler(make):
    study = optuna.create_study(direction="maximize")
    first = make(study, budget={"trials": 6})
    study.set_user_attr("space_filling_trials", first.fill)
    play(first)
    more = make(study, budget={"trials": 20})
    play(more)
    assert chosen(more)[6:] == ["adaptive"] * 14


def test_another_sweep_seed_gives_other_points(make):
    first, second = (make(search={"seed": s, "start_with_default": False}) for s in (0, 1))
    play(first)
    play(second)
    assert not {p["rate"] for p in params(first)} & {p["rate"] for p in params(second)}


def test_grid_tries_every_point_once(make):
    points = make(
        space={"rate": {"choice": [0.1, 0.01]}, "depth": {"int": [1, 3]}},
        search={"sampler": "grid"}, budget={"trials": 10},
    )  # fmt: skip
    play(points)
    assert Counter(str(p) for p in params(points)) == Counter(
        str({"rate": x, "depth": k}) for x in (0.1, 0.01) for k in (1, 2, 3)
    )


def test_the_default_is_a_point_of_the_grid_that_is_tried_first_and_confirmed(make):
    points = make(
        space={"rate": {"choice": [0.1, 0.01], "default": 0.01}, "depth": {"int": [1, 3], "default": 2}},
        search={"sampler": "grid"}, budget={"trials": 6}, confirm={"top": 1, "seeds": 2},
    )  # fmt: skip
    play(points, until_confirmed=True)
    assert chosen(points)[:6] == ["default"] + 5 * ["grid"]
    assert params(points)[0] == {"rate": 0.01, "depth": 2}
    assert len({str(p) for p in params(points)[:6]}) == 6
    confirmed = Counter(t.user_attrs["confirms"] for t in points.ledger.read_trials("confirm"))
    assert confirmed[0] == 2
    assert len(confirmed) == 2


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ("tpe", optuna.samplers.TPESampler), ("gp", optuna.samplers.GPSampler),
        ("cmaes", optuna.samplers.CmaEsSampler),
    ],
)  # fmt: skip
def test_each_adaptive_sampler_is_the_one_that_is_named(make, sampler, kind):
    points = make(budget={"trials": 4}, search={"sampler": sampler})
    play(points)
    assert chosen(points)[-1] == "adaptive"
    assert type(points._memory.study.sampler) is kind


@pytest.mark.parametrize(("sampler", "said"), [("random", "random"), ("qmc", "space-filling")])
def test_samplers_that_learn_nothing_say_so(make, sampler, said):
    points = make(budget={"trials": 4}, search={"sampler": sampler})
    play(points)
    assert chosen(points) == ["default", *[said] * 3]


def test_tpe_finds_better_points_than_chance(make):
    found = {}
    for sampler in ("tpe", "random"):
        best = []
        for seed in range(5):
            points = make(budget={"trials": 40}, search={"sampler": sampler, "seed": seed})
            play(points)
            best.append(points.ledger.best_first()[0].value)
        found[sampler] = statistics.median(best)
    assert found["tpe"] > found["random"], found


def test_confirmation_runs_winner_and_default_on_the_same_fresh_seeds(make):
    points = make(budget={"trials": 6}, confirm={"top": 2, "seeds": 3})
    play(points, until_confirmed=True)
    runs = points.ledger.read_trials("confirm")
    by_candidate = {}
    for t in runs:
        by_candidate.setdefault(t.user_attrs["confirms"], []).append(t.user_attrs["seed"])
    best = [t.number for t in points.ledger.best_first() if t.number != 0]
    assert set(by_candidate) == {*best[:2], 0}
    assert all(sorted(s) == [CONFIRM_SEED + k for k in range(3)] for s in by_candidate.values())


def test_runner_up_is_confirmed_as_well_where_the_default_leads(make):
    points = make(
        space={"rate": {"float": [1e-5, 1e-1], "scale": "log", "default": 1e-3},
               "depth": {"int": [1, 4], "default": 1}},
        budget={"trials": 4}, confirm={"top": 1, "seeds": 1},
    )  # fmt: skip
    play(points, until_confirmed=True)
    first, second = points.ledger.best_first()[:2]
    assert first.number == 0
    confirmed = {t.user_attrs["confirms"] for t in points.ledger.read_trials("confirm")}
    assert confirmed == {0, second.number}


def test_a_released_trial_keeps_its_number_and_counts_once(make):
    points = make(budget={"trials": 4})
    play(points, count=3)
    trial, point = begin(points, points.next_search())
    points.ledger.release(trial)
    (orphan,) = points.ledger.orphans(lambda trial: False)
    assert (orphan.number, orphan.params) == (3, point)
    again = points.ledger.take(orphan, "another")
    assert points.ledger.orphans(lambda t: t.user_attrs["worker"] == "dead") == []
    assert points.ledger.orphans(lambda t: t.user_attrs["worker"] == "another")[0].number == 3
    points.ledger.finish(again, 0.5, TrialState.COMPLETE)
    assert points.next_search() is None
    assert [t.state for t in points.ledger.read_trials()] == [TrialState.COMPLETE] * 4


def test_default_that_the_search_repeats_is_still_confirmed_as_the_default(make):
    points = make(
        space={"depth": {"int": [1, 2], "default": 1}, "rate": {"choice": [0.001], "default": 0.001}},
        budget={"trials": 6}, confirm={"top": 1, "seeds": 1},
    )  # fmt: skip
    play(points, until_confirmed=True)
    confirmed = [t.user_attrs["confirms"] for t in points.ledger.read_trials("confirm")]
    points_confirmed = [points.ledger.read_trials()[n].params["depth"] for n in confirmed]
    assert 0 in confirmed
    assert sorted(points_confirmed) == [1, 2]


def test_pruner_counts_evaluations_where_a_script_gives_no_fraction():
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median", by_count=True))
    for value in range(5):
        trial = study.ask()
        for step in (1, 2, 3):
            trial.report(float(value), step)
        study.tell(trial, float(value))
    hopeless = study.ask()
    hopeless.report(0.5, 2)
    assert hopeless.should_prune()


def test_median_pruner_compares_equal_shares_of_the_schedule():
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median"))
    for value in range(5):
        trial = study.ask()
        for step in (50, 100):
            trial.report(float(value), step)
        study.tell(trial, float(value))
    hopeless, early = study.ask(), study.ask()
    early.report(-9.0, 25)
    hopeless.report(0.5, 50)
    assert not early.should_prune()
    assert hopeless.should_prune()


def test_runs_on_fresh_seeds_do_not_move_the_median_of_the_search():
    study = optuna.create_study(direction="maximize", pruner=make_pruner("median"))
    for value in (*range(5), *[4] * 9):
        trial = study.ask()
        trial.set_user_attr("purpose", "search" if len(study.trials) <= 5 else "confirm")
        for step in (50, 100):
            trial.report(float(value), step)
        study.tell(trial, float(value))
    worse, better = study.ask(), study.ask()
    worse.report(1.5, 50)
    better.report(2.5, 50)
    assert worse.should_prune()
    assert not better.should_prune()


def test_a_warm_start_tries_the_last_winner_and_shifts_what_was_known_by_what_is_new(make):
    points = make(budget={"trials": 8}, search={"space_filling": 0.2, "seed": 3})
    default = points.default
    winner = {"rate": 1e-3, "depth": 1}
    earlier = [
        {"params": default, "value": 0.2, "chosen_by": "default"},
        {"params": winner, "value": 0.8, "chosen_by": "adaptive"},
        {"params": {"rate": 5e-4, "depth": 2}, "value": 0.6, "chosen_by": "adaptive"},
        {"params": {"rate": 10.0, "depth": 2}, "value": 0.9, "chosen_by": "adaptive"},  # outside
    ]
    points.ledger.set("warm", {"run": "before", "winner": winner, "trials": earlier})
    points = Points(points.loaded, points.ledger)
    assert len(points.earlier.trials) == 3
    for value, chosen_by, point in ((0.1, "default", default), (0.7, "last winner", winner)):
        proposal = points.next_search()
        assert proposal.attributes["chosen_by"] == chosen_by
        assert proposal.point == point
        trial, _ = begin(points, proposal)
        points.ledger.finish(trial, value, TrialState.COMPLETE)
    # Today both scored 0.1 less, and so would the others have.
    prior = points.earlier.as_of_now(points.ledger.read_trials())
    assert [round(value, 6) for _, value in prior] == [0.1, 0.7, 0.5]
    play(points)
    kinds = [t.user_attrs["chosen_by"] for t in points.ledger.read_trials()]
    assert kinds == ["default", "last winner", "space-filling", "space-filling", *["adaptive"] * 4]


def test_what_lies_beside_the_steps_of_a_new_space_is_left_out_of_a_warm_start(make):
    """A step, or whole numbers, where there were none in the run before."""
    space = {"rate": {"float": [0.1, 0.4], "step": 0.1}, "depth": {"int": [1, 4]}}
    points = make(budget={"trials": 4}, space=space)
    earlier = [
        {"params": {"rate": 0.1, "depth": 2}, "value": 0.5, "chosen_by": "default"},
        {"params": {"rate": 0.1, "depth": 2.5}, "value": 0.6, "chosen_by": "adaptive"},
        {"params": {"rate": 0.123, "depth": 2}, "value": 0.7, "chosen_by": "adaptive"},
    ]
    winner = {"rate": 0.123, "depth": 2}
    points.ledger.set("warm", {"run": "before", "winner": winner, "trials": earlier})
    points = Points(points.loaded, points.ledger)
    assert points.earlier.winner is None
    assert [point for point, _ in points.earlier.trials] == [{"rate": 0.1, "depth": 2}]
    play(points)


def test_a_last_winner_outside_the_space_or_at_the_default_is_not_tried(make):
    for winner in ({"rate": 10.0, "depth": 1}, None, "default"):
        points = make(budget={"trials": 3})
        point = points.default if winner == "default" else winner
        points.ledger.set("warm", {"run": "before", "winner": point, "trials": []})
        assert Points(points.loaded, points.ledger).earlier.winner is None


def test_the_search_ends_when_the_judge_says_so_and_stays_ended(make):
    asked = []

    def judge(study):
        asked.append(len(study.trials))
        return {"sentence": "nothing left to gain"} if len(study.trials) >= 7 else None

    points = make(budget={"trials": 12, "stop_early": True}, search={"space_filling": 0.3})
    points.judge = judge
    play(points)
    assert len(points.ledger.read_trials()) == 7
    assert asked == [5, 6, 7], "not before the evenly spread trials are done, once after each trial"
    assert points.ended_early() == "nothing left to gain"
    assert points.search_total() == 7
    again = Points(points.loaded, points.ledger, lambda study: asked.append("again"))
    assert again.next_search() is None
    assert asked[-1] == 7
    without = make(points.ledger.study, budget={"trials": 12})
    assert without.next_search() is not None, "a person may go on: budget.stop_early: false"


def test_a_sweep_in_which_nothing_matters_ends_early_and_says_why(write_sweep, tuner, tmp_path):
    path = write_sweep(
        space={"rate": {"float": [9e-4, 1.1e-3]}, "depth": {"choice": [1, 2], "default": 1}},
        fixed={"noise": 1.0, "evaluations": 1}, confirm={"top": 1, "seeds": 1},
        budget={"trials": 60, "parallel": 2, "stop_early": True}, search={"space_filling": 0.2},
    )  # fmt: skip
    done = tuner("run", path, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    said = next(line for line in done.stdout.splitlines() if "nothing left to gain" in line)
    assert "changes the score by about" in said
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    search = ledger.counted("search")
    assert 12 <= len(search) < 60
    assert ledger.counted("confirm")
    facts = ledger.study.user_attrs["search_ended"]
    assert facts["chance"] < 0.2
    assert facts["sentence"] in (tmp_path / "run/report.json").read_text()
    again = tuner("run", path, "--out", tmp_path / "run")
    assert "nothing left to gain" in again.stdout
    ledger.close()
    ledger = Ledger.load(f"sqlite:///{tmp_path}/run/study.db")
    assert len(ledger.counted("search")) == len(search)


def test_one_at_a_time_is_the_default_with_each_value_changed_alone(make):
    space = {
        "rate": {"choice": [1e-4, 1e-3, 1e-2], "default": 1e-4},
        "depth": {"int": [1, 3], "default": 2},
    }
    points = make(
        space=space, search={"sampler": "one_at_a_time"}, budget={"trials": 20},
        confirm={"top": 9, "seeds": 1},
    )  # fmt: skip
    play(points, until_confirmed=True)
    assert params(points)[:5] == [
        {"rate": 1e-4, "depth": 2}, {"rate": 1e-3, "depth": 2}, {"rate": 1e-2, "depth": 2},
        {"rate": 1e-4, "depth": 1}, {"rate": 1e-4, "depth": 3},
    ]  # fmt: skip
    assert chosen(points) == ["default"] + ["one at a time"] * 4 + ["confirmation"] * 5


def test_one_at_a_time_takes_1_for_1_0(tmp_path, write_sweep):
    """The script's default is 0.0 where the file offers 0: Optuna gives 0 back, also from a database."""
    path = write_sweep(
        script="train_script/train.py", task={"name": "demo"}, objective={"metric": "eval_f1"},
        space={"rdrop": {"choice": [0, 1]}, "layer_decay": {"choice": [1, 0.8]}},
        search={"sampler": "one_at_a_time"},
    )  # fmt: skip
    points = Points(load_sweep(path), Ledger.create(f"sqlite:///{tmp_path}/a.db", "x", "maximize"))
    while proposal := points.next_search():
        trial, _ = begin(points, proposal)
        points.ledger.finish(trial, 0.5, TrialState.COMPLETE)
    assert chosen(points) == ["default", "one at a time", "one at a time"]
    assert params(points)[0] == {"rdrop": 0, "layer_decay": 1}
