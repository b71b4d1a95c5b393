"""Recognizes normalization that is spelled out with ReduceMean and Sqrt.

``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` becomes LayerNormalization where the mean
is over the last axes and InstanceNormalization where it is over all but the first two;
``x / sqrt(mean(x * x) + epsilon) * gamma`` becomes RMSNormalization. Where the opset is too old for
the operator, the arithmetic gets the spelling that onnxruntime fuses
(onnxruntime/core/optimizer/layer_norm_fusion.cc): Pow, Sqrt and Div, in that order.

Measured in onnxruntime 1.31 on x86-64, one thread, microseconds at [1,196,768]: LayerNormalization
134, the spelling that is fused 134, with a product for Pow 281, with Reciprocal 305, without gamma
and beta 238; RMSNormalization 53, the spelling that is fused 54, with Reciprocal 185. At
[1,64,56,56] InstanceNormalization 72, spelled out 232, LayerNormalization over both axes 106.
``x / max(norm, epsilon)`` stays: LpNormalization takes 94 % of its time and has no epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire, walk
from edgeq.graph.shapes import rank as rank_of
from edgeq.graph.walk import is_op
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import ints, opset, produced_by, where
from edgeq.passes.polynomial import (
    ONE,
    Expansion,
    Polynomial,
    cone,
    is_close,
    monomial,
    replace,
    sources,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.graph.rewire import Names
    from edgeq.passes.affine import Float64
    from edgeq.passes.outcome import Answer

_SINCE: Final = {
    "InstanceNormalization": 6,
    "LayerNormalization": 17,
    "RMSNormalization": 23,
}
_FUSED: Final = {
    "LayerNormalization": ["Add", "Add", "Div", "Mul", "Pow", "ReduceMean", "ReduceMean", "Sqrt",
                           "Sub"],
    "RMSNormalization": ["Add", "Div", "Mul", "Pow", "ReduceMean", "Sqrt"],
}  # fmt: skip
"""What onnxruntime fuses, by operator type; all of it, gamma and beta included."""


@dataclass(frozen=True, slots=True)
class _Moments:
    """The reductions behind a normalization.

    Attributes:
        source: What is normalized.
        mean: Its mean; None where nothing is subtracted.
        spread: The mean square, epsilon added.
        epsilon: What was added.
        axes: The axes of the means, from the end: -1 is the last.
    """

    source: ir.Value
    mean: ir.Value | None
    spread: ir.Value
    epsilon: float
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Normalization:
    """A place to rewrite, gamma and beta as the operator takes them."""

    op_type: str
    moments: _Moments
    root: ir.Value
    nodes: list[ir.Node]
    gamma: Float64
    beta: Float64

    @property
    def scales(self) -> bool:
        """Whether gamma is anything but 1."""
        return bool(np.any(self.gamma != 1))

    @property
    def shifts(self) -> bool:
        """Whether beta is anything but 0."""
        return bool(np.any(self.beta))

    @property
    def spelled(self) -> int:
        """Nodes of the usual spelling."""
        means = 5 if self.moments.mean is None else 7
        return means + self.scales + self.shifts

    @property
    def fuses(self) -> bool:
        """Whether onnxruntime finds all that it looks for in the usual spelling."""
        return self.scales and (self.moments.mean is None or self.shifts)


def recognize_layer_norm(model: ir.Model) -> Outcome:
    """Turn spelled-out normalization into operators, or into a spelling that is fused."""
    names, version = rewire.Names(model), opset(model)
    answers: list[Answer] = []
    older: dict[str, int] = {}
    for node in [n for n in walk.nodes(model) if is_op(n, "ReduceMean")]:
        found = _find(node)
        if not isinstance(found, _Normalization):
            answers.append(found)
            continue
        if version < _SINCE[found.op_type]:
            older[found.op_type] = older.get(found.op_type, 0) + 1
        answers.append(_rewrite(found, version, names))
    answers += [
        f"{count} normalizations stay arithmetic: {op_type} needs opset {_SINCE[op_type]}, "
        f"the model has {version}"
        for op_type, count in older.items()
    ]
    return Outcome.of(answers)


def _find(node: ir.Node) -> _Normalization | Answer:
    moments = _moments(node)
    if moments is None:
        return False
    x, mean, spread = moments.source, moments.mean, moments.spread
    atoms = [x, spread] if mean is None else [x, mean, spread]
    expansion = Expansion(atoms, edits.graph_of(node), positive=[spread])
    best: _Normalization | None = None
    answer: Answer = False
    for root, polynomial in expansion.found.items():
        parts = _parts(polynomial, moments)
        nodes = None if parts is None else cone(root, [x])
        if parts is None or (best is not None and nodes and len(nodes) < len(best.nodes)):
            continue
        if nodes is None:
            answer = f"{where(node)}: others read what is inside its normalization"
            continue
        fitted = _fitted(parts, moments)
        if fitted is None:
            answer = f"{where(node)}: the size that it normalizes is not known"
            continue
        op_type, gamma, beta = fitted
        best = _Normalization(op_type, moments, root, nodes, gamma, beta)
    return answer if best is None else best


def _axes(node: ir.Node | None) -> tuple[int, ...] | None:
    """The reduced axes, from the end, if the node keeps them."""
    if node is None or node.attributes.get_int("keepdims", 1) != 1:
        return None
    axes, rank = ints(node, 1, "axes"), rank_of(node.inputs[0])
    if not axes or (rank is None and max(axes) >= 0):
        return None
    return tuple(sorted(a if a < 0 else a - (rank or 0) for a in axes))


def _moments(node: ir.Node) -> _Moments | None:
    """The node as the mean square of a normalization."""
    axes, square = _axes(node), node.inputs[0]
    if axes is None or square is None or square.dtype != ir.DataType.FLOAT:
        return None
    base = _base(square, edits.graph_of(node))
    spread = _spread(node)
    if base is None or spread is None:
        return None
    value, epsilon = spread
    difference = produced_by(base, "Sub")
    if difference is not None:
        source, mean = difference.inputs
        reduction = produced_by(mean, "ReduceMean")
        if reduction is not None and reduction.inputs[0] is source and _axes(reduction) == axes:
            return _Moments(source, mean, value, epsilon, axes) if source is not None else None
    return _Moments(base, None, value, epsilon, axes)


def _base(square: ir.Value, graph: ir.Graph) -> ir.Value | None:
    """What ``square`` is the square of."""
    for base in sources(square)[1:]:
        read = Expansion([base], graph).of(square)
        if read is not None and is_close(read, {monomial((base, 2)): 1.0}):
            return base
    return None


def _spread(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The sum of the node's output and a constant that a root is taken of, and the constant."""
    output = node.outputs[0]
    for value, polynomial in Expansion([output], edits.graph_of(node)).found.items():
        epsilon = polynomial.get(ONE, np.zeros(()))
        if epsilon.size != 1 or not 0 <= float(epsilon.reshape(())) < 1:
            continue
        number = float(epsilon.reshape(()))
        rooted = any(is_op(u.node, "Sqrt", "Pow") and u.idx == 0 for u in value.uses())
        if rooted and is_close(polynomial, {monomial(output): 1.0, ONE: number}):
            return value, number
        if rooted and not number and is_close(polynomial, {monomial(output): 1.0}):
            return value, number
    return None


def _parts(polynomial: Polynomial, moments: _Moments) -> tuple[Float64, Float64] | None:
    """Gamma and beta, if the polynomial is a normalization."""
    terms = dict(polynomial)
    root = (moments.spread, -0.5)
    gamma = terms.pop(monomial(moments.source, root), None)
    if gamma is None:
        return None
    if moments.mean is not None:
        subtracted = terms.pop(monomial(moments.mean, root), None)
        if subtracted is None or not _opposite(gamma, subtracted):
            return None
        beta = terms.pop(ONE, np.zeros(()))
    else:
        beta = np.zeros(())
    return None if terms else (gamma, beta)


def _opposite(a: Float64, b: Float64) -> bool:
    try:
        return bool(np.allclose(a, -b, rtol=1e-5, atol=0))
    except ValueError:
        return False


def _fitted(
    parts: tuple[Float64, Float64], moments: _Moments
) -> tuple[str, Float64, Float64] | None:
    """The operator, and gamma and beta in its shape."""
    dims, count = moments.source.shape, len(moments.axes)
    if dims is None or len(dims) < count:
        return None
    rank = len(dims)
    last = moments.axes == tuple(range(-count, 0))
    spatial = moments.axes == tuple(range(2 - rank, 0))
    if moments.mean is not None and spatial and count > 1:
        channel = _channels(parts, rank, dims[1])
        if channel is not None:
            return ("InstanceNormalization", *channel)
    known = [d for d in list(dims)[rank - count :] if isinstance(d, int) and d > 0]
    if not last or len(known) != count:
        return None
    shaped = [_widened(part, known) for part in parts]
    gamma, beta = shaped
    if gamma is None or beta is None:
        return None
    return ("LayerNormalization" if moments.mean is not None else "RMSNormalization", gamma, beta)


def _channels(
    parts: tuple[Float64, Float64], rank: int, channels: int | ir.SymbolicDim
) -> tuple[Float64, Float64] | None:
    """Numbers that differ by channel only: [C, 1, 1] or [1, C, 1, 1] as [C]."""
    if not isinstance(channels, int) or channels <= 0:
        return None
    shaped = [_widened(part, [channels, *[1] * (rank - 2)]) for part in parts]
    gamma, beta = (None if part is None else part.reshape(-1) for part in shaped)
    return None if gamma is None or beta is None else (gamma, beta)


def _widened(array: Float64, dims: Sequence[int]) -> Float64 | None:
    while array.ndim > len(dims) and array.shape[0] == 1:
        array = array[0]
    if array.ndim > len(dims):
        return None
    behind = dims[len(dims) - array.ndim :]
    if any(a not in (1, d) for a, d in zip(array.shape, behind, strict=True)):
        return None
    return np.broadcast_to(array, tuple(dims))


def _rewrite(found: _Normalization, version: int, names: Names) -> Answer:
    if version >= _SINCE[found.op_type]:
        new = _operator(found, names)
    elif _is_fused(found) or not (found.fuses or found.spelled < len(found.nodes)):
        return False
    else:
        new = _spell(found, version, names)
    replace(found.root, new, found.nodes)
    return True


def _operator(found: _Normalization, names: Names) -> ir.Value:
    anchor, moments = found.nodes[0], found.moments
    base = f"{anchor.name}__norm"
    inputs: list[ir.Value | None] = [moments.source]
    wanted = [(found.gamma, "gamma"), (found.beta, "beta")]
    shifts = found.op_type == "InstanceNormalization" or found.shifts
    for array, name in wanted if shifts else wanted[:1]:
        data = np.asarray(array, np.float32)
        inputs.append(edits.constant(anchor, data, names, f"{base}_{name}"))
    attributes: dict[str, int | float] = {"epsilon": moments.epsilon}
    if found.op_type != "InstanceNormalization":
        attributes["axis"] = -len(moments.axes)
    return edits.add_node(anchor, found.op_type, inputs, names, base, attributes, like=found.root)


def _is_fused(found: _Normalization) -> bool:
    """Whether the spelling is the one that onnxruntime looks for."""
    if sorted(node.op_type for node in found.nodes) != _FUSED[found.op_type]:
        return False
    division = next(node for node in found.nodes if is_op(node, "Div"))
    moments = found.moments
    if moments.mean is None:
        return division.inputs[0] is moments.source
    return produced_by(division.inputs[0], "Sub") is not None


def _spell(found: _Normalization, version: int, names: Names) -> ir.Value:
    anchor, moments = found.nodes[0], found.moments
    centred = moments.source

    def step(op_type: str, left: ir.Value, right: ir.Value | Float64 | float) -> ir.Value:
        base = f"{anchor.name}__{op_type.lower()}"
        if not isinstance(right, ir.Value):
            right = edits.constant(anchor, np.asarray(right, np.float32), names, base)
        return edits.add_node(anchor, op_type, [left, right], names, base, like=found.root)

    if moments.mean is not None:
        mean = _mean(found, centred, version, names)
        centred = step("Sub", centred, mean)
    spread = _mean(found, step("Pow", centred, 2.0), version, names)
    spread = edits.add_node(
        anchor, "Add",
        [spread, edits.constant(anchor, np.asarray(moments.epsilon, np.float32), names,
                                f"{anchor.name}__epsilon")],
        names, f"{anchor.name}__add", like=spread,
    )  # fmt: skip
    root = edits.add_node(anchor, "Sqrt", [spread], names, f"{anchor.name}__sqrt", like=spread)
    value = step("Div", centred, root)
    if found.scales:
        value = step("Mul", value, found.gamma)
    return step("Add", value, found.beta) if found.shifts else value


def _mean(found: _Normalization, value: ir.Value, version: int, names: Names) -> ir.Value:
    anchor, axes = found.nodes[0], found.moments.axes
    base = f"{anchor.name}__mean"
    if version < 18:
        # Axes from the end came with opset 11.
        counted = tuple(axis + (rank_of(found.moments.source) or 0) for axis in axes)
        output = edits.add_node(anchor, "ReduceMean", [value], names, base, {"axes": counted})
    else:
        data = edits.constant(anchor, np.asarray(axes, np.int64), names, f"{base}_axes")
        output = edits.add_node(anchor, "ReduceMean", [value, data], names, base)
    like = found.moments.mean or found.moments.spread
    output.type, output.shape = like.type, like.shape
    return output
