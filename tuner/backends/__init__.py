"""The backends, by name. A new one is a file beside this one and a line in BACKENDS."""

from tuner.backends.base import Backend, Outcome
from tuner.backends.local import LocalBackend

BACKENDS: dict[str, type[Backend]] = {"local": LocalBackend}

__all__ = ["BACKENDS", "Backend", "Outcome"]
