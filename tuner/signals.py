"""How a person, or a scheduler, asks a running sweep to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal is gone


@dataclass
class Asked:
    """How often the sweep was asked to end."""

    times: int = 0
    by: int = signal.SIGTERM
    """The first signal that asked"""


@contextmanager
def listening() -> Iterator[Asked]:
    """Counts the signals within instead of dying of them.

    But not a SIGHUP that is ignored already: `nohup` asks for just that.
    """
    asked = Asked()

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if not asked.times:
            asked.by = signum
        asked.times += 1

    heard = [
        s for s in STOP_SIGNALS
        if s != signal.SIGHUP or signal.getsignal(s) is not signal.SIG_IGN
    ]  # fmt: skip
    before = {s: signal.signal(s, on_signal) for s in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
