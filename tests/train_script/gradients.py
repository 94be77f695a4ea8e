"""Writes the gradients of one batch: `gradients.py '[MODEL, OPTIONS]' FILE`, alone or under torchrun."""

import json
import sys
import tempfile

import torch
from safetensors.torch import save_file

from train_script.config import TrainConfig
from train_script.contract import StopRequest
from train_script.fit import Fit
from train_script.prepared import splits_of

(model, options), out = json.loads(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory() as folder:
    config = TrainConfig.from_values({
        "task": "demo", "model": model, "train_limit": 40, "max_length": 40, "batch_size": 9,
        "dropout": 0.0, "num_gpus": 0, "checkpoint_dir": folder, **options,
    })  # fmt: skip
    fit = Fit(config, splits_of(config), StopRequest())
print("draws", torch.get_rng_state().sum().item(), flush=True)
in_step = fit.ranks.together(fit.forward, has_unused=False)
fit.forward.train()
fit._gradients(in_step, list(range(9)))
if fit.ranks.is_first:
    save_file({n: p.grad for n, p in fit.model.named_parameters() if p.grad is not None}, out)
