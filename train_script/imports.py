"""Imports that look for no garbage among what they make: all of it stays for as long as the process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_for_good() -> Iterator[None]:
    """What is imported within is not searched for garbage, neither now nor later.

    Among a million objects that stay, each search costs more than it finds: they took a seventh of the
    imports' time. After a fork, a search would also copy every page that it looks at. Not for what may
    be dropped again, such as a model: garbage in circles among it would stay too.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
