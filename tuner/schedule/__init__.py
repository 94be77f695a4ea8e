"""Sweeps on a schedule: when slots are due, which have run, and who serves them."""
