import pytest

from tests.conftest import ROOT
from train_script.config import OPTIONS, TUNABLE, TrainConfig, parse_arguments
from train_script.errors import BadInput


def parse(*words, **environment):
    return parse_arguments(words, environment)


def test_flags_override_variables_which_override_defaults():
    assert parse().data == ""
    assert parse(SM_CHANNEL_TRAINING="/channel").data == "/channel"
    assert parse("--data", "/flag", SM_CHANNEL_TRAINING="/channel").data == "/flag"


def test_first_variable_that_is_set_wins():
    assert parse(SM_CHANNEL_TRAIN="/b").data == "/b"
    assert parse(SM_CHANNEL_TRAINING="/a", SM_CHANNEL_TRAIN="/b").data == "/a"


def test_values_arrive_in_their_own_types():
    config = parse("--learning_rate", "3e-5", "--epochs", "2", "--schedule", "cosine")
    assert (config.learning_rate, config.epochs, config.schedule) == (3e-5, 2, "cosine")


def test_float_written_by_repr_reads_back_unchanged():
    value = 0.1 + 0.2
    assert parse("--warmup_ratio", repr(value)).warmup_ratio == value


def test_every_fault_is_named_at_once():
    with pytest.raises(BadInput) as caught:
        parse("--learning_rte", "1", "--epochs", "2.5", "--dropout", "1", "--schedule", "liner")
    text = str(caught.value)
    assert (
        "learning_rte is not an option of train_script/train.py; did you mean learning_rate?"
        in text
    )
    assert "epochs: '2.5' is not a whole number" in text
    assert "dropout: 1 must be less than 1" in text
    assert "schedule: 'liner' is unknown; did you mean linear?" in text


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-1e-5", "word", ""])
def test_learning_rate_must_be_a_positive_number(value):
    with pytest.raises(BadInput, match="learning_rate"):
        parse("--learning_rate", value)


def test_lone_word_is_refused():
    with pytest.raises(BadInput, match="stands alone"):
        parse("3e-5")


def test_defaults_obey_their_own_rules():
    TrainConfig.from_values({name: spec.default for name, spec in OPTIONS.items()})


def test_every_option_that_can_be_tuned_is_on_the_page_of_choices():
    page = (ROOT / "docs/choices.md").read_text()
    assert [name for name in TUNABLE if f"`{name}`" not in page] == []


def test_places_are_not_part_of_a_runs_identity():
    a = parse("--data", "/a", "--model_dir", "/m").identity()
    assert a == parse("--data", "/b").identity()
    assert a != parse("--seed", "1").identity()


def test_flag_without_a_value_is_refused():
    with pytest.raises(BadInput, match="--epochs has no value"):
        parse("--seed", "1", "--epochs")


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in OPTIONS)


def test_a_default_that_is_a_word_for_something_else_may_be_given():
    assert TrainConfig.from_values({"attention_dropout": "-1"}).attention_dropout == -1
    with pytest.raises(BadInput, match=r"attention_dropout: -0\.5 must be at least 0"):
        TrainConfig.from_values({"attention_dropout": -0.5})
