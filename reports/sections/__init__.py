"""The report's sections, in their order. A new one is a file beside this one and a line here.

A section is a module with NAME, TITLE, `compute(table)`, which gives plain data (it goes into
report.json as it is), and `draw(data)`, which turns that data into sentences, figures and tables.
"""

from types import ModuleType

from reports.sections import (
    curves,
    history,
    parallel,
    parameters,
    provenance,
    sensitivity,
    trials,
    winner,
)

SECTIONS: list[ModuleType] = [
    winner, sensitivity, history, parameters, parallel, curves, trials, provenance,
]  # fmt: skip
