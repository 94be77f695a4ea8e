"""What an hour costs: from the sweep file, then from the user's own table. No price is no zero.

The table is ~/.config/tuner/prices.yaml, or the file that $TUNER_PRICES names: US dollars an hour by
instance type, and `here` for this machine.
"""

import os
from pathlib import Path
from typing import Any

from tuner.errors import SweepError
from tuner.sweep_file import Sweep
from tuner.yaml_lines import line_of, parse_yaml, read_file

HERE = "here"


def prices_file() -> Path:
    """Where the user's own table is."""
    named = os.environ.get("TUNER_PRICES")
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(named or Path(config) / "tuner" / "prices.yaml").expanduser()


def user_prices() -> dict[str, float]:
    """The user's own table, empty where there is none; SweepError names the lines that are wrong."""
    path = prices_file()
    if not path.is_file():
        if "TUNER_PRICES" in os.environ:
            raise SweepError([f"$TUNER_PRICES names {path}, which is no file"])
        return {}
    data, lines = parse_yaml(read_file(path), str(path))
    if not isinstance(data, dict):
        raise SweepError([f"{path} is no table of prices: it needs lines such as here: 1.20"])
    wrong = [key for key, price in data.items() if not _is_price(price)]
    if wrong:
        raise SweepError(
            f"{path}:{line_of(lines, (key,))} {key} {data[key]!r} is not a price in dollars above 0"
            for key in wrong
        )
    return {str(key): float(price) for key, price in data.items()}


def _is_price(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def priced(sweep: Sweep) -> Sweep:
    """The sweep with every price that is known; what it says itself goes before the user's table."""
    prices = user_prices() | sweep.prices
    block = sweep.sagemaker
    known = {kind: prices[kind] for kind in block.instance_types if kind in prices}
    if block.usd_per_hour is None and known:
        block = block.model_copy(update={"usd_per_hour": known})
    used = {kind: price for kind, price in prices.items() if kind in {HERE, *block.instance_types}}
    return sweep.model_copy(update={"prices": used, "sagemaker": block})
