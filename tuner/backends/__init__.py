"""The backends, by name. A new one is a file beside this one and a line in BACKENDS."""

from tuner.backends.base import Backend, Outcome
from tuner.backends.local import LocalBackend
from tuner.backends.sagemaker import SageMakerBackend

BACKENDS: dict[str, type[Backend]] = {"local": LocalBackend, "sagemaker": SageMakerBackend}

__all__ = ["BACKENDS", "Backend", "Outcome"]
