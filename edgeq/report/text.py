"""Texts for people: sizes, counts, and names that come from files of strangers."""

from __future__ import annotations

_STEP = 1000


def printable(text: str) -> str:
    """The text with every character escaped that could move the cursor or colour a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def file_size(count: int) -> str:
    """``1.2 MB``; a MB has 10^6 bytes."""
    return _scaled(count, ("bytes", "kB", "MB", "GB", "TB"))


def energy(picojoules: float) -> str:
    """``366 uJ``."""
    return _scaled(round(picojoules), ("pJ", "nJ", "uJ", "mJ", "J"))


def amount(count: int) -> str:
    """``385 M``; a G is 10^9."""
    return _scaled(count, ("", "k", "M", "G", "T")).rstrip()


def _scaled(count: int, units: tuple[str, ...]) -> str:
    if abs(count) < _STEP:
        return f"{count} {units[0]}"
    number, power = float(count), 0
    # Three digits are shown: 999.6 k would read 1000 k.
    while abs(number) >= _STEP - 0.5 and power < len(units) - 1:
        number, power = number / _STEP, power + 1
    return f"{number:.3g} {units[power]}"


def counted(number: int, what: str) -> str:
    """``1 sample``, ``2 samples``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
