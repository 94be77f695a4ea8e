"""How fast a run goes here: trains without end and tells each step on stdout, as a JSON line.

`python probe.py ARGUMENTS`, those of train.py. Each line has the step's `examples`, when it `began` and
`ended` (seconds of the system's monotonic clock), and on a GPU the `gpu_bytes` it holds and the `gpu_room` that it could. Saves
nothing and ends when it is killed: whoever wants to know how runs share this machine starts several.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: make `train_script` importable, and not its parts
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import json
import time

from train_script.config import parse_arguments
from train_script.contract import StopRequest
from train_script.imports import kept_for_good
from train_script.prepared import splits_of
from train_script.train import guarded


def run(arguments: list[str]) -> None:
    """Trains until it is killed."""
    with kept_for_good():
        import torch

        from train_script.fit import Fit

    config = parse_arguments(arguments)
    fit = Fit(config, splits_of(config), StopRequest())
    began = time.monotonic()
    for examples in fit.steps():
        ended = time.monotonic()
        line = {"examples": examples, "began": began, "ended": ended}
        if fit.device.type == "cuda":
            line |= {
                "gpu_bytes": (held := torch.cuda.memory_reserved()),
                "gpu_room": held + torch.cuda.mem_get_info()[0],
            }
        print(json.dumps(line), flush=True)
        began = ended


def main(arguments: list[str] | None = None) -> int:
    """The exit status; faults are train.py's."""
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
