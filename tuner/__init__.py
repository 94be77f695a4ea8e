"""The orchestrator: sweep file → backend → ledger. Start with `cli.py`."""
