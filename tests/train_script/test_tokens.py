"""Tokens on disk: the same as made anew, under a name that changes with all that they come from."""

import pytest

from train_script.model import load_tokenizer
from train_script.tokens import tokenize, tokens_of

TEXTS = [("a film", "not good"), ("short", ""), ("the same " * 30, "words")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_TOKENS", str(tmp_path / "tokens"))
    return tmp_path / "tokens"


@pytest.fixture
def tokenizer(tiny_bert):
    return load_tokenizer(str(tiny_bert), 32)


def test_kept_tokens_are_those_that_would_be_made(folder, tokenizer, monkeypatch):
    made = tokens_of(tokenizer, TEXTS, 32)
    assert made == tokenize(tokenizer, TEXTS, 32)
    monkeypatch.setattr("train_script.tokens.tokenize", None)  # not asked again
    assert tokens_of(tokenizer, TEXTS, 32) == made
    assert len(list(folder.iterdir())) == 1


def test_another_length_or_text_or_tokenizer_is_another_file(folder, tokenizer):
    for texts, length in ((TEXTS, 32), (TEXTS, 16), (TEXTS[:2], 32), ([("a film",)], 32)):
        assert tokens_of(tokenizer, texts, length) == tokenize(tokenizer, texts, length)
    assert len(list(folder.iterdir())) == 4
    tokenizer.add_tokens(["film"])
    assert tokens_of(tokenizer, TEXTS, 32) == tokenize(tokenizer, TEXTS, 32)
    assert len(list(folder.iterdir())) == 5
    tokenizer.model_input_names = [
        "input_ids",
        "attention_mask",
    ]  # as of a DistilBERT with these words
    assert "token_type_ids" not in tokens_of(tokenizer, TEXTS, 32)[0]
    assert len(list(folder.iterdir())) == 6


@pytest.mark.parametrize("left", [0, 100, 700])
def test_a_file_that_is_cut_off_is_made_anew(folder, tokenizer, left):
    made = tokens_of(tokenizer, TEXTS, 24)
    (file,) = folder.iterdir()
    assert len(file.read_bytes()) > left
    file.write_bytes(file.read_bytes()[:left])
    assert tokens_of(tokenizer, TEXTS, 24) == made
    assert tokens_of(tokenizer, TEXTS, 24) == made


def test_where_it_cannot_be_kept_nothing_is_lost(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_TOKENS", str(tmp_path / "file"))
    assert tokens_of(tokenizer, TEXTS, 32) == tokenize(tokenizer, TEXTS, 32)
