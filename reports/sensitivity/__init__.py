"""The statistics: plain functions with their sources, tested on known answers.

Functions here take numbers and give numbers; they know neither Optuna nor figures.
"""
