"""Numbers as words for people. Numbers that are none (NaN, infinite, missing) have words, too."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

NONE = "\N{EN DASH}"
"""What stands in the empty cell of a table."""

TIMES = "\N{MULTIPLICATION SIGN}"

EQUAL_DB = 150.0
"""From here on both sides are the same but for rounding of the measurement."""

_LEVELS = (
    (40.0, "practically the same as"),
    (30.0, "very close to"),
    (20.0, "close to"),
    (10.0, "noticeably different from"),
)
_FAR = "far from"


def finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number one can calculate with."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, digits: int = 4) -> str:
    """``3.142``; what is no number is called that."""
    if value is None:
        return NONE
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}", 1 if value < 0 else 0)


def decibels(value: Any) -> str:
    """``31.4 dB``."""
    if not finite(value):
        return number(value)
    return "exact" if value >= EQUAL_DB else f"{_signed(value, 1)} dB"


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as ``98.5 %``."""
    if not finite(value):
        return number(value)
    share = 100 * value
    if 0 < share < 10**-digits:
        return f"< {10**-digits:g} %"
    # 99.97 % of something is not all of it.
    if 100 - 10**-digits < share < 100:
        return f"> {100 - 10**-digits:g} %"
    return f"{share:.{digits}f}".removesuffix("." + "0" * digits) + " %"


def milliseconds(value: Any) -> str:
    """``12.3 ms``."""
    return f"{number(value, 3)} ms" if finite(value) else number(value)


def change(value: float, unit: str = "") -> str:
    """``+1.5 dB``."""
    if not finite(value):
        return number(value)
    return f"{'+' if value > 0 else ''}{_signed(value, 1)}{unit}"


def _signed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def closeness(worst_db: Any) -> str:
    """How near an SQNR is to the original, as in "is ... the original"."""
    if not finite(worst_db):
        return "not comparable with"
    for level, said in _LEVELS:
        if worst_db >= level:
            return said
    return _FAR


def error_share(sqnr_db: float) -> str:
    """The size of the error against that of the signal, as ``2.7 %``."""
    share = 100 * 10 ** (-sqnr_db / 20)
    return f"{share:.2g} %" if share < 100 else f"{share:.0f} %"
