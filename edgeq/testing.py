"""Conformance checks for plug-ins: run them in the tests of the package that brings one.

>>> from edgeq.testing import check_calibrator
>>> check_calibrator("percentile:level=99.9")
"""

from __future__ import annotations

import inspect
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeq.calibration.contract import CalibrationContext, Calibrator
from edgeq.calibration.discovery import check_class, create
from edgeq.calibration.statistics import Statistics
from edgeq.errors import CalibrationError, EdgeqError, PluginError
from edgeq.types import Array, QuantSpec, QuantType, TensorRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SAMPLES = 6
_SLACK = 0.01
_REMEDY = "See edgeq.calibration.contract.Calibrator"
_CONTEXT = CalibrationContext(value="value", producer="Conv", consumers=("Add", "Conv"))
_SPECS = (
    QuantSpec(QuantType.INT8, symmetric=True),
    QuantSpec(QuantType.INT8),
    QuantSpec(QuantType.UINT8),
    QuantSpec(QuantType.UINT8, reduce_range=True),
    QuantSpec(QuantType.INT16, symmetric=True),
)


class _Trial(NamedTuple):
    """One distribution under one spec, and what messages call it."""

    name: str
    samples: tuple[Array, ...]
    spec: QuantSpec

    @property
    def title(self) -> str:
        kind = "symmetric" if self.spec.symmetric else "asymmetric"
        return f"range() of {self.name} data for {kind} {self.spec.dtype.value}"


def check_calibrator(
    calibrator: Calibrator | type[Calibrator] | str, *, may_exceed_extrema: bool = False
) -> None:
    """Check that a calibrator fulfils the contract, on many distributions and specs.

    Args:
        calibrator: An instance, a class that is constructible without arguments, or the text
            that the command line takes (``NAME[:key=value,...]``).
        may_exceed_extrema: The method has a reason, documented by its authors, to cover more
            than was observed. Otherwise a range may exceed the extrema (extended to zero, and
            mirrored for symmetric types) by 1 % at most.

    Raises:
        PluginError: The first violation, with the data and the spec that show it.
        RecipeError: ``calibrator`` is a text that names no installed calibrator.
    """
    made, where = _make(calibrator)
    _check_empty(made, where)
    for name, samples in distributions().items():
        for spec in _SPECS:
            _check_trial(made, where, _Trial(name, samples, spec), may_exceed_extrema)


def distributions() -> dict[str, tuple[Array, ...]]:
    """The data that :func:`check_calibrator` tries: name -> float32 samples, always the same."""
    rng = np.random.default_rng(20240229)
    shape = (4, 25, 10)
    makers: dict[str, Callable[[], Any]] = {
        "normal": lambda: rng.standard_normal(shape),
        "heavy-tailed": lambda: rng.standard_t(2, shape),
        "one-sided": lambda: np.maximum(rng.standard_normal(shape), 0.0),
        "negative": lambda: -rng.random(shape) - 0.5,
        "far from zero": lambda: rng.standard_normal(shape) + 100.0,
        "sparse": lambda: (rng.random(shape) > 0.9999) * 3.0,
        "constant": lambda: np.full(shape, 0.7),
        "negative constant": lambda: np.full(shape, -0.7),
        "all-zero": lambda: np.zeros(shape),
        "tiny": lambda: 1e-30 * rng.standard_normal(shape),
        "huge": lambda: 1e30 * rng.standard_normal(shape),
        "subnormal": lambda: 1e-42 * rng.standard_normal(shape),
        "two-valued": lambda: np.sign(rng.standard_normal(shape)),
        "single-element": lambda: np.array(rng.standard_normal()),
    }
    return {
        name: tuple(np.asarray(make(), np.float32) for _ in range(_SAMPLES))
        for name, make in makers.items()
    }


def _make(calibrator: Calibrator | type[Calibrator] | str) -> tuple[Calibrator, str]:
    """The calibrator itself, statically checked, and what messages call it."""
    if isinstance(calibrator, str):
        return create(calibrator), f"calibrator {calibrator!r}"
    cls = calibrator if inspect.isclass(calibrator) else type(calibrator)
    where = f"calibrator class {cls.__name__}"
    checked = check_class(cls, where=where, remedy=_REMEDY)
    if not inspect.isclass(calibrator):
        return calibrator, where
    try:
        return checked(), where
    except Exception as error:
        raise PluginError(f"cannot be made without arguments ({error!r})", where=where) from error


def _check_empty(calibrator: Calibrator, where: str) -> None:
    """Nothing observed: an error that names the problem, not a made-up range."""
    try:
        calibrator.range(Statistics(calibrator.requires), _SPECS[0], _CONTEXT)
    except CalibrationError:
        return
    except Exception as error:
        raise PluginError(
            f"without observations range() must raise CalibrationError, not {error!r}",
            where=where,
            remedy="Read statistics.minimum first: it raises the right error",
        ) from error
    raise PluginError(
        "range() must raise CalibrationError when nothing was observed",
        where=where,
        remedy="Read statistics.minimum first: it raises the right error",
    )


def _check_trial(
    calibrator: Calibrator, where: str, trial: _Trial, may_exceed_extrema: bool
) -> None:
    statistics = _observe(calibrator, enumerate(trial.samples))
    before = _bytes(statistics)
    first = _range(calibrator, statistics, where, trial)
    if _bytes(statistics) != before:
        raise PluginError(f"{trial.title} changes the statistics", where=where, remedy=_REMEDY)
    if not may_exceed_extrema:
        _check_bounds(first, statistics, where, trial)
    if _range(calibrator, statistics, where, trial) != first:
        raise PluginError(
            f"{trial.title} differs from call to call",
            where=where,
            remedy="Seed random numbers, and keep no state between calls",
        )
    for merged in _shards(calibrator, trial.samples):
        if _range(calibrator, merged, where, trial) != first:
            raise PluginError(
                f"{trial.title} depends on the order in which shards were merged",
                where=where,
                remedy="Read nothing but the public attributes of Statistics",
            )


def _range(
    calibrator: Calibrator, statistics: Statistics, where: str, trial: _Trial
) -> TensorRange:
    try:
        found = calibrator.range(statistics, trial.spec, _CONTEXT)
    except EdgeqError as error:
        raise PluginError(f"{trial.title} raises: {error}", where=where, remedy=_REMEDY) from error
    except Exception as error:
        raise PluginError(f"{trial.title} raises {error!r}", where=where, remedy=_REMEDY) from error
    if not isinstance(found, TensorRange):
        raise PluginError(f"{trial.title} returns {found!r}, not a TensorRange", where=where)
    return found


def _check_bounds(found: TensorRange, statistics: Statistics, where: str, trial: _Trial) -> None:
    low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
    if trial.spec.symmetric:
        high = max(-low, high)
        low = -high
    slack = _SLACK * (high - low)
    if found.low < low - slack or found.high > high + slack:
        raise PluginError(
            f"{trial.title} is [{found.low:.6g}, {found.high:.6g}], beyond what was observed: "
            f"[{statistics.minimum:.6g}, {statistics.maximum:.6g}]",
            where=where,
            remedy="Clip it, or document why not and pass may_exceed_extrema=True",
        )


def _observe(calibrator: Calibrator, samples: Iterable[tuple[int, Array]]) -> Statistics:
    """Statistics with only what the calibrator requires: reading more raises."""
    statistics = Statistics(calibrator.requires)
    for index, sample in samples:
        statistics.update(index, sample)
    return statistics


def _shards(calibrator: Calibrator, samples: tuple[Array, ...]) -> list[Statistics]:
    """The same samples observed in three shards and merged in two orders."""
    numbered = list(enumerate(samples))
    shards = [_observe(calibrator, numbered[k::3]) for k in range(3)]
    return [reduce(Statistics.merge, order) for order in (shards, shards[::-1])]


def _bytes(statistics: Statistics) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in statistics.to_arrays().items()}
