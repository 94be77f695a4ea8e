"""Workers of one sweep on a real PostgreSQL, killed at random, the database restarted once.

python -m tests.chaos.workers --trials 200         # make chaos
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import yaml

from tests.chaos.harness import ROOT, TOY
from tests.postgres import Postgres
from tuner.storage import driver_url


def begin(sweep: Path, out: Path) -> subprocess.Popen[str]:
    """A `tuner worker` with a run folder of its own, as on a machine of its own."""
    with (out.parent / f"{out.name}.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuner.cli", "worker", str(sweep), "--out", str(out)],
            stdout=log, stderr=subprocess.STDOUT, text=True, cwd=out.parent,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def storm(
    server: Postgres, folder: Path, trials: int, workers: int, kills: int, seed: int
) -> dict[str, Any]:
    """Runs the sweep through it all; what the ledger says at the end."""
    blocks = TOY | {
        "storage": server.url,
        "fixed": TOY["fixed"] | {"sleep": 0.02, "evaluations": 4},
        "search": {"sampler": "random", "pruner": "none", "seed": seed},
        "confirm": {"top": 0},
        "budget": {"trials": trials, "parallel": 1},
        "name": f"storm-{seed}-{trials}",
    }
    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(blocks, sort_keys=False))
    rng, began = random.Random(seed), time.monotonic()
    running = {n: begin(sweep, folder / f"worker-{n}") for n in range(workers)}
    restarted, killed, exits = False, 0, Counter[int]()
    next_kill = time.monotonic() + 4
    while running:
        time.sleep(0.2)
        for n, process in list(running.items()):
            status = process.poll()
            if status == 0:
                exits[0] += 1
                del running[n]
            elif status is not None:
                exits[status] += 1
                running[n] = begin(sweep, folder / f"worker-{n}")
        if running and killed < kills and time.monotonic() > next_kill:
            rng.choice(list(running.values())).send_signal(signal.SIGKILL)
            killed += 1
            next_kill = time.monotonic() + rng.uniform(0.5, 3.0)
        if not restarted and killed >= kills / 2:
            server.stop()
            time.sleep(3)
            server.start()
            restarted = True
        if time.monotonic() - began > 540:
            raise TimeoutError(f"after 9 minutes: {exits}; logs in {folder}")
    storage = optuna.storages.RDBStorage(driver_url(server.url))
    trials_there = optuna.load_study(study_name=blocks["name"], storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    states = Counter(t.state.name for t in trials_there)
    done = Counter[int]()
    """Evaluations that were computed of each trial, by whichever worker"""
    for log in folder.glob("worker-*/trials/*/work.log"):
        done[int(log.parent.name)] += len(log.read_text().split())
    attempts = {t.number: int(t.user_attrs.get("attempts", 1)) for t in trials_there}
    each = int(blocks["fixed"]["evaluations"])
    twice = [number for number, count in done.items() if count > each * attempts[number]]
    missing = [number for number in attempts if done[number] < each]
    return {
        "trials": len(trials_there), "states": dict(states), "killed": killed,
        "restarted": restarted, "exits": dict(exits), "seconds": time.monotonic() - began,
        "taken over": sum(t.user_attrs.get("attempts", 1) > 1 for t in trials_there),
        "workers": len({t.user_attrs["worker"] for t in trials_there}),
        "computed by two": twice, "not computed": missing,
    }  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    server = Postgres.installed()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = storm(
                server, Path(folder), options.trials, options.workers, options.kills, options.seed
            )
    finally:
        server.remove()
    print(
        f"{options.workers} workers, {found['killed']} killed, the database "
        f"{'restarted' if found['restarted'] else 'left alone'}: "
        f"{found['trials']} trials, {found['states']}; {found['taken over']} taken over; "
        f"computed by two workers at once: {len(found['computed by two'])}; {found['seconds']:.0f} s"
    )
    held = found["restarted"] and found["killed"] == options.kills
    held = held and not found["computed by two"] and not found["not computed"]
    sys.exit(not held or found["states"] != {"COMPLETE": options.trials})


if __name__ == "__main__":
    main()
