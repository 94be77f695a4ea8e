"""Every fault of a sweep file, at once, with its line, before any trial starts."""

import json
import shutil

import pytest

from train_script.config import parse_arguments
from tuner.errors import SweepError
from tuner.sweep import check_outside, load_sweep

GOOD = """\
name: good
task: {name: demo}
model: minilm-l6
objective: {metric: eval_f1}
space:
  learning_rate: {float: [1e-5, 1.0e-4], scale: log}
  batch_size: {choice: [8, 16]}
fixed: {dropout: 0.2}
"""


@pytest.fixture
def faults(tmp_path):
    def of(text, *settings):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        with pytest.raises(SweepError) as caught:
            load_sweep(path, settings)
        return [fault.replace(str(path), "s.yaml") for fault in caught.value.faults]

    return of


@pytest.fixture
def load(tmp_path):
    def of(text, *settings):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return load_sweep(path, settings)

    return of


def test_every_fault_is_named_at_once_in_the_order_of_the_file(faults):
    found = faults("""\
name: x
task: {name: mrcp}
objctive: {metric: eval_f1}
space:
  learning_rte: {float: [1e-5, 1e-4], scale: log}
  epochs: {int: [5, 2]}
  batch_size: {choice: []}
  warmup_ratio: {flot: [0, 1]}
fixed: {dropot: 0.1}
budget: {trials: "24"}
""")
    assert found == [
        "s.yaml: objective is missing",
        "s.yaml:2 task.name 'mrcp' is unknown; did you mean mrpc?",
        "s.yaml:3 objctive is not a key of a sweep file; did you mean objective?",
        "s.yaml:5 space.learning_rte is not an option of train_script/train.py; "
        "did you mean learning_rate?",
        "s.yaml:6 space.epochs low 5 must be less than high 2",
        "s.yaml:7 space.batch_size choice is empty; name at least one value",
        "s.yaml:8 space.warmup_ratio.flot is not a key of a sweep file; did you mean float?",
        "s.yaml:9 fixed.dropot is not an option of train_script/train.py; did you mean dropout?",
        "s.yaml:10 budget.trials '24' is wrong: input should be a valid integer",
    ]


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("space.learning_rate.float=[0, 1]", "space.learning_rate scale log needs a low above 0"),
        ("space.learning_rate.float=[0.1, 99]", "99 must be less than 10"),
        ("objective.metric=f1", "objective.metric 'f1' is unknown; did you mean eval_f1?"),
        ("objective.direction=minimize", "is minimize, but eval_f1 is to maximize"),
        ("fixed.epochs=2.5", "fixed.epochs is wrong: 2.5 is not a whole number"),
        ("fixed.seed=3", "fixed.seed is set by the sweep"),
        ("fixed.data=x", "fixed.data is set by the sweep itself"),
        ("fixed.learning_rate=1e-5", "is searched as well"),
        ("fixed.model=minilm-l6", "model stands in space or fixed as well"),
        ("space.split_seed.int=[1, 3]", "space.split_seed cannot be searched"),
        ("search.sampler=tpr", "'tpr' is unknown; known: 'tpe'"),
        ("search.sampler=grid", "space.learning_rate has endlessly many values"),
        ("search.sampler=cmaes", "cmaes searches float and int only"),
        ("search.sampler=one_at_a_time", "learning_rate has endlessly many values; one_at_a_time"),
        ("search={sampler: one_at_a_time, start_with_default: false}", "changes the default"),
        ("budget.parallel=0", "budget.parallel 0 is neither a whole number from 1 up nor auto"),
        ("budget.parallel=two", "'two' is neither a whole number from 1 up nor auto"),
        ("name=a/b", "name 'a/b' may hold only letters"),
        ("sagemaker.usd_per_hour=-1", "-1 is neither a price above 0 nor prices by instance type"),
        ("sagemaker.instance_type=5", "5 is neither an instance type nor a list of them"),
        ("sagemaker.spott=true", "is not a key of a sweep file; did you mean spot?"),
        ("backend=sagmaker", "'sagmaker' is unknown"),
        ("script=nowhere.py", "nowhere.py does not exist"),
        ("task=demo", "task needs keys and values, not 'demo'"),
        ("space.batch_size.when.epochs=3", "names epochs, which is not in space"),
        ("space.batch_size.when.learning_rate=1e-5", "learning_rate, which has endlessly many; give it"),
        ("space={epochs: {int: [2, 5]}, dropout: {float: [0, 0.3], when: {epochs: 6}}}",
         "waits for epochs = 6, which is not one of its values"),
        ("space={epochs: {int: [2, 5]}, dropout: {float: [0, 0.3], when: {epochs: []}}}", "names no value of epochs"),
        ("fixed.early_stopping=2", "fixed.early_stopping 2 ends a run some time after its best evaluation"),
        ("fixed={early_stopping: 3, evaluations: 5, keep: best, warmup_ratio: 0.5}",
         "fixed.early_stopping 3 can end nothing before the last of 5 evaluations, of which 3 come after the warmup; "
         "set evaluations to 8 or more"),
        ("schedule.cron=0 6 * * * *", "is no schedule (6 fields): five fields as in cron"),
        ("budget.trials=0", "budget.trials 0 is wrong"),
        ("budget.hours=-1", "budget.hours -1 is wrong"),
        ("space.epochs.float=[1.0, 2.0]", "space.epochs is a whole number: write int: or choice:"),
        ("space.schedule.int=[1, 2]", "space.schedule is a text: write choice:"),
        ("space.batch_size.choice=[16, 16.0]", "names a value twice"),
        ("space.batch_size.choice=[16, .nan]", "choice needs finite numbers"),
        ("space.epochs.int=[1, 1000000000000000000000]", "needs bounds between"),
        ("space.weight_decay={float: [0, 1], step: .inf}", "must be a number above 0"),
        ("fixed.dropout=null", "fixed.dropout None is not a number, a text, true or false"),
        ("objective.metric=", "objective.metric"),
        ("search.seed=5000000000", "less than or equal to 4000000000"),
        ("budget.trials=010", "'010' is wrong: input should be a valid integer"),
        ("name=" + "x" * 70, "at most 63"),
        ("schedule={cron: 0 6 * * 1, timezon: UTC}", "schedule.timezon is not a key of a sweep file; did you mean timezone?"),
        ("sagemaker.completion={targt: 1}", "sagemaker.completion.targt is not a key of a sweep file; did you mean target?"),
        ("space.learning_rate={flaot: [0, 1]}", "is not a key of a sweep file; did you mean float?"),
        ('fixed.schedule="a\\0b"', "a character that no program takes"),
        ("script=" + "x" * 5000, "does not exist"),
        ("budget.hours=.inf", "budget.hours inf is wrong: input should be a finite number"),
        ("space.attention_dropout.float=[-1, 0.3]", "-1 must be at least 0"),
    ],
)  # fmt: skip
def test_impossible_setting_is_explained(faults, setting, fault):
    found = faults(GOOD, setting)
    assert any(fault in text for text in found), found


def test_fault_from_the_command_line_does_not_blame_a_line_of_the_file(faults):
    assert faults(GOOD, "space.learning_rate.float=[0, 1]")[0].startswith(
        "--set space.learning_rate scale log"
    )
    assert faults(GOOD, "fixed.dropout=2")[0].startswith("--set fixed.dropout is wrong")
    assert faults(GOOD, "search.sampler=grid")[0].startswith("s.yaml:6 space.learning_rate has")


def test_grid_larger_than_the_budget_is_refused(faults):
    text = GOOD.replace("{float: [1e-5, 1.0e-4], scale: log}", "{choice: [1e-5, 3e-5, 1e-4]}")
    found = faults(text, "search.sampler=grid", "budget.trials=5")
    assert found == ["--set search.sampler the grid has 6 points, more than budget.trials 5"]
    found = faults(text, "search.sampler=one_at_a_time", "budget.stop_early=true")
    assert found == ["--set budget.stop_early would end one_at_a_time before every change has run"]
    found = faults(text, "search.sampler=one_at_a_time", "budget.trials=2")
    assert found == ["--set search.sampler one_at_a_time has 4 points, more than budget.trials 2"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a sweep file"),
        ("- a\n- b\n", "is not a sweep file"),
        ("name: [x\n", "s.yaml:2 is not valid YAML"),
        ("name: x\nname: y\n", "s.yaml:2 name stands twice; remove one"),
        ("a: \x01\n", "is not valid YAML"),
        ("[" * 3000, "is nested too deeply"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        ("a: !!bool maybe\n", "is not valid YAML: a value is not what its !! says"),
        ("a: !!timestamp x\n", "is not valid YAML: a value is not what its !! says"),
    ],
)
def test_file_that_is_no_sweep_is_explained(faults, text, fault):
    assert fault in faults(text)[0]


def test_how_a_trial_is_computed_can_be_fixed_and_not_searched(load, faults):
    loaded = load(GOOD, "fixed.packing=off", "fixed.keep=best", "fixed.evaluations=2")
    words = loaded.arguments(loaded.typical_point(), 0)
    assert words[words.index("--packing") + 1] == "off"
    assert faults(GOOD, "space.packing.choice=[off, auto]") == [
        "--set space.packing cannot be searched"
    ]


def test_huge_spaces_are_answered_at_once(load, faults):
    import time

    began = time.process_time()
    huge = load(GOOD, "space.epochs={int: [1, 1000]}", "fixed.max_length=16")
    assert huge.default_point()["epochs"] == 3
    text = GOOD.replace("{float: [1e-5, 1.0e-4], scale: log}", "{float: [0.1, 1], step: 1.0e-8}")
    assert "more than budget.trials" in faults(text, "search.sampler=grid")[0]
    assert time.process_time() - began < 30  # to walk through them would take minutes


def test_negative_values_are_words_that_argparse_reads_as_numbers(load):
    from tuner.sweep import as_text

    assert as_text(-5e-05) == "-0.00005"
    assert float(as_text(-1.2345678901234567e-07)) == -1.2345678901234567e-07
    assert as_text(3e-05) == "3e-05"


def test_block_left_blank_has_its_defaults(load):
    assert load(GOOD + "budget:\n").sweep.budget.trials == 20


def test_input_longer_than_the_model_is_refused_before_any_trial(load, tiny_bert):
    loaded = load(GOOD.replace("minilm-l6", str(tiny_bert)), "fixed.max_length=100")
    with pytest.raises(SweepError, match="max_length 100 is more than the 64 positions"):
        check_outside(loaded)


@pytest.fixture
def of_type(tiny_bert, tmp_path):
    """The folder of a model that says to be of another type; `more` is of its configuration."""

    def make(kind, **more):
        folder = shutil.copytree(tiny_bert, tmp_path / kind)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": kind} | more))
        return folder

    return make


def test_what_the_model_cannot_do_is_refused_before_any_trial(load, of_type):
    folder = of_type("distilbert")
    loaded = load(
        GOOD.replace("minilm-l6", str(folder)), "fixed.max_length=32",
        "space.frozen_layers={choice: [0, 3]}", "fixed.reinit_layers=4", "fixed.pooling=mean",
    )  # fmt: skip
    with pytest.raises(SweepError) as fault:
        check_outside(loaded)
    assert fault.value.faults == [
        f"frozen_layers 3 is more than the 2 layers of model {folder}",
        f"reinit_layers 4 is more than the 2 layers of model {folder}",
        "pooling mean works only with models of type bert, camembert, electra, roberta, xlm-roberta, modernbert; "
        f"{folder} is distilbert",
    ]


@pytest.mark.parametrize(
    ("frozen", "when", "is_fault"),
    [
        ("choice: [0, 1]", "[0, 1]", True),
        ("choice: [0, 1]", "0", False),
        ("int: [0, 2]", "[0, 1]", True),  # 1 is no end of the range
        ("int: [0, 2]", "0", False),
    ],
)
def test_layers_that_one_trial_would_freeze_and_begin_anew_are_refused(
    load, tiny_bert, frozen, when, is_fault
):
    loaded = load(
        GOOD.replace("minilm-l6", str(tiny_bert)), "fixed.max_length=32",
        f"space.frozen_layers={{{frozen}}}",
        f"space.reinit_layers={{choice: [0, 2], when: {{frozen_layers: {when}}}}}",
    )  # fmt: skip
    if not is_fault:
        check_outside(loaded)
        return
    with pytest.raises(SweepError, match="frozen_layers 1 and reinit_layers 2 overlap in the 2"):
        check_outside(loaded)


def test_a_model_whose_layers_are_one_has_none_to_choose_from(load, of_type):
    folder = of_type("albert")
    loaded = load(
        GOOD.replace("minilm-l6", str(folder)), "fixed.max_length=32",
        "space.layer_decay={choice: [1.0, 0.8]}",
    )  # fmt: skip
    with pytest.raises(
        SweepError, match="layer_decay does not work with .* again and again"
    ) as told:
        check_outside(loaded)
    assert len(told.value.faults) == 1


def test_what_is_searched_for_one_model_is_not_asked_of_another(load, tiny_bert, of_type):
    """Deep: a model of another type, whose layers are four."""
    deep = of_type("distilbert", num_hidden_layers=4, n_layers=4)
    both = json.dumps([str(tiny_bert), str(deep)])
    text = GOOD.replace("model: minilm-l6\n", "")
    space = (
        f"space.model={{choice: {both}}}", "fixed.max_length=32",
        f"space.pooling={{choice: [cls, mean], when: {{model: '{tiny_bert}'}}}}",
    )  # fmt: skip
    check_outside(
        load(text, *space, f"space.frozen_layers={{choice: [0, 4], when: {{model: ['{deep}']}}}}")
    )
    with pytest.raises(SweepError) as fault:
        check_outside(
            load(text, *space, "space.frozen_layers={choice: [0, 4], when: {batch_size: 8}}")
        )
    assert fault.value.faults == [f"frozen_layers 4 is more than the 2 layers of model {tiny_bert}"]


def test_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(SweepError, match="nowhere.yaml does not exist"):
        load_sweep(tmp_path / "nowhere.yaml")


def test_numbers_without_a_dot_are_numbers_and_words_stay_words(load):
    loaded = load(GOOD + "budget: {hours: 1}\n", "fixed.weight_decay=1e-3")
    assert loaded.sweep.space["learning_rate"].bounds == [1e-5, 1e-4]
    assert loaded.sweep.fixed["weight_decay"] == 1e-3
    own = load(GOOD.replace("choice: [8, 16]", "choice: [8, 16]"), "task.limit=10")
    assert own.sweep.task.limit == 10


def test_argument_list_is_what_the_script_reads_back(load):
    loaded = load(GOOD)
    point = {"learning_rate": 3.3e-5, "batch_size": 16}
    config = parse_arguments(loaded.arguments(point, seed=7), {})
    assert (config.learning_rate, config.batch_size, config.seed) == (3.3e-5, 16, 7)
    assert (config.task, config.model, config.dropout) == ("demo", "minilm-l6", 0.2)
    assert config.metric == "eval_f1"


def test_direction_of_the_scripts_own_metrics_is_known(load):
    assert load(GOOD).direction == "maximize"
    assert load(GOOD, "objective.metric=eval_loss").direction == "minimize"


def test_default_point_comes_from_the_script_inside_the_space(load):
    assert load(GOOD).default_point() == {"learning_rate": 5e-5, "batch_size": 8}


def test_paths_are_beside_the_sweep_file_or_where_the_flag_was_typed(load, tmp_path, monkeypatch):
    text = GOOD.replace("{name: demo}", "{name: mrpc, data: files}")
    (tmp_path / "files").mkdir()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "files").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert load(text).task_options.data == str(tmp_path / "files")
    assert load(text, "task.data=files").task_options.data == str(elsewhere / "files")


def test_every_ready_sweep_file_loads():
    from tests.conftest import ROOT

    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        assert load_sweep(path).sweep.name == path.stem


def test_an_augmentation_that_breaks_labels_is_told_with_its_place(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "task: {name: cola}\nmodel: minilm-l6\nobjective: {metric: eval_mcc}\n"
        "space:\n  augment: {choice: [none, punctuation, swap]}\n"
    )
    with pytest.raises(SweepError) as told:
        load_sweep(path)
    assert [fault.partition(" ")[2] for fault in told.value.faults] == [
        "space.augment augment punctuation would break the labels of cola, which are about the very words",
        "space.augment augment swap needs pairs of texts, and those of cola are single",
    ]


def test_pairs_of_ones_own_are_swapped_only_where_their_order_is_said_to_say_nothing(tmp_path):
    rows = [f"one {i},two {i},{i % 2}" for i in range(20)]
    (tmp_path / "nli.csv").write_text("\n".join(["premise,hypothesis,label", *rows]) + "\n")
    path = tmp_path / "s.yaml"
    path.write_text(
        "task: {data: nli.csv, text: [premise, hypothesis], label: label}\nmodel: minilm-l6\n"
        "objective: {metric: eval_accuracy}\nspace:\n  augment: {choice: [none, swap]}\n"
    )
    with pytest.raises(
        SweepError, match=r"space.augment augment swap keeps .* \{symmetric: true\}"
    ):
        load_sweep(path)
    load_sweep(path, ["task.symmetric=true"])


def test_synonyms_on_sagemaker_need_an_image_that_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr("train_script.augment._wordnet", lambda: None)
    path = tmp_path / "s.yaml"
    path.write_text("""\
task: {name: demo}
model: minilm-l6
objective: {metric: eval_f1}
space: {learning_rate: {float: [1e-5, 1e-4]}}
fixed: {augment: synonyms}
""")
    for words, fault in (
        ((), "apt-get install wordnet-base"),
        (("backend=sagemaker",), "name one that has them in sagemaker.image"),
    ):
        with pytest.raises(SweepError, match=fault):
            load_sweep(path, words)
    load_sweep(path, ("backend=sagemaker", "sagemaker.image=ours"))
    load_sweep(path, ("backend=sagemaker", "sagemaker.environment={WNSEARCHDIR: /opt/wordnet}"))


def test_conditional_parameters_are_not_for_gp(faults):
    text = GOOD + "search: {sampler: gp}\n"
    conditional = "space={schedule: {choice: [linear, polynomial]}, schedule_power: {float: [1, 4], when: {schedule: polynomial}}}"
    assert any(
        "gp cannot search conditional parameters" in fault for fault in faults(text, conditional)
    )


def test_a_setting_changes_one_of_the_places_that_an_anchor_fills(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "task: {name: demo}\nmodel: minilm-l6\nobjective: {metric: eval_f1}\n"
        "space:\n  dropout: &both {float: [0.0, 0.3]}\n  attention_dropout: *both\n"
    )
    space = load_sweep(path, ["space.dropout.default=0.2"]).sweep.space
    assert space["dropout"].default == 0.2
    assert space["attention_dropout"].default is None


@pytest.mark.parametrize(
    ("blocks", "default"),
    [
        ("space: {attention_dropout: {float: [0.0, 0.3]}, classifier_dropout: {choice: [0.3, 0.1]}}",
         {"attention_dropout": 0.1, "classifier_dropout": 0.1}),
        ("space: {attention_dropout: {float: [0.0, 0.3]}}\nfixed: {dropout: 0.25}", {"attention_dropout": 0.25}),
        ("space: {attention_dropout: {choice: [-1, 0.3]}}", {"attention_dropout": -1}),
    ],
)  # fmt: skip
def test_the_default_of_a_dropout_that_is_as_another_is_that_one(tmp_path, blocks, default):
    """-1 is no rate, and not 0 either."""
    path = tmp_path / "s.yaml"
    path.write_text(
        f"task: {{name: demo}}\nmodel: minilm-l6\nobjective: {{metric: eval_f1}}\n{blocks}\n"
    )
    assert load_sweep(path).default_point() == default


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "s.yaml"
    path.write_text(
        "task: {name: mrpc, data: ~/MRPC}\nmodel: minilm-l6\nobjective: {metric: eval_f1}\n"
        "space: {epochs: {int: [1, 2]}}\n"
    )
    for settings in ((), ("task.data=~/MRPC",)):
        assert load_sweep(path, settings).task_options.data == str(tmp_path / "home/MRPC")
