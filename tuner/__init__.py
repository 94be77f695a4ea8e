"""The orchestrator: sweep file → backend → ledger. Start with `cli.py`."""

__version__ = "0.1.0"
