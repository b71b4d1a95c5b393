"""A closer look at a few values and weights: the figures that show what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.subsampling import coprime_stride
from edgeq.graph import constants
from edgeq.graph.expose import expose
from edgeq.graph.meters import EVERYTHING
from edgeq.graph.walk import is_op, node_name, nodes, values
from edgeq.metrics.fidelity import sqnr_db
from edgeq.quantization import affine
from edgeq.quantization.saturation import useful_bounds
from edgeq.runtime.session import Session
from edgeq.types import QuantParams, QuantType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample

MOST = 0.999
"""The fraction of the elements that counts as all but the outliers."""

_KEPT = 2**16
"""Elements of one value and sample that stand for all, but for the extrema."""

_IMAGES = 4
"""Rank from which channels lie on axis 1; below it they lie on the last."""


@dataclass(frozen=True, slots=True)
class ValueFigures:
    """What a float value looks like on a few samples, as far as its readers can tell.

    Attributes:
        name: Of the value.
        low: Least element.
        high: Greatest element.
        most: What 99.9 % of the magnitudes do not exceed.
        rms: Root of the mean square.
        bounds: Least and greatest number that its integers represent; None where they are not
            known.
        step: Distance of those numbers; 0 where it is not known.
        beyond: Fraction of the elements outside of the bounds.
        cut: Fraction of the energy of the rounding error that comes from those.
        channels: Largest magnitude in the channel that reaches furthest, and in the middle one of
            all channels that are not zero; None with less than two.
        rows: The same for rows: everything that shares all axes but the last.
    """

    name: str
    low: float
    high: float
    most: float
    rms: float
    bounds: tuple[float, float] | None = None
    step: float = 0.0
    beyond: float = 0.0
    cut: float = 0.0
    channels: tuple[float, float] | None = None
    rows: tuple[float, float] | None = None

    @property
    def reach(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)


@dataclass(frozen=True, slots=True)
class WeightFigures:
    """What rounding does to the weight of one node.

    Attributes:
        name: Of the constant.
        sqnr_db: Of the rounded weight against itself.
        spread: Largest magnitude over the root of the mean square, in the channel where that is
            worst.
    """

    name: str
    sqnr_db: float
    spread: float


def look_at_values(
    reference: ir.Model,
    wanted: Mapping[str, tuple[float, float, float] | None],
    samples: Iterable[Sample],
    config: SessionConfig | None = None,
) -> dict[str, ValueFigures]:
    """Run a float model and describe some of its values.

    Args:
        reference: The model; not changed.
        wanted: Name of the value -> least and greatest number that its integers represent and
            their distance; None where that is not known. A few: they come out whole.
        samples: A few, read once.
        config: How the session is opened.

    Returns:
        By name; values that no sample computes, and those inside of loops, are missing.
    """
    exposed = expose(reference, wanted, keep_outputs=False)
    session = Session(exposed.model, config) if exposed.outputs else None
    notes, known = {name: _Notes() for name in wanted}, values(reference)
    useful = {name: useful_bounds(known[name]) for name in wanted}
    for sample in samples:
        found = {} if session is None else session.run(sample)
        arrays = {name: found[output] for name, output in exposed.outputs.items()}
        arrays |= {name: np.asarray(sample[name]) for name in wanted if name in sample}
        for name, array in arrays.items():
            if array.size and array.dtype.kind == "f" and np.isfinite(array).all():
                notes[name].add(array.astype(np.float32), useful[name], wanted[name])
    return {name: each.figures(name, wanted[name]) for name, each in notes.items() if each.count}


@dataclass(slots=True)
class _Notes:
    """What is kept of a value from sample to sample."""

    count: int = 0
    low: float = np.inf
    high: float = -np.inf
    energy: float = 0.0
    beyond: int = 0
    noise: float = 0.0
    cut: float = 0.0
    magnitudes: list[NDArray[np.float64]] = field(default_factory=list)
    channels: NDArray[np.float32] | None = None
    rows: tuple[float, float] | None = None

    def add(
        self,
        array: NDArray[np.float32],
        useful: tuple[float, float],
        numbers: tuple[float, float, float] | None,
    ) -> None:
        if useful != EVERYTHING:
            array = np.clip(array, np.float32(useful[0]), np.float32(useful[1]))
        magnitude = np.abs(array)
        self.low, self.high = min(self.low, array.min()), max(self.high, array.max())
        self._part(array.ravel()[:: coprime_stride(array.size, _KEPT)].astype(np.float64), numbers)
        if array.ndim > 1:
            axis = 1 if array.ndim >= _IMAGES else array.ndim - 1
            reach = magnitude.max(axis=tuple(a for a in range(array.ndim) if a != axis))
            if self.channels is not None and self.channels.shape == reach.shape:
                reach = np.maximum(self.channels, reach)
            self.channels = reach
            rows = _ends(magnitude.max(axis=-1).ravel())
            if rows is not None and (self.rows is None or rows[0] > self.rows[0]):
                self.rows = rows

    def _part(self, part: NDArray[np.float64], numbers: tuple[float, float, float] | None) -> None:
        """Elements that stand for all of them."""
        self.count += part.size
        self.energy += float(np.vdot(part, part))
        self.magnitudes.append(np.abs(part))
        if numbers is not None:
            low, high, step = numbers
            kept = np.clip(part, low, high)
            cut = float(np.square(part - kept).sum())
            self.beyond += int((kept != part).sum())
            self.cut += cut
            self.noise += cut + float(np.square(kept - np.rint(kept / step) * step).sum())

    def figures(self, name: str, numbers: tuple[float, float, float] | None) -> ValueFigures:
        magnitudes = np.concatenate(self.magnitudes)
        return ValueFigures(
            name=name,
            low=float(self.low),
            high=float(self.high),
            most=float(np.quantile(magnitudes, MOST)),
            rms=float(np.sqrt(self.energy / self.count)),
            bounds=None if numbers is None else numbers[:2],
            step=0.0 if numbers is None else numbers[2],
            beyond=self.beyond / self.count,
            cut=self.cut / self.noise if self.noise else 0.0,
            channels=None if self.channels is None else _ends(self.channels),
            rows=self.rows,
        )


def _ends(reach: NDArray[np.float32]) -> tuple[float, float] | None:
    """The largest, and the middle one of those that are not zero."""
    alive = reach[reach > 0]
    return (float(alive.max()), float(np.median(alive))) if alive.size > 1 else None


def look_at_weight(reference: ir.Model, candidate: ir.Model, node: str) -> WeightFigures | None:
    """Compare the weight of a node with what the quantized model has in its place.

    Args:
        reference: The float model.
        candidate: The quantized one.
        node: Name of the node in both.

    Returns:
        None where either has no constant there or their shapes differ.
    """
    here, there = _named(reference, node), _named(candidate, node)
    if here is None or there is None or min(len(here.inputs), len(there.inputs)) < 2:
        return None
    exact, rounded = constants.array(here.inputs[1]), _dequantized(there.inputs[1])
    if exact is None or rounded is None or exact.shape != rounded[0].shape or not exact.size:
        return None
    return _figures(here, exact.astype(np.float64), *rounded)


def _named(model: ir.Model, name: str) -> ir.Node | None:
    return next((node for node in nodes(model) if node_name(node) == name), None)


def _dequantized(value: ir.Value | None) -> tuple[NDArray[np.float64], int | None] | None:
    """What a DequantizeLinear makes of constants, and the axis of its scales."""
    node = None if value is None else value.producer()
    if node is None or not is_op(node, "DequantizeLinear"):
        return None
    integers, scale, zero_point = (constants.array(each) for each in (*node.inputs, None)[:3])
    if integers is None or scale is None or scale.ndim > 1:
        return None
    zero = np.zeros(scale.shape, np.int64) if zero_point is None else zero_point.astype(np.int64)
    axis = node.attributes.get_int("axis", 1) if scale.ndim else None
    real = np.asarray(scale, np.float32)
    params = QuantParams(real, zero, QuantType(integers.dtype.name), axis)
    return np.asarray(affine.dequantize(integers.astype(np.int64), params), np.float64), axis


def _figures(
    node: ir.Node, exact: NDArray[np.float64], rounded: NDArray[np.float64], axis: int | None
) -> WeightFigures:
    others = tuple(a for a in range(exact.ndim) if axis is None or a != axis % exact.ndim)
    size = np.sqrt(np.square(exact).mean(axis=others))
    reach = np.abs(exact).max(axis=others)
    spread = np.where(size > 0, reach / np.where(size > 0, size, 1.0), 1.0)
    energy = float(np.square(exact).sum())
    noise = float(np.square(exact - rounded).sum())
    value = node.inputs[1]
    name = "" if value is None else value.name or ""
    return WeightFigures(name, sqnr_db(energy, noise), float(np.max(spread)))
