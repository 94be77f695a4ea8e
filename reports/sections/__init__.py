"""The report's sections, in their order. A new one is a file beside this one and a line here.

A section is a module with NAME, TITLE, `compute(table, analysis)`, which gives plain data (it goes into
report.json as it is), and `draw(data)`, which turns that data into sentences, figures and tables. Where
there is no data, the section is not shown.
"""

from types import ModuleType

from reports.sections import (
    ablation,
    budget,
    change,
    cost,
    curves,
    effects,
    history,
    interactions,
    parallel,
    path,
    provenance,
    robustness,
    sensitivity,
    summary,
    trials,
    winner,
)

SECTIONS: list[ModuleType] = [
    summary, winner, change, ablation, sensitivity, effects, interactions, robustness, path, history, curves, parallel,
    cost, budget, trials, provenance,
]  # fmt: skip
