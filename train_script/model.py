"""The pre-trained encoder with a classifier on top, and its tokenizer."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from train_script.errors import BadInput, first_line
from train_script.kept import keep, kept, once
from train_script.pretrained import positions

LAYERS_DROPOUT = (
    "hidden_dropout_prob", "dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "dropout_rate",
    "resid_dropout", "embed_dropout", "hidden_dropout",
)  # fmt: skip
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""What the configurations of transformers' models call them"""
HEAD_DROPOUT = {
    "albert": "classifier_dropout_prob", "deberta": "cls_dropout", "deberta-v2": "cls_dropout",
    "distilbert": "seq_classif_dropout", "xlnet": "summary_last_dropout",
    "xlm": "summary_first_dropout", "flaubert": "summary_first_dropout",
}  # fmt: skip
"""Where a kind of model has another name than `classifier_dropout`"""
LAYERS = ("encoder.layer", "transformer.layer", "encoder.layers", "layers", "layer", "h")
"""Where the models of transformers keep their layers"""
AFTER_LAYERS = ("pooler", "final_norm", "norm", "ln_f", "final_layer_norm")
"""What of the encoder follows them"""


def quiet_libraries() -> None:
    """No progress bars and no advice on stderr: the last line there is ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; emulated, it is many times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def load_model(
    place: str, labels: Sequence[str], dropouts: tuple[float, float, float]
) -> tuple[nn.Module, str]:
    """The encoder of `place` (folder or hub name) and a classifier; BadInput where it cannot be that.

    The classifier is new, initialised by torch's seed, but where the folder has one of that size.
    `dropouts` are those of the layers, of the attention and before the classifier. Also the SHA-256 of
    the weights that were loaded, which is the same wherever they came from.
    """
    try:
        config = AutoConfig.from_pretrained(place)
    except (ValueError, OSError) as exc:
        raise BadInput(f"model {place} cannot be loaded: {first_line(exc)}") from exc
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    _set_dropouts(config, place, dropouts)
    model, digest = _loaded(place, config)
    _check_head_dropout(model, place, dropouts)
    return model, digest


def _set_dropouts(config: Any, place: str, dropouts: tuple[float, float, float]) -> None:
    """Under the names that this kind of model has for them; BadInput where one asked for is not there."""
    in_layers = [name for name in LAYERS_DROPOUT if hasattr(config, name)]
    in_attention = [name for name in ATTENTION_DROPOUT if hasattr(config, name)]
    kind = f"model {place}: {config.model_type}"
    if not in_layers and not in_attention:
        raise BadInput(
            f"{kind} has no dropout setting that this script knows; known: "
            f"{', '.join(LAYERS_DROPOUT + ATTENTION_DROPOUT)}"
        )
    if dropouts[0] != dropouts[1] and not (in_layers and in_attention):
        raise BadInput(
            f"{kind} has one dropout for its layers and their attention; leave attention_dropout out"
        )
    for names, dropout in ((in_layers, dropouts[0]), (in_attention, dropouts[1])):
        for name in names:
            setattr(config, name, dropout)
    setattr(config, HEAD_DROPOUT.get(config.model_type, "classifier_dropout"), dropouts[2])


def _loaded(place: str, config: Any) -> tuple[Any, str]:
    """The model of `place` under `config`, from memory where a run before has read it; its digest."""
    if found := kept(("weights", place)):
        kind, weights, digest = found
        model = kind.from_pretrained(
            None, config=config, state_dict=dict(weights), dtype=torch.float32
        )
        return model, digest
    try:
        # A classifier of another size in the checkpoint is replaced, not an error.
        model, told = AutoModelForSequenceClassification.from_pretrained(
            place, config=config, dtype=torch.float32, ignore_mismatched_sizes=True,
            output_loading_info=True,
        )  # fmt: skip
    except (ValueError, OSError) as exc:
        raise BadInput(f"model {place} cannot be loaded: {first_line(exc)}") from exc
    new = {*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])}
    if lost := sorted(k for k in new if _is_of_encoder(k, model)):
        raise BadInput(
            f"model {place}: {len(lost)} of the encoder's weights are missing in its files or have "
            f"another shape there, such as {lost[0]}; saved by transformers' save_pretrained they are whole"
        )
    weights = {k: v for k, v in model.state_dict().items() if k not in new}
    digest = _sha256(weights)
    keep(("weights", place), (type(model), weights, digest))
    return model, digest


def _is_of_encoder(name: str, model: Any) -> bool:
    """Whether a weight is the pre-trained encoder's; its pooler is not always saved with it."""
    return name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name


def _check_head_dropout(model: Any, place: str, dropouts: tuple[float, float, float]) -> None:
    """BadInput where a classifier's dropout of its own was asked for and this model has none."""
    own = model.base_model_prefix + "."
    found = [
        module.p
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and not name.startswith(own)
    ]
    if dropouts[2] != dropouts[0] and dropouts[2] not in found:
        raise BadInput(
            f"model {place}: {type(model).__name__} has no dropout of its own before the classifier; leave "
            "classifier_dropout out"
        )


def layers_of(model: Any) -> list[nn.Module]:
    """The encoder's layers from the lowest up; BadInput for a model whose layers are not known."""
    if model.config.is_encoder_decoder:
        raise BadInput(
            f"{type(model).__name__} has layers of two kinds, an encoder's and a decoder's, so frozen_layers, "
            "layer_decay and reinit_layers do not work with it"
        )
    base = model.base_model
    for path in LAYERS:
        found: Any = base
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise BadInput(
        f"{type(model).__name__} has no layers where this script looks for them ({', '.join(LAYERS)}), "
        "so frozen_layers, layer_decay and reinit_layers do not work with it"
    )


def depths_of(model: Any) -> dict[nn.Parameter, int]:
    """How far below the head each parameter is that is: 1 in the top layer, most in the embeddings."""
    layers = layers_of(model)
    found = dict.fromkeys(_below_layers(model), len(layers) + 1)
    return found | {
        p: depth
        for depth, layer in enumerate(reversed(layers), start=1)
        for p in layer.parameters()
    }


def _below_layers(model: Any) -> list[nn.Parameter]:
    """The encoder's parameters outside its layers and what follows them: embeddings and what all layers share."""
    base = model.base_model
    above_layers = [getattr(base, name, None) for name in AFTER_LAYERS]
    above = {
        p for part in (*layers_of(model), *above_layers) if part is not None
        for p in part.parameters()
    }  # fmt: skip
    return [p for p in base.parameters() if p not in above]


def freeze(model: Any, count: int) -> list[nn.Module]:
    """Keeps the embeddings and the lowest `count` layers as they are; those modules. 0: none."""
    if not count:
        return []
    layers = layers_of(model)
    if count > len(layers):
        raise BadInput(f"frozen_layers {count} is more than the {len(layers)} layers of the model")
    base, below = model.base_model, set(_below_layers(model))
    embeddings = getattr(base, "embeddings", None)
    frozen = (
        [embeddings] if embeddings is not None
        else [part for part in base.children() if below.issuperset(part.parameters())]
    )  # fmt: skip
    frozen += layers[:count]
    for module in frozen:
        module.requires_grad_(False)
    for parameter in below:
        parameter.requires_grad_(False)
    return frozen


def reinitialize(model: Any, count: int, frozen: int = 0) -> None:
    """Begins the top `count` layers and the pooler anew, as transformers does before pre-training (torch's seed).

    None of them may be among the lowest `frozen` ones, for it has to learn.
    """
    if not count:
        return
    layers = layers_of(model)
    if count > len(layers):
        raise BadInput(f"reinit_layers {count} is more than the {len(layers)} layers of the model")
    if count + frozen > len(layers):
        raise BadInput(
            f"reinit_layers {count} and frozen_layers {frozen} overlap in a model of {len(layers)} layers: "
            "one that begins anew would never learn"
        )
    pooler = getattr(model.base_model, "pooler", None)
    for top in [*layers[-count:], *([pooler] if pooler is not None else [])]:
        # The mark by which transformers leaves alone what was loaded.
        for parameter in top.parameters():
            parameter._is_hf_initialized = False
        top.apply(model._init_weights)


def _sha256(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)} {weights[name].dtype}".encode())
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()


def load_tokenizer(place: str, max_length: int) -> PreTrainedTokenizerBase:
    """The model's own tokenizer; BadInput without one, or where `max_length` is more than its positions."""
    tokenizer = once(("tokenizer", place), lambda: _read_tokenizer(place))
    longest = positions(place)
    if longest and max_length > longest:
        raise BadInput(f"max_length {max_length} is more than the {longest} positions of {place}")
    return tokenizer


def _read_tokenizer(place: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place)
    except (ValueError, OSError) as exc:
        raise BadInput(f"model {place} has no tokenizer: {first_line(exc)}") from exc
    # Without files of its own transformers makes one that knows no word.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise BadInput(
            f"model {place} has no tokenizer: its folder lacks tokenizer.json or the vocabulary "
            "(tokenizer.save_pretrained writes them)"
        )
    if tokenizer.pad_token is None:  # as of GPT-2 and Llama, which were trained on unbroken text
        if tokenizer.eos_token is None:
            raise BadInput(
                f"model {place}: its tokenizer has no token to pad with; set its pad_token, then "
                "tokenizer.save_pretrained"
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_model(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Model and tokenizer, so that transformers' `from_pretrained(folder)` loads them; each file is whole.

    They are written within the folder, which may be a mount (SageMaker's /opt/ml/model): nothing can be
    moved into one.
    """
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    for file in part.iterdir():
        os.replace(file, folder / file.name)
    part.rmdir()
