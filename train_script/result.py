"""What a run leaves behind beside its model: the last line, and its predictions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train_script.config import METRICS, TrainConfig
from train_script.tasks import Splits, label_key


def result_of(
    config: TrainConfig,
    evaluations: Sequence[Mapping[str, Any]],
    direction: float,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The last line: the kept evaluation's scores under their own names, best and last beside."""
    last = evaluations[-1]
    best = max(evaluations, key=lambda e: e[config.metric] * direction)
    kept = best if config.keep == "best" else last
    return {
        "final": True,
        **kept,
        "objective": config.metric,
        "objective_evaluation": config.keep,
        **{f"best_{name}": best[name] for name in METRICS},
        **{f"last_{name}": last[name] for name in METRICS},
        **{name: round(value, 3) for name, value in seconds.items()},
    }


def write_predictions(folder: Path, splits: Splits, predicted: Sequence[int]) -> None:
    """One JSON line per validation example: its texts, its label, the predicted label."""
    assert splits.validation is not None
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for texts, label, guess in zip(
            splits.validation.texts, splits.validation.labels, predicted, strict=True
        ):
            row = dict(zip(splits.text_columns, texts, strict=True))
            row |= {label_key(splits.text_columns): splits.labels[label]}
            row |= {"predicted": splits.labels[guess]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
