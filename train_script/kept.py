"""What one run makes and others could use again: kept in a server (server.py), nowhere else.

The server makes it before it forks; the runs find it and share the memory. A process that trains once
keeps nothing, so that nothing can be stale.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")
MOST_KEPT = 32
_kept: dict[Any, Any] = {}


class Keeping:
    """Whether anything is kept."""

    on = False


def kept(key: Any) -> Any:
    """What is kept under the key; None where nothing is."""
    if key in _kept:
        _kept[key] = _kept.pop(key)  # now the youngest
    return _kept.get(key)


def keep(key: Any, value: Any) -> None:
    """Keeps it, where things are kept; of too many the one goes that was not used for longest."""
    if Keeping.on:
        while len(_kept) >= MOST_KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[key] = value


def once(key: Any, make: Callable[[], Made]) -> Made:
    """What is kept under the key, or is made now."""
    if key in _kept:
        found: Made = kept(key)
        return found
    made = make()
    keep(key, made)
    return made
