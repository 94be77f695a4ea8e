"""Two runs of one space on one surrogate, in which the run is one more choice.

So both lend each other strength, and what is different between them has to be shown by the trials.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reports.sensitivity.axis import Axis, Floats
from reports.trials import TrialRow, TrialTable
from reports.view import View, view_of

RUN, RUNS = "the run", ("before", "after")


def view_of_runs(
    table: TrialTable,
    axes: list[Axis],
    before: Sequence[TrialRow],
    after: Sequence[TrialRow],
    seed: int,
) -> View:
    """The view of both runs' trials, whose last axis is the run; `table` gives metric and direction."""
    rows = [
        replace(t, params=t.params | {RUN: run}, chosen_by="")  # of two ablations too one is told
        for run, trials in zip(RUNS, (before, after), strict=True) for t in trials
    ]  # fmt: skip
    both = [*axes, Axis(RUN, choices=RUNS)]
    return view_of(replace(table, trials=rows), both, rows, None, seed)


def in_run(positions_MD: Floats, run: int) -> Floats:
    """Points of the space as points of one run (0 before, 1 after), (M, D + 1)."""
    return np.column_stack([positions_MD, np.full(len(positions_MD), float(run))])
