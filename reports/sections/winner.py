"""The winner, what its confirmation says, and what the sweep was."""

from typing import Any

from reports.sections.drawing import Drawing, TableView, minutes, shown
from reports.sensitivity.difference import difference
from reports.sensitivity.seed_noise import seed_noise
from reports.trials import STATUSES, TrialTable, as_number
from reports.winner import Winner, confirmed_scores, find_winner, score, seeds, spread

NAME, TITLE = "winner", "The winner"


def compute(table: TrialTable) -> dict[str, Any]:
    """The winning configuration, its scores on fresh seeds, the default's, and the seed noise.

    The default's search run was chosen by no score, so it counts among the default's seeds; that of
    any other configuration was chosen for being good, and does not.
    """
    winner = find_winner(table)
    again = {number: list(by_seed.values()) for number, by_seed in confirmed_scores(table).items()}
    unselected = dict(again)
    if winner is not None and winner.default_number in again:
        assert winner.default_number is not None
        assert winner.default_score is not None
        unselected[winner.default_number] = [winner.default_score, *again[winner.default_number]]
    groups = list(unselected.values())
    noise = seed_noise(groups)
    finished = [t.objective for t in table.finished("search") if t.objective is not None]
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "winner": vars(winner) if winner else None,
        "seed_noise": vars(noise) if noise else None,
        "noise_runs": sum(len(group) for group in groups if len(group) > 1),
        "confirmation_lost": _lost(table),
        "confirmed": [
            _confirmed_row(table, number, scores, unselected, winner)
            for number, scores in again.items()
            if winner is not None
        ],
        "counts": {purpose: _counts(table, purpose) for purpose in ("search", "confirm")},
        "search_scores": {"lowest": min(finished), "highest": max(finished)} if finished else None,
        "as_good_in_search": [
            t.number
            for t in table.finished("search")
            if winner is not None
            and t.objective == winner.score
            and t.params != winner.params
            and t.number not in again
        ],
        "trial_seconds": round(sum(t.wall_seconds or 0.0 for t in table.trials), 3),
        "elapsed_seconds": as_number(table.facts.get("elapsed_seconds")),
    }


def _counts(table: TrialTable, purpose: str) -> dict[str, int]:
    found = [t.status for t in table.trials if t.purpose == purpose]
    return {status: found.count(status) for status in STATUSES if status in found}


def _lost(table: TrialTable) -> int:
    """Confirmation runs that failed, or were cut short and not taken up again."""
    continued = {t.continues for t in table.trials}
    return sum(
        t.status == "failed" or (t.status == "interrupted" and t.number not in continued)
        for t in table.trials
        if t.purpose == "confirm"
    )


def _confirmed_row(
    table: TrialTable,
    number: int,
    scores: list[float],
    unselected: dict[int, list[float]],
    winner: Winner,
) -> dict[str, Any]:
    """One configuration on its fresh seeds, and how far it is from the winner."""
    gap = None
    if number != winner.number and winner.number in unselected:
        gap = difference(unselected[number], unselected[winner.number])
    trial = next((t for t in table.trials if t.number == number), None)
    return {
        "trial": number,
        "chosen_by": trial.chosen_by if trial else "",
        "scores": scores,
        "from_winner": vars(gap) if gap else None,
    }


def draw(data: dict[str, Any]) -> Drawing:
    """The answer in sentences and the winner's parameters in a table."""
    ran = _what_ran(data)
    winner = data["winner"]
    if winner is None:
        return Drawing(["No search trial has finished, so there is no winner yet.", ran])
    sentences = _verdict(winner, data)
    if data["as_good_in_search"]:
        others = ", ".join(map(str, data["as_good_in_search"]))
        sentences.append(
            f"Trial {others} scored just the same in the search and was not run again; "
            "confirm more than one (confirm.top) to tell them apart."
        )
    if data["search_scores"]:
        scores = data["search_scores"]
        sentences.append(
            f"The finished search trials range from {score(scores['lowest'])} to "
            f"{score(scores['highest'])}."
        )
    rows = [(name, shown(value)) for name, value in winner["params"].items()]
    tables = [TableView("The winning configuration", ("parameter", "value"), rows)]
    if len(data["confirmed"]) > 1:
        tables.append(_confirmed_table(data))
    return Drawing([*sentences, ran], tables=tables)


def _what_ran(data: dict[str, Any]) -> str:
    parts = []
    for purpose, words in (("search", "search trial"), ("confirm", "confirmation run")):
        counts = data["counts"][purpose]
        if counts:
            detail = ", ".join(f"{n} {status}" for status, n in counts.items())
            total = sum(counts.values())
            parts.append(f"{total} {words}{'s' if total > 1 else ''} ({detail})")
    text = f"{'; '.join(parts) or 'No trial'}. Trial time {minutes(data['trial_seconds'])} in all"
    if data["elapsed_seconds"]:
        text += f", {minutes(data['elapsed_seconds'])} on the clock"
    return f"{text}."


def _verdict(winner: dict[str, Any], data: dict[str, Any]) -> list[str]:
    confirmed, compared = winner["confirmed"], len(data["confirmed"])
    if not confirmed:
        sentences = [
            f"Trial {winner['number']} has the best {data['metric']} of the search, "
            f"{score(winner['score'])}"
            + (". It is the default configuration." if winner["is_default"] else "."),
            "It was not run again on fresh seeds, so this score is optimistic: "
            "the best of many noisy scores is partly luck.",
        ]
        return sentences + _lost_sentence(data)
    sentences = [
        f"Trial {winner['number']} wins: of the {compared} configurations "
        f"that ran again on fresh seeds it has the best mean {data['metric']}."
        if compared > 1
        else f"Trial {winner['number']} has the best {data['metric']} of the search, and alone ran "
        "again on fresh seeds.",
        f"In the search it scored {score(winner['score'])}; on {seeds(confirmed)} "
        + spread(confirmed)
        + (" (mean ± standard deviation)." if len(confirmed) > 1 else "."),
        *_lost_sentence(data),
    ]
    if winner["is_default"]:
        sentences.append(
            "It is the default configuration: the search found nothing that does better "
            "on fresh seeds."
            if compared > 1
            else "It is the default configuration."
        )
    sentences += _against_default(winner, data)
    noise = data["seed_noise"]
    if noise:
        sentences.append(
            f"From seed to seed the score of one configuration varies by {score(noise['estimate'])} "
            f"(standard deviation; {noise['level']:.0%} interval {score(noise['low'])} to "
            f"{score(noise['high'])}, from {data['noise_runs']} runs). "
            "A difference between two trials that is not well above this may be luck."
        )
    return sentences


def _lost_sentence(data: dict[str, Any]) -> list[str]:
    lost = data["confirmation_lost"]
    if not lost:
        return []
    return [
        f"{lost} of the confirmation runs failed or were cut short; "
        "configurations are compared on the seeds that all of them have."
    ]


def _against_default(winner: dict[str, Any], data: dict[str, Any]) -> list[str]:
    row = next((r for r in data["confirmed"] if r["trial"] == winner["default_number"]), None)
    if row is None or winner["is_default"]:
        return []
    text = (
        f"The default configuration scored {score(winner['default_score'])} in the search and "
        f"{spread(row['scores'])} on {seeds(row['scores'])}"
    )
    gap = row["from_winner"]
    if gap is None:
        return [f"{text}; so few runs cannot tell the two apart."]
    better = gap["high"] < 0 if data["maximize"] else gap["low"] > 0
    verdict = (
        "on this validation split the winner is better than the default"
        if better
        else "these runs cannot tell whether the winner is better than the default; more seeds would"
    )
    return [
        f"{text}. It is {gap['estimate']:+.4f} from the winner ({gap['level']:.0%} interval "
        f"{gap['low']:+.4f} to {gap['high']:+.4f}, its search run counted among its seeds): {verdict}."
    ]


def _confirmed_table(data: dict[str, Any]) -> TableView:
    rows = []
    for item in data["confirmed"]:
        gap = item["from_winner"]
        away = "the winner" if item["trial"] == data["winner"]["number"] else "too few runs"
        if gap is not None:
            away = f"{gap['estimate']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"
        runs = ", ".join(score(value) for value in item["scores"])
        rows.append((item["trial"], item["chosen_by"], runs, spread(item["scores"]), away))
    headers = ("trial", "chosen by", "fresh seeds", "mean ± sd", "from the winner (90% interval)")
    return TableView("Run again on fresh seeds", headers, rows)
