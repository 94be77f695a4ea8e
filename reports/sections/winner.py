"""The winner, what its confirmation says, and what the sweep was."""

from typing import Any

from reports.sections.drawing import Drawing, TableView, minutes, shown
from reports.sensitivity.difference import difference
from reports.sensitivity.seed_noise import seed_noise
from reports.trials import STATUSES, TrialTable, as_number
from reports.winner import Winner, confirmed_scores, find_winner, spread

NAME, TITLE = "winner", "The winner"


def compute(table: TrialTable) -> dict[str, Any]:
    """The winning configuration, its scores on fresh seeds, the default's, and the seed noise."""
    winner = find_winner(table)
    again = {number: list(by_seed.values()) for number, by_seed in confirmed_scores(table).items()}
    groups = list(again.values())
    runs = [t for t in table.trials if t.purpose == "confirm"]
    noise = seed_noise(groups)
    gain = None
    if winner is not None and not winner.is_default:
        gain = difference(winner.confirmed, winner.default_confirmed)
    finished = [t.objective for t in table.finished("search") if t.objective is not None]
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "winner": vars(winner) if winner else None,
        "seed_noise": vars(noise) if noise else None,
        "gain_over_default": vars(gain) if gain else None,
        "noise_runs": sum(len(group) for group in groups if len(group) > 1),
        "confirmation_lost": sum(t.status in ("failed", "interrupted") for t in runs)
        - sum(t.status == "interrupted" and _went_on(table, t.number) for t in runs),
        "confirmed_configurations": len(groups),
        "confirmed": [
            _confirmed_row(table, number, scores, winner)
            for number, scores in again.items()
            if scores and winner is not None
        ],
        "counts": {status: table.count(status) for status in STATUSES if table.count(status)},
        "search_scores": {"lowest": min(finished), "highest": max(finished)} if finished else None,
        "trial_seconds": round(sum(t.wall_seconds or 0.0 for t in table.trials), 3),
        "elapsed_seconds": as_number(table.facts.get("elapsed_seconds")),
    }


def _went_on(table: TrialTable, number: int) -> bool:
    return any(t.continues == number for t in table.trials)


def _confirmed_row(
    table: TrialTable, number: int, scores: list[float], winner: Winner
) -> dict[str, Any]:
    """One configuration on its fresh seeds, and how far it is from the winner there."""
    gap = difference(scores, winner.confirmed) if number != winner.number else None
    trial = next((t for t in table.trials if t.number == number), None)
    return {
        "trial": number,
        "chosen_by": trial.chosen_by if trial else "",
        "scores": scores,
        "against_winner": vars(gap) if gap else None,
    }


def draw(data: dict[str, Any]) -> Drawing:
    """The answer in sentences and the winner's parameters in a table."""
    counts = ", ".join(f"{n} {status}" for status, n in data["counts"].items())
    ran = f"Trials: {counts or 'none'}; {minutes(data['trial_seconds'])} of training in all"
    if data["elapsed_seconds"]:
        ran += f", {minutes(data['elapsed_seconds'])} on the clock"
    winner = data["winner"]
    if winner is None:
        return Drawing(["No trial has finished, so there is no winner yet.", ran + "."])
    sentences = _confirmation(winner, data)
    if data["search_scores"]:
        scores = data["search_scores"]
        sentences.append(
            f"The finished search trials range from {scores['lowest']:.4f} to {scores['highest']:.4f}."
        )
    rows = [(name, shown(value)) for name, value in winner["params"].items()]
    tables = [TableView("The winning configuration", ("parameter", "value"), rows)]
    if len(data["confirmed"]) > 1:
        tables.append(_confirmed_table(data))
    return Drawing([*sentences, ran + "."], tables=tables)


def _confirmed_table(data: dict[str, Any]) -> TableView:
    rows = []
    for item in data["confirmed"]:
        gap = item["against_winner"]
        away = "the winner" if item["trial"] == data["winner"]["number"] else "one run each"
        if gap is not None:
            away = f"{gap['estimate']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"
        runs = ", ".join(f"{score:.4f}" for score in item["scores"])
        rows.append((item["trial"], item["chosen_by"], runs, spread(item["scores"]), away))
    headers = ("trial", "chosen by", "fresh seeds", "mean ± sd", "from the winner (90 % interval)")
    return TableView("Run again on fresh seeds", headers, rows)


def _confirmation(winner: dict[str, Any], data: dict[str, Any]) -> list[str]:
    confirmed, default = winner["confirmed"], winner["default_confirmed"]
    found = f"In the search it scored {winner['score']:.4f}"
    if not confirmed:
        return [
            f"Trial {winner['number']} has the best {data['metric']} of the search, "
            f"{winner['score']:.4f}.",
            "It was not run again on fresh seeds, so this score is optimistic: "
            "the best of many noisy scores is partly luck.",
        ]
    sentences = [
        f"Trial {winner['number']} wins: of the {data['confirmed_configurations']} configurations "
        f"that ran again on fresh seeds it has the best mean {data['metric']}."
        if data["confirmed_configurations"] > 1
        else f"Trial {winner['number']} has the best {data['metric']} of the search.",
        f"{found}; on {_seeds(confirmed)} {spread(confirmed)}"
        + (" (mean ± standard deviation)." if len(confirmed) > 1 else "."),
    ]
    if data["confirmation_lost"]:
        sentences.append(
            f"{data['confirmation_lost']} of the confirmation runs failed or were cut short; "
            "configurations are compared on the seeds that all of them have."
        )
    if winner["is_default"]:
        sentences.append(
            "It is the default configuration: the search found nothing that does better "
            "on fresh seeds."
        )
    elif default:
        sentences.append(_against_default(default, data))
    noise = data["seed_noise"]
    if noise:
        sentences.append(
            f"From seed to seed the score of one configuration varies by {noise['estimate']:.4f} "
            f"(standard deviation; {noise['level']:.0%} interval {noise['low']:.4f} to "
            f"{noise['high']:.4f}, from {data['noise_runs']} confirmation runs). "
            "A difference between two trials that is not well above this may be luck."
        )
    return sentences


def _against_default(default: list[float], data: dict[str, Any]) -> str:
    text = f"The default configuration scored {spread(default)} on {_seeds(default)}"
    gap = data["gain_over_default"]
    if gap is None:
        return f"{text}; one run each cannot tell the two apart."
    better = gap["low"] > 0 if data["maximize"] else gap["high"] < 0
    verdict = (
        "the winner is better than the default"
        if better
        else "these runs cannot tell whether the winner is better than the default; more seeds would"
    )
    return (
        f"{text}. The difference is {gap['estimate']:+.4f} ({gap['level']:.0%} interval "
        f"{gap['low']:+.4f} to {gap['high']:+.4f}): {verdict}."
    )


def _seeds(values: list[float]) -> str:
    return f"{len(values)} fresh seeds" if len(values) > 1 else "1 fresh seed"
