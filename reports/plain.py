"""Results as plain data that any JSON reader understands."""

import math
from typing import Any


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts; None for what is not finite, text for what is none of these."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)
