"""What a pre-trained model's folder has to hold, and which of its parts the options reach."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    MPNetConfig,
    RobertaConfig,
)

from train_script.errors import BadInput
from train_script.model import depths_of, freeze, load_model, load_tokenizer, save_model
from train_script.pretrained import positions

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
USUAL = (0.1, 0.1, 0.1)


@pytest.fixture
def folder(tiny_bert, tmp_path):
    return shutil.copytree(tiny_bert, tmp_path / "model")


def test_a_folder_without_tokenizer_is_refused(folder):
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(BadInput, match="has no tokenizer"):
        load_tokenizer(str(folder), 32)


@pytest.mark.parametrize(
    "kind", [BertConfig, ElectraConfig, RobertaConfig, CamembertConfig, MPNetConfig]
)
def test_a_model_takes_as_many_tokens_as_it_has_positions(kind, tmp_path):
    made = AutoModel.from_config(kind(**SIZES)).eval()
    made.save_pretrained(tmp_path)
    most = positions(str(tmp_path))
    made(torch.full((1, most), 7))
    with pytest.raises((IndexError, RuntimeError)):
        made(torch.full((1, most + 1), 7))


def test_encoder_weights_under_other_names_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    wrapped = {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}
    save_file(wrapped, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match="of the encoder's weights are missing .* such as bert"):
        load_model(str(folder), ("0", "1"), USUAL)


def test_a_missing_pooler_begins_anew(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    load_model(str(folder), ("0", "1"), USUAL)


def test_an_unknown_kind_of_model_is_a_sentence(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert-of-2031"}))
    with pytest.raises(BadInput, match="bert-of-2031"):
        load_model(str(folder), ("0", "1"), USUAL)


def test_frozen_layers_leave_the_head_alone_learning():
    deberta = DebertaV2Config(relative_attention=True, **SIZES)
    for model, head in (
        (ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **SIZES)), {"classifier"}),
        (DebertaV2ForSequenceClassification(deberta), {"classifier", "pooler"}),
    ):  # fmt: skip
        freeze(model, 2)
        learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert learning == head


def test_frozen_layers_of_a_model_that_writes():
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    model = GPT2ForSequenceClassification(config)
    for module in freeze(model, 2):
        module.eval()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "transformer.ln_f.weight", "transformer.ln_f.bias", "score.weight",
    ]  # fmt: skip
    dropping = {
        n for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and m.training
    }
    assert not dropping
    assert depths_of(model)[model.transformer.wpe.weight] == 3


def test_layers_of_an_encoder_and_a_decoder_are_not_counted():
    config = BartConfig(
        vocab_size=50, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
    )  # fmt: skip
    with pytest.raises(BadInput, match="layers of two kinds"):
        freeze(BartForSequenceClassification(config), 1)


def test_a_dropout_that_a_model_does_not_have_is_refused(tmp_path):
    sizes = {
        name: SIZES[name]
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    }
    LlamaForSequenceClassification(LlamaConfig(intermediate_size=64, **sizes)).save_pretrained(
        tmp_path
    )
    model, _ = load_model(str(tmp_path), ("0", "1"), (0.2, 0.2, 0.2))
    assert model.config.attention_dropout == 0.2
    with pytest.raises(BadInput, match="has one dropout for its layers and their attention"):
        load_model(str(tmp_path), ("0", "1"), (0.1, 0.2, 0.1))
    with pytest.raises(BadInput, match="no dropout of its own before the classifier"):
        load_model(str(tmp_path), ("0", "1"), (0.1, 0.1, 0.3))


def test_the_folder_of_the_model_may_be_a_mount(folder, tmp_path):
    """As /opt/ml/model in a container: nothing can be moved into it from beside it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / "mounted").symlink_to(elsewhere)
        assert Path(elsewhere).stat().st_dev != tmp_path.stat().st_dev
        model, _ = load_model(str(folder), ("0", "1"), USUAL)
        tokenizer = load_tokenizer(str(folder), 32)
        save_model(model, tokenizer, tmp_path / "mounted")
        save_model(model, tokenizer, tmp_path / "mounted")
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {*os.listdir(elsewhere)}
        assert not list(Path(elsewhere).glob(".*"))


def test_the_last_norm_of_a_modern_bert_learns_where_its_layers_are_frozen(tmp_path):
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    own = ModernBertConfig(vocab_size=50, pad_token_id=0, **sizes)
    ModernBertForSequenceClassification(own).save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path), ("0", "1"), (0.1, 0.2, 0.7))
    assert model.drop.p == 0.7
    assert model.config.mlp_dropout == 0.1
    depths = depths_of(model)
    assert depths[model.model.embeddings.tok_embeddings.weight] == 3
    assert model.model.final_norm.weight not in depths
    freeze(model, 2)
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"model", "head", "classifier"}
    assert [n for n, p in model.model.named_parameters() if p.requires_grad] == [
        "final_norm.weight"
    ]


def test_what_all_layers_share_learns_at_the_rate_of_the_embeddings():
    model = ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **SIZES))
    depths = depths_of(model)
    assert depths[model.electra.embeddings_project.weight] == 3
    assert depths[model.electra.encoder.layer[0].output.dense.weight] == 2
    assert depths[model.electra.encoder.layer[1].output.dense.weight] == 1
    assert model.classifier.out_proj.weight not in depths


@pytest.mark.parametrize(
    "model",
    [
        DebertaV2ForSequenceClassification(DebertaV2Config(**SIZES)),
        DistilBertForSequenceClassification(DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2,
                                                             hidden_dim=64)),
    ],
    ids=["deberta", "distilbert"],
)  # fmt: skip
def test_the_heads_dropout_has_a_name_of_its_own(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded, _ = load_model(str(tmp_path), ("0", "1"), (0.1, 0.2, 0.7))
    assert loaded.dropout.p == 0.7
    inner = {
        n: m.p for n, m in loaded.base_model.named_modules() if isinstance(m, torch.nn.Dropout)
    }
    of_attention = {p for n, p in inner.items() if "attention" in n and "output" not in n}
    assert of_attention == {0.2}
    assert {p for n, p in inner.items() if "attention" not in n} == {0.1}
