"""Imports that look for no garbage among what they make: all of it stays for the whole run."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_for_good() -> Iterator[None]:
    """What is imported or made within is not searched for garbage, neither now nor later.

    Among a million objects that stay, each search costs more than it finds: it took a seventh of the
    imports' time. After a fork, a search would also copy every page that it looks at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
