"""The same configurations by `Trainer.hyperparameter_search` with Optuna, or by Ray Tune. For bench/sweeps.py.

`python bench/hf_search.py optuna|optuna-bf16|ray MODEL TRAIN.csv VALIDATION.csv FOLDER POINTS` (POINTS: a JSON list)
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))


def by_optuna(
    model: str, train: Path, validation: Path, folder: str, points: list[Any], bf16: bool = False
) -> list[Any]:
    """One process, one trial after the other, on all cores: what the method does by itself."""
    import hf_trial
    from transformers import trainer_callback

    # The search gives each value the type that it finds: of the default, 0, a share would become 0.
    options = {"warmup_steps": 0.0, "bf16": bf16}
    trainer = hf_trial.make_trainer(model, train, validation, folder, False, options)
    found: list[dict[str, float]] = []

    class Note(trainer_callback.TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
            found.append({
                "accuracy": metrics["eval_accuracy"], "step": state.global_step,
                "train_seconds": -metrics["eval_runtime"],
            })  # fmt: skip

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if "train_runtime" in logs:  # the evaluation within
                found[-1]["train_seconds"] += logs["train_runtime"]

    trainer.add_callback(Note())
    trainer.hyperparameter_search(
        hp_space=lambda trial: hf_trial.settings(points[trial.number]),
        compute_objective=lambda metrics: metrics["eval_accuracy"], direction="maximize",
        n_trials=len(points), backend="optuna",
    )  # fmt: skip
    return found


def by_ray(model: str, train: Path, validation: Path, folder: str, points: list[Any]) -> list[Any]:
    """Ray Tune around the same training: a GPU each, else a core each, as many at once as there are."""
    import ray
    import torch
    from ray import tune

    here = str(Path(__file__).resolve().parent)
    gpus = torch.cuda.device_count()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    def objective(point: dict[str, Any]) -> None:
        sys.path.insert(0, here)
        if not gpus:
            os.environ["OMP_NUM_THREADS"] = "1"
        import hf_trial
        import torch

        if not gpus:
            torch.set_num_threads(1)
        tune.report(hf_trial.run(model, train, validation, point, folder, padding=False))

    tuner = tune.Tuner(
        tune.with_resources(objective, {"cpu": 1, "gpu": int(gpus > 0)}), param_space=tune.grid_search(points),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    )  # fmt: skip
    names = ("accuracy", "step", "train_seconds")
    at_once = {"at_once": gpus or len(os.sched_getaffinity(0))}
    return [{name: r.metrics[name] for name in names} | at_once for r in tuner.fit()]


if __name__ == "__main__":
    who, model, train, validation, folder, points = sys.argv[1:]
    search = {
        "optuna": by_optuna, "optuna-bf16": partial(by_optuna, bf16=True), "ray": by_ray
    }[who]  # fmt: skip
    found = search(model, Path(train), Path(validation), folder, json.loads(points))
    print(json.dumps(found))
