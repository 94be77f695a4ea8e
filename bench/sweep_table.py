"""The table of a finished sweep for docs/benchmarks.md: `python bench/sweep_table.py runs/mrpc`.

Best and spread of the scores, wall time per trial, and where the time went; every number is from
report.json.
"""

import json
import sys
from pathlib import Path
from statistics import mean, median


def main(folder: Path) -> None:
    """Prints two Markdown tables."""
    result = json.loads((folder / "report.json").read_text())
    trials = result["sections"]["trials"]["trials"]
    names = result["sections"]["trials"]["parameters"]
    print(f"| trial | {' | '.join(names)} | status | accuracy | F1 | MCC | wall s |")
    print("| --- " * (len(names) + 6) + "|")
    for t in trials:
        metrics = t["metrics"] if t["status"] in ("finished", "pruned") else {}
        values = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in t["params"].values()]
        scores = [
            f"{metrics[m]:.4f}" if m in metrics else ""
            for m in ("eval_accuracy", "eval_f1", "eval_mcc")
        ]
        status = t["status"] if t["confirms"] is None else f"confirms {t['confirms']}"
        if t["status"] == "pruned":
            status += f" at {t['curve'][-1][0]:.0f} %"
        wall = f"{t['wall_seconds']:.0f}"
        print(f"| {t['number']} | {' | '.join([*values, status, *scores, wall])} |")
    print()
    done = [t for t in trials if t["status"] == "finished"]
    search = [t for t in done if t["purpose"] == "search"]
    print("| over | figure |")
    print("| --- | --- |")
    for metric in ("eval_accuracy", "eval_f1", "eval_mcc"):
        scores = [t["metrics"][metric] for t in search]
        print(
            f"| {metric}, {len(scores)} finished search trials | best {max(scores):.4f}, "
            f"median {median(scores):.4f}, lowest {min(scores):.4f} |"
        )
    winner = result["sections"]["winner"]
    noise = winner["seed_noise"]
    if winner["winner"]["confirmed"]:
        print(
            f"| winner (trial {winner['winner']['number']}) on fresh seeds | "
            + ", ".join(f"{v:.4f}" for v in winner["winner"]["confirmed"]) + " |"
        )  # fmt: skip
        print(
            f"| default (trial {winner['winner']['default_number']}) on fresh seeds | "
            + ", ".join(f"{v:.4f}" for v in winner["winner"]["default_confirmed"]) + " |"
        )  # fmt: skip
    if noise:
        print(
            f"| seed noise (sd) | {noise['estimate']:.4f}, 90 % {noise['low']:.4f} to {noise['high']:.4f} |"
        )
    walls = [t["wall_seconds"] for t in done]
    print(
        f"| wall time per finished trial | mean {mean(walls):.0f} s, {min(walls):.0f} to {max(walls):.0f} s |"
    )
    whole = [t for t in done if t["continues"] is None]  # an interrupted one's time is in two rows
    total = sum(t["wall_seconds"] for t in whole)
    for part in ("start_seconds", "train_seconds", "evaluate_seconds", "save_seconds"):
        spent = sum(t["metrics"].get(part, 0.0) for t in whole)
        print(f"| of that, {part.removesuffix('_seconds')} | {100 * spent / total:.1f} % |")
    rates = [
        t["metrics"]["examples_per_second"] for t in done if "examples_per_second" in t["metrics"]
    ]
    print(f"| training examples per second and trial | mean {mean(rates):.1f} |")
    pruned = [t for t in trials if t["status"] == "pruned"]
    print(
        f"| pruned trials | {len(pruned)}, {sum(t['wall_seconds'] for t in pruned):.0f} s in all |"
    )
    elapsed = result["sections"]["summary"]["elapsed_seconds"]
    print(f"| whole sweep on the clock | {elapsed / 60:.1f} min |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
