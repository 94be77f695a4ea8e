"""Trials that were not made here, brought into a run folder; and a run's trials as a table.

`amt` reads a finished tuning job, `studies` anybody's Optuna study, `tables` CSV files both ways.
Each adds trials to a ledger; a trial that is there already is not added again.
"""
