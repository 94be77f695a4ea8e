"""GLUE tasks from the Hugging Face hub."""

from collections.abc import Iterable, Mapping
from typing import Any

from train_script.errors import BadInput
from train_script.tasks.base import Examples, Splits

REPOSITORY = "nyu-mll/glue"


def read_glue(name: str, text_columns: tuple[str, ...], labels: tuple[str, ...]) -> Splits:
    """Training and validation split of a GLUE task; BadInput when the hub cannot be reached."""
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as exc:
        raise BadInput(
            f"{name} from the hub needs the package datasets: pip install datasets; "
            "or give the folder of its files as data"
        ) from exc
    _offline_where_unreachable()
    try:
        parts = load_dataset(REPOSITORY, name)
    except Exception as exc:  # datasets raises many kinds; each means: no data
        raise BadInput(
            f"{name} could not be fetched from the hub ({type(exc).__name__}); "
            "give the folder of its files as data (--data FOLDER, or task.data in a sweep file)"
        ) from exc
    return from_hub_rows(name, parts, text_columns, labels)


def _offline_where_unreachable() -> None:
    """One request, no retries: where the hub does not answer, only the local cache is asked."""
    import datasets
    import huggingface_hub
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(REPOSITORY, "README.md", repo_type="dataset"), timeout=5)
    except Exception:  # noqa: BLE001  each transport has errors of its own; all mean: no answer
        datasets.config.HF_HUB_OFFLINE = True
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def from_hub_rows(
    name: str,
    parts: Mapping[str, Iterable[Mapping[str, Any]]],
    text_columns: tuple[str, ...],
    labels: tuple[str, ...],
) -> Splits:
    """Splits from GLUE's rows. GLUE hides the labels of its test split, so there is none."""

    def examples(rows: Iterable[Mapping[str, Any]]) -> Examples:
        kept = [row for row in rows if row["label"] >= 0]
        texts = [tuple(row[column] for column in text_columns) for row in kept]
        return Examples(texts, [int(row["label"]) for row in kept])

    return Splits(
        task=name,
        labels=labels,
        text_columns=text_columns,
        train=examples(parts["train"]),
        validation=examples(parts["validation"]),
        source=f"hub: {REPOSITORY}, {name}",
    )
