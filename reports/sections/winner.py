"""The winner, and what its confirmation on fresh seeds says."""

from dataclasses import asdict
from statistics import mean
from typing import Any

import plotly.graph_objects as go

from reports.sections.drawing import (
    BLUE,
    GREEN,
    RED,
    Drawing,
    FigureView,
    TableView,
    axis_title,
    styled,
)
from reports.sensitivity.interval import LEVEL
from reports.sensitivity.result import Analysis
from reports.sensitivity.seed_noise import seed_noise, telling
from reports.trials import TrialTable
from reports.winner import (
    Winner,
    all_ran_again,
    common_seeds,
    confirmed_scores,
    gap_to,
    unselected_scores,
)
from reports.wording import (
    between,
    chance,
    counted,
    gap,
    level,
    listed,
    none_better,
    score,
    seeds,
    shown,
    spread,
)

NAME, TITLE = "winner", "The winner"
MOST_TIED = 5
TOO_CLOSE = 0.05


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The winning configuration, its scores on fresh seeds, the default's, and the seed noise.

    The default's search run was chosen by no score, so it counts among the default's seeds; that of
    any other configuration was chosen for being good, and does not, unless all ran again.
    """
    winner = analysis.winner
    again = {number: list(by_seed.values()) for number, by_seed in confirmed_scores(table).items()}
    unselected = unselected_scores(table, winner)
    groups = list(unselected.values())
    noise = seed_noise(groups)
    finished = [t.objective for t in table.finished("search") if t.objective is not None]
    return {
        "metric": table.metric,
        "maximize": table.maximize,
        "winner": vars(winner) if winner else None,
        "seed_noise": vars(noise) if noise else None,
        "all_ran_again": all_ran_again(table),
        "is_choice": table.is_choice,
        "common_seeds": len(common_seeds(table)),
        "noise_runs": sum(map(len, telling(groups))),
        "confirmation_lost": _lost(table),
        "confirmed": [
            _confirmed_row(table, number, scores, unselected, winner)
            for number, scores in again.items()
            if winner is not None
        ],
        "search_scores": {"lowest": min(finished), "highest": max(finished)} if finished else None,
        "as_good_in_search": [
            t.number
            for t in table.finished("search")
            if winner is not None
            and t.objective == winner.score
            and t.params != winner.params
            and t.number not in again
        ],
        "odds": asdict(analysis.odds) if analysis.odds and analysis.fit.trusted else None,
    }


def _lost(table: TrialTable) -> int:
    """Confirmation runs that failed, or were cut short and not taken up again."""
    failed = sum(t.status == "failed" for t in table.trials if t.purpose == "confirm")
    return failed + len(table.cut_short("confirm"))


def _confirmed_row(
    table: TrialTable,
    number: int,
    scores: list[float],
    unselected: dict[int, list[float]],
    winner: Winner,
) -> dict[str, Any]:
    """One configuration on its fresh seeds, and the winner's gap to it."""
    behind = gap_to(unselected, winner, number)
    trial = next((t for t in table.trials if t.number == number), None)
    return {
        "trial": number,
        "chosen_by": trial.chosen_by if trial else "",
        "search_score": trial.objective if trial else None,
        "scores": scores,
        "winner_minus": vars(behind) if behind else None,
    }


def draw(data: dict[str, Any]) -> Drawing:
    """The answer in sentences and the winner's parameters in a table."""
    winner = data["winner"]
    if winner is None:
        return Drawing(["No search trial has finished, so there is no winner yet."])
    sentences = _verdict(winner, data)
    if data["as_good_in_search"]:
        others = data["as_good_in_search"]
        some = listed([str(number) for number in others[:MOST_TIED]])
        more = f" and {len(others) - MOST_TIED} more" if len(others) > MOST_TIED else ""
        sentences.append(
            f"{'Trials' if len(others) > 1 else 'Trial'} {some}{more} scored just the same in the search and "
            f"{'were' if len(others) > 1 else 'was'} not run again; "
            "confirm more than one (confirm.top) to tell them apart."
        )
    if data["search_scores"]:
        scores = data["search_scores"]
        sentences.append(
            f"The finished search trials range from {score(scores['lowest'])} to "
            f"{score(scores['highest'])}."
        )
    sentences += _odds(data)
    rows = [(name, shown(value)) for name, value in winner["params"].items()]
    tables = [TableView("The winning configuration", ("parameter", "value"), rows)]
    if data["odds"] and len(data["odds"]["contenders"]) > 1:
        tables.append(_odds_table(data))
    figures = [_seeds_figure(data)] if data["confirmed"] else []
    return Drawing(sentences, figures, tables)


def _odds(data: dict[str, Any]) -> list[str]:
    """What the surrogate says of the configurations that ran, from all trials together."""
    odds, sentences = data["odds"], []
    if not odds or not odds["contenders"]:
        return []
    top, optimism = odds["contenders"][0], odds["optimism"]
    least = max(top["probability_best"] - TOO_CLOSE, top["probability_best"] / 2)
    close = [c for c in odds["contenders"] if c["probability_best"] > least]
    if len(close) > 1:
        named = listed([f"{c['trial']} ({chance(c['probability_best'])})" for c in close])
        sentences.append(
            f"Taking all trials together, trials {named} are among those about equally likely to be "
            "really the best of the configurations that ran."
        )
    else:
        sentences.append(
            f"Taking all trials together, trial {top['trial']} is the likeliest to be really the "
            f"best of the configurations that ran ({chance(top['probability_best'])})."
        )
    number = data["winner"]["number"]
    own = next((c for c in odds["contenders"] if c["trial"] == number), None)
    if own and own not in close:
        by = "fresh seeds" if data["winner"]["confirmed"] else "its score"
        by = "its own runs" if data["all_ran_again"] else by
        sentences.append(
            f"The winner, trial {number}, has {chance(own['probability_best'])} there. It is named by "
            f"{by} alone; this model also counts what its neighbours scored."
        )
    if optimism["estimate"] > 0:
        sentences.append(
            f"The best score that the search saw is probably about {between(optimism)} better than "
            "its configuration really is: luck has a part in being first."
        )
    if odds["beats_default"] is not None:
        sentences.append(
            "The model of all trials, which takes neighbours to be alike and is no test on fresh seeds, "
            f"puts the winner above the default with a probability of {chance(odds['beats_default'])}; winner minus default is "
            f"{gap(odds['over_default'])} there."
        )
    return sentences


def _odds_table(data: dict[str, Any]) -> TableView:
    rows = [
        (c["trial"], chance(c["probability_best"]), between(c["score"]))
        for c in data["odds"]["contenders"]
    ]
    headers = (
        "trial",
        "chance of being really the best",
        "its score by the model of all trials (90% interval)",
    )
    return TableView("Which configuration is the best", headers, rows)


def _seeds_figure(data: dict[str, Any]) -> FigureView:
    """Every run of the configurations that ran again: the search's, and those on fresh seeds."""
    names = [f"trial {row['trial']}" for row in data["confirmed"]]
    figure = go.Figure()
    figure.add_scatter(
        x=[value for row in data["confirmed"] for value in row["scores"]],
        y=[name for name, row in zip(names, data["confirmed"], strict=True) for _ in row["scores"]],
        mode="markers", name="fresh seed", marker={"size": 10, "color": GREEN, "opacity": 0.85},
        hovertemplate="%{y}: %{x:.4~g}<extra>fresh seed</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[mean(row["scores"]) for row in data["confirmed"]], y=names, mode="markers",
        name="their mean", hovertemplate="%{y}: %{x:.4~g}<extra>mean</extra>",
        marker={"size": 16, "symbol": "line-ns", "line": {"width": 3, "color": RED}},
    )  # fmt: skip
    figure.add_scatter(
        x=[row["search_score"] for row in data["confirmed"]], y=names, mode="markers",
        name="in the search", marker={"size": 10, "symbol": "circle-open", "color": BLUE},
        hovertemplate="%{y}: %{x:.4~g}<extra>in the search</extra>",
    )  # fmt: skip
    styled(figure, 130 + 40 * len(names))
    figure.update_xaxes(title=axis_title(data["metric"], data["maximize"]))
    figure.update_yaxes(autorange="reversed", automargin=True)
    runs = sum(len(row["scores"]) for row in data["confirmed"])
    description = f"The spread over seeds: {counted(runs, 'run')} of {counted(len(names), 'configuration')} on fresh seeds."
    return FigureView(figure, description, _confirmed_table(data))


def _verdict(winner: dict[str, Any], data: dict[str, Any]) -> list[str]:
    confirmed, compared = winner["confirmed"], len(data["confirmed"])
    if not confirmed:
        sentences = [
            f"Trial {winner['number']} has the best {data['metric']} of the search, "
            f"{score(winner['score'])}"
            + (". It is the default configuration." if winner["is_default"] else "."),
            "It was not run again on fresh seeds, so this score is optimistic: "
            "the best of many noisy scores is partly luck."
            if data["is_choice"]
            else "It was not run again on fresh seeds: how far another seed changes it is not known.",
        ]
        return sentences + _lost_sentence(data)
    sentences = [
        f"Trial {winner['number']} wins: of the {compared} configurations "
        f"that ran again on fresh seeds it has the best mean {data['metric']}{_on_common(data)}"
        + (", its search run counted." if data["all_ran_again"] else ".")
        if winner["compared"] > 1
        else f"Trial {winner['number']} has the best {data['metric']} of the search, and alone ran "
        "again on fresh seeds."
        if compared == 1
        else f"Trial {winner['number']} has the best {data['metric']} of the search. The configurations "
        "that ran again have no seed in common: their means are not compared.",
        f"In the search it scored {score(winner['score'])}; on {seeds(confirmed)} "
        + spread(confirmed)
        + (" (mean ± standard deviation)." if len(confirmed) > 1 else "."),
        *_lost_sentence(data),
    ]
    if winner["compared"] > 2:
        sentences.append(
            f"It was picked as the best of {winner['compared']} on these very runs, which flatters it: each interval of its gap "
            "to another one is widened for that. Each holds on its own, not all of them at once."
        )
    if winner["is_default"]:
        sentences.append(
            f"It is the default configuration: {none_better(winner['compared'] - 1)}"
            if winner["compared"] > 1
            else "It is the default configuration."
        )
    sentences += _against_default(winner, data)
    noise = data["seed_noise"]
    if noise:
        sentences.append(
            f"From seed to seed the score of one configuration varies by {score(noise['estimate'])} "
            f"(standard deviation; {noise['level']:.0%} interval {score(noise['low'])} to "
            f"{score(noise['high'])}, from {data['noise_runs']} runs). "
            "Two single runs differ by about 1.4 times as much by luck alone."
        )
    return sentences


def _on_common(data: dict[str, Any]) -> str:
    """On which seeds the means were compared, where some configurations have more."""
    common = data["common_seeds"]
    if all(len(row["scores"]) == common for row in data["confirmed"]):
        return ""
    return f" on the {common} that all have" if common > 1 else " on the one that all have"


def _lost_sentence(data: dict[str, Any]) -> list[str]:
    lost = data["confirmation_lost"]
    if not lost:
        return []
    return [
        f"{counted(lost, 'confirmation run')} failed or {'was' if lost == 1 else 'were'} cut short; "
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
    behind = row["winner_minus"]
    if behind is None:
        return [f"{text}; so few runs cannot tell the two apart."]
    better = behind["low"] > 0 if data["maximize"] else behind["high"] < 0
    verdict = (
        "on this validation split the winner is better than the default"
        if better
        else "these runs cannot tell whether the winner is better than the default; more seeds may"
    )
    return [
        f"{text}. Winner minus default is {gap(behind)}, a {level(behind['level'])} interval ({_counted(data)}; the seed "
        f"noise is that of all configurations that ran again and whose runs differ): {verdict}."
    ]


def _counted(data: dict[str, Any]) -> str:
    """Which search runs count beside those on fresh seeds."""
    if data["all_ran_again"]:
        return "search runs counted, since all ran again"
    return "the default's search run counted"


def _confirmed_table(data: dict[str, Any]) -> TableView:
    rows = []
    gaps = [item["winner_minus"] for item in data["confirmed"] if item["winner_minus"] is not None]
    sure = level(gaps[0]["level"] if gaps else LEVEL)
    for item in data["confirmed"]:
        if item["winner_minus"] is not None:
            behind = gap(item["winner_minus"])
        else:
            behind = "the winner" if item["trial"] == data["winner"]["number"] else "too few runs"
        runs = ", ".join(score(value) for value in item["scores"])
        rows.append((item["trial"], item["chosen_by"], runs, spread(item["scores"]), behind))
    headers = (
        "trial",
        "chosen by",
        "fresh seeds",
        "mean ± sd",
        f"winner minus it ({sure} interval; {_counted(data)})",
    )
    return TableView("Run again on fresh seeds", headers, rows)
