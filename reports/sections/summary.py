"""The whole report in a few sentences, each with the section that it rests on."""

from collections.abc import Mapping
from typing import Any

from reports.advice import advice
from reports.sections import ablation
from reports.sections.drawing import Drawing, Linked
from reports.sensitivity.result import Analysis
from reports.sensitivity.verdict import CANNOT_TELL, MATTERS, NEGLIGIBLE
from reports.trials import TrialTable, as_number
from reports.winner import Winner, all_ran_again, describe_winner
from reports.wording import (
    chance,
    counted,
    dollars,
    gap,
    level,
    listed,
    minutes,
    none_better,
    safe_text,
    share,
)

NAME, TITLE = "summary", "In short"
ALONE_AGAIN = "No other trial was compared with it on fresh seeds: that it is the best rests on the search's single runs."


def compute(table: TrialTable, analysis: Analysis) -> dict[str, Any]:
    """The sentences and the section of each; `next` are the steps that follow from them."""
    winner = analysis.winner
    said: list[tuple[str, str]] = []
    if table.objectives > 1:
        said.append(
            (f"This study has {table.objectives} objectives; this report is about number "
             f"{table.objective}, {table.metric}, alone (another one: tuner report --objective). What is "
             "best for it may be bad for the others.", "trials")
        )  # fmt: skip
    if winner is None:
        said.append(("No search trial has finished, so there is no winner yet.", "trials"))
    else:
        said.append((f"The winner is {describe_winner(table, winner)}.", "winner"))
        if winner.confirmed and winner.compared < 2 and table.is_choice and not winner.is_default:
            said.append((ALONE_AGAIN, "winner"))
        said += _against_default(table, analysis, winner)
        changes = ablation.compute(table, analysis) if table.is_one_at_a_time else {}
        said += [(ablation.in_short(changes), ablation.NAME)] if changes else []
        said += _what_matters(analysis, says_open=not changes)
        said += _safe(analysis)
    compared = table.facts.get("compared")
    if isinstance(compared, Mapping) and "verdict" in compared:
        text = f"Since the run before: {compared['verdict']}. {compared['sentence']}"
        said.append((text, "change"))
    ended = table.facts.get("search_ended")
    if isinstance(ended, Mapping) and "sentence" in ended:
        said.append((f"The search ended early, {ended['sentence']}.", "history"))
    said.append((_what_it_took(table), "trials"))
    if analysis.failures:
        said.append((analysis.failures.sentence, "trials"))
    return {
        "sentences": [{"text": text, "section": section} for text, section in said],
        "next": [vars(step) for step in advice(table, analysis)],
        "trial_seconds": sum(t.wall_seconds or 0.0 for t in table.trials),
        "elapsed_seconds": as_number(table.facts.get("elapsed_seconds")),
    }


def _against_default(
    table: TrialTable, analysis: Analysis, winner: Winner
) -> list[tuple[str, str]]:
    """By fresh seeds of both where there are some, else by the model of all trials."""
    if winner.is_default and winner.compared > 1:
        return [(f"It is the default: {none_better(winner.compared - 1)}", "winner")]
    if winner.is_default or winner.default_number is None:
        return []
    away = analysis.over_default
    if away is not None:
        surely = away.low > 0 if table.maximize else away.high < 0
        verdict = "is better than the default" if surely else "may be no better than the default"
        searched = (
            "all of the search, since all ran again"
            if all_ran_again(table)
            else "the default's own search run"
        )
        text = (
            f"Over the runs that no score had picked (the fresh seeds, and {searched}) it {verdict}: "
            f"winner minus default is {gap(vars(away))}, a {level(away.level)} interval"
            + (f" since it is the best of {winner.compared} there." if winner.compared > 2 else ".")
        )
        return [(text, "winner")]
    odds = analysis.odds
    if not analysis.fit.trusted or not odds or odds.beats_default is None or not odds.over_default:
        return []
    text = (
        f"The model of all trials puts it above the default with a probability of "
        f"{chance(odds.beats_default)}; winner minus default is {gap(vars(odds.over_default))} there."
    )
    return [(text, "winner")]


def _what_matters(analysis: Analysis, says_open: bool) -> list[tuple[str, str]]:
    by_verdict: dict[str, list[str]] = {}
    ordered = sorted(
        analysis.parameters.values(), key=lambda p: -(p.total.estimate if p.total else 0.0)
    )
    for p in ordered:
        told = p.name + (" (where it exists)" if p.conditional else "")
        if p.total and p.verdict == MATTERS:
            told += f" {share(vars(p.total))}"
        by_verdict.setdefault(p.verdict, []).append(told)
    said = []
    if found := by_verdict.get(MATTERS):
        said.append(
            f"What matters, with its share of the variance that hyperparameters cause: "
            f"{', '.join(found)}."
        )
    if found := by_verdict.get(NEGLIGIBLE):
        said.append(f"What hardly matters: {listed(found)}.")
    if says_open and (found := by_verdict.get(CANNOT_TELL)):
        why = "" if analysis.fit.trusted else f": {analysis.fit.reason}"
        said.append(f"What these trials cannot tell: whether {listed(found, 'or')} matters{why}.")
    return [(text, "sensitivity") for text in said]


def _safe(analysis: Analysis) -> list[tuple[str, str]]:
    parts = []
    for p in analysis.parameters.values():
        safe = p.safe_range
        if safe is None or p.verdict != MATTERS:
            continue
        parts.append(f"{p.name} {safe_text(vars(safe))}")
    if not parts:
        return []
    text = f"Safe ranges around the winner, one at a time: {'; '.join(parts)}."
    return [(text, "robustness")]


def _what_it_took(table: TrialTable) -> str:
    parts = []
    for purpose, noun in (("search", "search trial"), ("confirm", "confirmation run")):
        found = [t.status for t in table.trials if t.purpose == purpose]
        if found:
            detail = ", ".join(f"{found.count(s)} {s}" for s in dict.fromkeys(found))
            parts.append(f"{counted(len(found), noun)} ({detail})")
    text = "; ".join(parts) or "No trial"
    seconds = sum(t.wall_seconds or 0.0 for t in table.trials)
    if seconds:
        text += f", {minutes(seconds)} of trial time"
    if clock := as_number(table.facts.get("elapsed_seconds")):
        text += f", {minutes(clock)} on the clock{_estimated(table)}"
    priced = [t.cost_usd for t in table.trials if t.cost_usd is not None]
    if priced:
        text += f", {'at least ' * bool(table.unpriced)}{dollars(sum(priced))}"
    return f"{text}."


def _estimated(table: TrialTable) -> str:
    """What had been said of the time before it was over."""
    said = table.facts.get("estimate")
    if not isinstance(said, Mapping):
        return ""
    before, low, high = (as_number(said.get(key)) for key in ("elapsed_before", "low", "high"))
    if before is None or low is None or high is None:
        return ""
    when = "beforehand" if before == 0 else f"after {minutes(before)}"
    return f" (estimated {when}: {minutes(before + low)} to {minutes(before + high)})"


def draw(data: dict[str, Any]) -> Drawing:
    """The sentences, then what to do next."""
    said = [Linked(s["text"], s["section"]) for s in data["sentences"]]
    steps = [Linked(s["text"], s["section"]) for s in data["next"]]
    return Drawing(said, steps=steps)
