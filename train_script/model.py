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

from train_script.errors import BadInput
from train_script.pretrained import positions

DROPOUT_NAMES = (
    ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),  # BERT, RoBERTa
    ("dropout", "attention_dropout", "seq_classif_dropout"),  # DistilBERT
)


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


def load_model(place: str, labels: Sequence[str], dropout: float) -> tuple[nn.Module, str]:
    """The encoder of `place` (folder or hub name) with a new classifier, initialised by torch's seed.

    Also the SHA-256 of the weights that were loaded, which is the same wherever they came from.
    """
    config = AutoConfig.from_pretrained(place)
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    for names in DROPOUT_NAMES:
        if hasattr(config, names[0]):
            for name in names:
                setattr(config, name, dropout)
            break
    else:
        raise BadInput(
            f"model {place}: {config.model_type} has no dropout setting that this script knows; "
            f"known: {', '.join(names[0] for names in DROPOUT_NAMES)}"
        )
    try:
        # A classifier of another size in the checkpoint is replaced, not an error.
        model, told = AutoModelForSequenceClassification.from_pretrained(
            place, config=config, dtype=torch.float32, ignore_mismatched_sizes=True,
            output_loading_info=True,
        )  # fmt: skip
    except (ValueError, OSError) as exc:
        raise BadInput(f"model {place} cannot be loaded: {str(exc).splitlines()[0]}") from exc
    new = {*told["missing_keys"], *(key[0] for key in told["mismatched_keys"])}
    return model, _sha256({k: v for k, v in model.state_dict().items() if k not in new})


def _sha256(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)} {weights[name].dtype}".encode())
        digest.update(weights[name].numpy().tobytes())
    return digest.hexdigest()


def load_tokenizer(place: str, max_length: int) -> PreTrainedTokenizerBase:
    """The model's own tokenizer; BadInput where `max_length` is more than the model's positions."""
    tokenizer = AutoTokenizer.from_pretrained(place)
    longest = positions(place)
    if longest and max_length > longest:
        raise BadInput(f"max_length {max_length} is more than the {longest} positions of {place}")
    return tokenizer


def save_model(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Model and tokenizer, so that transformers' `from_pretrained(folder)` loads them; atomic."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself may be a mount (SageMaker's /opt/ml/model), so its files are replaced.
    for file in part.iterdir():
        os.replace(file, folder / file.name)
    part.rmdir()
