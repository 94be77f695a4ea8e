"""Sweeps with trials of random length on a machine that costs a dollar a second, against their caps.

python -m tests.chaos.money --sweeps 50            # make chaos
"""

import argparse
import contextlib
import io
import random
import sys
import tempfile
from pathlib import Path

import yaml

from tests.chaos.harness import TOY
from tuner.backends.local import POLL_SECONDS, LocalBackend
from tuner.ledger import Ledger
from tuner.progress import PlainView
from tuner.run_folder import RunFolder
from tuner.sweep import load_sweep


def overspent(seed: int, folder: Path) -> float:
    """Dollars beyond the cap of one sweep; half of the scripts are deaf to SIGTERM."""
    rng = random.Random(seed)
    usd = rng.uniform(0.8, 3.0)
    fixed = {"sleep": rng.uniform(0.02, 1.0), "mode": rng.choice(["well", "deaf"])}
    blocks = TOY | {
        "fixed": fixed, "prices": {"here": 3600.0}, "confirm": {"top": 0},
        "budget": {"trials": 500, "parallel": rng.choice([1, 2]), "usd": usd},
    }  # fmt: skip
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(blocks))
    loaded = load_sweep(path)
    run = RunFolder(folder / "run")
    run.claim(loaded)
    ledger = Ledger.create(run.ledger_url(), loaded.sweep.name, loaded.direction)
    with contextlib.redirect_stdout(io.StringIO()):
        LocalBackend(loaded).run(ledger, run, PlainView())
    return float(ledger.study.user_attrs["elapsed_seconds"]) - usd


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=50)
    options = parser.parse_args()
    import scipy.stats  # noqa: F401 (1.4 s, once a process, at the first point that fills the space)

    beyond = []
    for seed in range(options.sweeps):
        with tempfile.TemporaryDirectory() as folder:
            beyond.append(overspent(seed, Path(folder)))
    beyond.sort()
    print(
        f"{len(beyond)} sweeps at $1 a second: the most beyond the cap ${beyond[-1]:.2f}, the median "
        f"${beyond[len(beyond) // 2]:.2f}; one poll interval costs ${POLL_SECONDS:.2f}"
    )
    sys.exit(beyond[-1] > POLL_SECONDS)


if __name__ == "__main__":
    main()
