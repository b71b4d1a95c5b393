"""Per-channel affine arithmetic: ``y = scale * x + shift`` with constant scale and shift.

Nodes are read as such maps, which compute in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeq.graph import constants, rewire
from edgeq.graph.walk import is_op
from edgeq.passes.pattern import constant_operand

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.passes.passages import Place

Float64: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_EPSILON = 1e-5
"""The default of BatchNormalization's attribute, from the ONNX specification."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = scale * x + shift``; both broadcast against x as NumPy would."""

    scale: Float64
    shift: Float64

    def then(self, later: Affine) -> Affine:
        """This first, ``later`` behind it."""
        return Affine(self.scale * later.scale, self.shift * later.scale + later.shift)

    @property
    def scales(self) -> bool:
        """Whether it multiplies by anything but 1."""
        return bool(np.any(self.scale != 1))

    @property
    def shifts(self) -> bool:
        """Whether it adds anything but 0."""
        return bool(np.any(self.shift != 0))

    @property
    def finite(self) -> bool:
        """Whether all of its numbers fit float32."""
        with np.errstate(over="ignore"):
            small = [np.asarray(a, np.float32) for a in (self.scale, self.shift)]
        return all(bool(np.isfinite(a).all()) for a in small)


@dataclass(frozen=True, slots=True)
class Step:
    """A node that is affine in its input ``data``."""

    node: ir.Node
    data: ir.Value
    affine: Affine


def read(node: ir.Node, rank: int | None) -> Step | None:
    """The node as an affine function of its one varying input.

    Args:
        node: Any node.
        rank: Rank of that input where known; a BatchNormalization needs it.
    """
    if is_op(node, "Neg") and node.inputs[0] is not None:
        return Step(node, node.inputs[0], Affine(-np.ones(()), np.zeros(())))
    if is_op(node, "BatchNormalization"):
        return _batch_norm(node, rank)
    if not is_op(node, "Add", "Sub", "Mul", "Div"):
        return None
    operand = constant_operand(node)
    if operand is None:
        return None
    affine = _binary(node.op_type, operand.array.astype(np.float64), operand.data_first)
    return None if affine is None else Step(node, operand.data, affine)


def _binary(op_type: str, constant: Float64, data_first: bool) -> Affine | None:
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if op_type == "Add":
        return Affine(one, constant)
    if op_type == "Sub":
        return Affine(one, -constant) if data_first else Affine(-one, constant)
    if op_type == "Mul":
        return Affine(constant, zero)
    if not data_first or np.any(constant == 0):
        return None
    return Affine(1 / constant, zero)


def _batch_norm(node: ir.Node, rank: int | None) -> Step | None:
    """Inference only: statistics that are constant, one output that is read."""
    data, *parameters = node.inputs
    if data is None or rank is None or rank < 2 or len(parameters) != 4:
        return None
    if node.attributes.get_int("training_mode", 0) or node.attributes.get_int("spatial", 1) != 1:
        return None
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return None
    arrays = [constants.array(v) for v in parameters]
    scale, bias, mean, variance = (None if a is None else a.astype(np.float64) for a in arrays)
    if scale is None or bias is None or mean is None or variance is None:
        return None
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", _EPSILON))
    shape = (-1,) + (1,) * (rank - 2)
    return Step(node, data, Affine(factor.reshape(shape), (bias - mean * factor).reshape(shape)))


def bypass(steps: Sequence[Step]) -> None:
    """Let what reads each step read its data instead, and remove the steps.

    Args:
        steps: In the order that data flows. The last goes first: the data of each is then there.
    """
    for step in reversed(steps):
        rewire.take_place(step.node.outputs[0], step.data)
        rewire.remove(step.node)


def per_channel(affine: Affine, place: Place) -> Affine | None:
    """The same map with one scale and shift per channel, if it has no finer grain.

    Args:
        affine: A map that broadcasts against a value.
        place: Where the channels are in that value.

    Returns:
        Vectors with one entry per channel; None when the map tells elements of one channel apart
        or would enlarge the value.
    """
    vectors = [_vector(a, place) for a in (affine.scale, affine.shift)]
    scale, shift = vectors
    return None if scale is None or shift is None else Affine(scale, shift)


def _vector(array: Float64, place: Place) -> Float64 | None:
    if array.ndim > (place.rank if place.rank is not None else 1):
        return None
    padded = array.reshape((1,) * (-place.axis - array.ndim) + array.shape)
    start = padded.ndim + place.axis
    own = padded.shape[start : start + len(place.sizes)]
    if padded.size != np.prod(own) or any(
        n not in (1, size) for n, size in zip(own, place.sizes, strict=True)
    ):
        return None
    local = np.broadcast_to(padded.reshape(own), place.sizes).reshape(-1).astype(np.float64)
    return local if place.index is None else local[place.index]
