"""The exceptions of edgeq, one tree.

::

    EdgeqError
    ├── ModelError          the model file or graph is unusable as it is
    ├── DataError           the calibration or evaluation data is unusable
    ├── CalibrationError    statistics or a range could not be computed
    ├── RecipeError         an option, recipe, target or pattern is wrong
    ├── PluginError         a plug-in breaks its contract
    ├── UnsupportedError    the request is sound, but nothing here can do it
    ├── ValidationFailed    the candidate was judged and found wanting
    └── DeviceError         the device that should run the model did not

Every message says what went wrong, where, and what to do next.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class EdgeqError(Exception):
    """Base of every error that edgeq raises on purpose.

    Args:
        what: What went wrong, a sentence without a final period.
        where: The node, value, option or file concerned; None where ``what`` says it.
        remedy: What the reader can do about it.

    Attributes:
        exit_code: Process exit code the command line ends with.
    """

    exit_code = 3

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text}. {remedy}" if remedy else text)


class ModelError(EdgeqError):
    """The model cannot be read, is invalid, or cannot be written."""

    exit_code = 2


class DataError(EdgeqError):
    """The samples cannot be read or do not fit the model."""

    exit_code = 2


class CalibrationError(EdgeqError):
    """Statistics could not be collected, or no range follows from them."""

    exit_code = 2


class RecipeError(EdgeqError):
    """An option, recipe entry, target, calibrator or metric name is wrong."""

    exit_code = 2


class PluginError(EdgeqError):
    """A plug-in could not be loaded or broke its contract."""

    exit_code = 2


class UnsupportedError(EdgeqError):
    """What was asked for cannot be done for this model, scheme or target."""

    exit_code = 2


class ValidationFailed(EdgeqError):  # noqa: N818 - a verdict, not a malfunction
    """The candidate ran, but misses a threshold."""

    exit_code = 1


class DeviceError(EdgeqError):
    """A device could not be reached or could not run the model."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy sentence that suggests the known name nearest to ``name``, or lists all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}"
