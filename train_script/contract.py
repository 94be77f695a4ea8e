"""What the script owes to whoever started it: JSON lines on stdout, words on stderr, an end on SIGTERM."""

import json
import signal
import sys
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

STOPPED = 128 + signal.SIGTERM
OF_TRIAL = "CHECKPOINT_DIR"
"""The variable by which a run is known: every one has a folder of its own, and so have its children"""


class Stopped(Exception):
    """SIGTERM came; the state is in the checkpoint."""


class Clock:
    """When this run began: with the process, or with the one that stands for it (client.py)."""

    began = time.monotonic()


@dataclass
class StopRequest:
    """Set by SIGTERM, looked at between steps."""

    asked: bool = False

    def listen(self) -> "StopRequest":
        """Begins to listen."""

        def on_term(signum: int, frame: FrameType | None) -> None:
            self.asked = True

        signal.signal(signal.SIGTERM, on_term)
        return self


def say(message: str) -> None:
    """A line for people: stderr, so that stdout stays JSON."""
    print(message, file=sys.stderr, flush=True)


def evaluation_line(record: dict[str, Any]) -> str:
    """One JSON line, read by the tuner and by SageMaker with the same regex."""
    return json.dumps(record)


def emit(record: dict[str, Any]) -> None:
    """The record's line on stdout."""
    print(evaluation_line(record), flush=True)
