"""How far a device's outputs may be off: read off the operators on the way to each output."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph.walk import subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from edgeq.types import Array


class Kind(enum.Enum):
    """What different processors make of the same inputs of an operator."""

    EXACT = "exact"
    STEP = "step"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known about operators as onnxruntime's CPU provider runs them.

    Attributes:
        op_types: The operators, named as in optimized graphs.
        kind: How far processors agree.
        relative: Allowed difference as a fraction of the largest absolute value of the output.
        source: How it is known.
    """

    op_types: frozenset[str]
    kind: Kind
    relative: float
    source: str


_MEASURED = "58 models on x86-64 with VNNI, four emulated ARM64 processors and WebAssembly"

_INTEGER_KERNELS: Final = frozenset(
    {"ConvInteger", "MatMulInteger", "QGemm", "QLinearAveragePool", "QLinearConcat", "QLinearConv",
     "QLinearConvTranspose", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul",
     "QLinearWhere"}
)  # fmt: skip
_ROUNDED_ONCE: Final = frozenset(
    {"QLinearAdd", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid", "QLinearSoftmax"}
)
_MOVING: Final = frozenset(
    {"Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand",
     "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "MaxPool",
     "NhwcMaxPool", "NonZero", "OneHot", "Pad", "Range", "Reshape", "ReverseSequence",
     "ScatterElements", "ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze",
     "Tile", "Transpose", "Trilu", "Unsqueeze"}
)  # fmt: skip
_CORRECTLY_ROUNDED: Final = frozenset(
    {"Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Ceil", "Clip", "DequantizeLinear", "Div",
     "Equal", "Floor", "Greater", "GreaterOrEqual", "If", "IsInf", "IsNaN", "LeakyRelu", "Less",
     "LessOrEqual", "Loop", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
     "QuantizeLinear", "ReduceMax", "ReduceMin", "Relu", "Round", "Scan", "Sign", "Sqrt", "Sub",
     "ThresholdedRelu", "TopK", "Where", "Xor"}
)  # fmt: skip

FACTS: Final = (
    Fact(_INTEGER_KERNELS, Kind.EXACT, 0.0, f"bit for bit equal: {_MEASURED}"),
    Fact(
        _ROUNDED_ONCE,
        Kind.STEP,
        0.0,
        "several roundings before the last one: a step apart near ties. Of all sums of two bytes "
        "with the scales of one layer of EfficientNet, 2 of 65,536 differ between x86 and ARM64",
    ),
    Fact(_MOVING, Kind.EXACT, 0.0, "moves numbers or picks one of them"),
    Fact(
        _CORRECTLY_ROUNDED,
        Kind.EXACT,
        0.0,
        "IEEE 754: one correctly rounded operation, the same everywhere",
    ),
    Fact(
        frozenset({"MatMulNBits"}),
        Kind.FLOAT,
        0.05,
        "may quantize activations in blocks of another size: up to 9e-2 on |y| 5 on ARM64",
    ),
)
"""Anything else is float arithmetic whose order of summation or approximation may differ."""

FLOAT_RELATIVE: Final = 1e-4
"""Allowed where float arithmetic differs in order only; fp32 networks differ by 1e-6 to 1e-5."""

HALF_RELATIVE: Final = 1e-2
"""The same for outputs of half precision."""

CLASS_OUTLIERS: Final = 0.01
"""Fraction of whole numbers (classes, places) that may differ where near ties decide them."""

MARGIN: Final = 2.0
"""How often the measured effect of other roundings is allowed."""

TIPPING: Final = 5e-3
"""Fraction of a large output's elements that are left out of that effect: where a pixel or a word
tips over to another class, its difference says nothing about the others."""

_MANY: Final = 1000
"""Elements from which an output is large."""

_BY_OP: Final[Mapping[str, Fact]] = {op: fact for fact in FACTS for op in fact.op_types}
_FLOAT: Final = Fact(frozenset(), Kind.FLOAT, FLOAT_RELATIVE, "float sums differ in their order")
_STEP: Final = Fact(frozenset(), Kind.STEP, 0.0, "linear Resize on 8 bits: 0.8 % one step apart")
_EXACT: Final = Fact(frozenset(), Kind.EXACT, 0.0, "arithmetic on integers")

_MOVES: Final = _MOVING | {"DequantizeLinear", "Relu", "Clip"}
_SHAPES_ONLY: Final = frozenset({"Shape", "Size"})
"""What they tell does not depend on numbers."""

_DISCRETE: Final = frozenset(
    {"ArgMax", "ArgMin", "Ceil", "Compress", "DynamicQuantizeLSTM", "DynamicQuantizeLinear",
     "DynamicQuantizeMatMul", "Equal", "Floor", "Greater", "GreaterOrEqual", "If", "Less",
     "LessOrEqual", "Loop", "MatMulNBits", "Mod", "NonMaxSuppression", "NonZero", "QuantizeLinear",
     "Round", "Sign", "TopK"}
)  # fmt: skip
"""Small differences in, large ones out: rounding, comparing, choosing."""


@dataclass(frozen=True, slots=True)
class Way:
    """What lies on the way to a value.

    Attributes:
        inexact: Operators that are not the same on all processors.
        relative: The largest allowance of any of them.
        flips: Whether a small difference of one of them may be rounded to a large one.
        steps: How many steps of its 8-bit type the value may be off.
        step: Size of such a step in the unit of the value; 1 of an integer.
    """

    inexact: frozenset[str] = frozenset()
    relative: float = 0.0
    flips: bool = False
    steps: int = 0
    step: float = 1.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What an output is held to.

    Attributes:
        kind: ``exact``, ``step``, ``float``, or ``flips`` where roundings travel on.
        absolute: How far an element may be off, in the unit of the output.
        outliers: Fraction of all elements that may be further off.
        because: The operators on the way that allow it.
    """

    kind: str
    absolute: float
    outliers: float
    because: tuple[str, ...]


def ways(executed: ir.Model) -> dict[str, Way]:
    """What lies on the way to each output.

    Args:
        executed: The graph as onnxruntime runs it, nodes in order.
    """
    found: dict[ir.Value, Way] = {}
    for node in executed.graph:
        way = _merged([found[value] for value in _reads(node) if value in found])
        way = _through(node, way)
        found.update(dict.fromkeys(node.outputs, way))
    return {o.name or "": found.get(o, Way()) for o in executed.graph.outputs}


def tolerance(way: Way, dtype: str, largest: float, effect: float, elements: int = 1) -> Tolerance:
    """What to hold an output to.

    Args:
        way: What lies on the way to it.
        dtype: Name of its numpy dtype.
        largest: Largest finite absolute value that is expected.
        effect: What :func:`usual` tells of the differences when the same model runs here with
            roundings in other places: without onnxruntime's fusions, and with noise behind float
            arithmetic. Used where roundings travel on.
        elements: Elements of the output in one sample.
    """
    because = tuple(sorted(way.inexact))
    if not because:
        return Tolerance("exact", 0.0, 0.0, ())
    if dtype in {"bool", "int32", "int64", "uint32", "uint64"}:
        return Tolerance("flips" if way.flips else "float", 0.0, CLASS_OUTLIERS, because)
    relative = max(way.relative, HALF_RELATIVE if dtype == "float16" else 0.0)
    absolute = relative * largest + way.steps * way.step
    if way.flips:
        absolute = max(absolute, FLOAT_RELATIVE * largest, MARGIN * effect)
        outliers = MARGIN * TIPPING if elements >= _MANY else 0.0
        return Tolerance("flips", absolute, outliers, because)
    return Tolerance("step" if way.steps else "float", absolute, 0.0, because)


def usual(differences: Array) -> float:
    """The largest finite difference; of a large output without the few that tip over.

    Args:
        differences: Absolute differences of one sample's output.
    """
    finite = differences[np.isfinite(differences)]
    if not finite.size:
        return 0.0
    if differences.size < _MANY:
        return float(finite.max())
    return float(np.quantile(finite.astype(np.float64), 1.0 - TIPPING))


def uncertain(executed: ir.Model) -> Iterator[ir.Value]:
    """Values that processors compute differently in float: where noise has to go."""
    for node in executed.graph:
        if any(fact(each).kind is Kind.FLOAT for each in (node, *_inner(node))):
            yield from node.outputs


def fact(node: ir.Node) -> Fact:
    """What is known about a node."""
    if node.op_type == "Resize":
        mode = node.attributes.get_string("mode", "nearest")
        if mode == "nearest":
            return _EXACT
        return _STEP if _whole(node.inputs[0]) else _FLOAT
    known = _BY_OP.get(node.op_type)
    if known is not None:
        return known
    return _EXACT if all(_whole(value) for value in node.inputs if value is not None) else _FLOAT


def _whole(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and not value.dtype.is_floating_point()


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """Values a node reads, those that its bodies take from outside included."""
    yield from (value for value in node.inputs if value is not None)
    for inner in _inner(node):
        yield from (value for value in inner.inputs if value is not None)


def _inner(node: ir.Node) -> list[ir.Node]:
    return [
        inner
        for _, graph in subgraphs(node)
        for inner in ir.traversal.RecursiveGraphIterator(graph)
    ]


def _merged(arriving: Iterable[Way]) -> Way:
    met = list(arriving)
    stepped = [way for way in met if way.steps]
    inexact = frozenset[str]().union(*(way.inexact for way in met))
    return Way(
        inexact,
        max((way.relative for way in met), default=0.0),
        any(way.flips for way in met),
        max((way.steps for way in met), default=0),
        max((way.step for way in stepped), default=1.0),
    )


def _through(node: ir.Node, way: Way) -> Way:
    """What lies on the way behind a node."""
    if node.op_type in _SHAPES_ONLY:
        return Way()
    inside = _inner(node)
    facts = {each.op_type: fact(each) for each in (node, *inside)}
    own = {op: known for op, known in facts.items() if known.kind is not Kind.EXACT}
    inexact = way.inexact | own.keys()
    discrete = {node.op_type, *(each.op_type for each in inside)} & _DISCRETE
    flips = way.flips or bool(inexact and discrete) or _travels(node, way, own)
    steps, step = _stepping(node, way, own)
    return Way(
        inexact,
        max(way.relative, *(known.relative for known in own.values()), 0.0),
        flips,
        steps,
        step,
    )


def _travels(node: ir.Node, way: Way, own: Mapping[str, Fact]) -> bool:
    """Whether a step that is off goes into arithmetic, or a float difference into 8 bits."""
    if way.steps and (node.op_type not in _MOVES or _unknown_step(node)):
        return True
    return bool(way.inexact and any(known.kind is Kind.STEP for known in own.values()))


def _unknown_step(node: ir.Node) -> bool:
    return node.op_type == "DequantizeLinear" and _scale(node) is None


def _scale(node: ir.Node) -> float | None:
    """The scale of a DequantizeLinear for the whole tensor; None where there are several."""
    constant = node.inputs[1].const_value if node.inputs[1] is not None else None
    if constant is None or constant.size != 1:
        return None
    return abs(float(constant.numpy().reshape(-1)[0]))


def _stepping(node: ir.Node, way: Way, own: Mapping[str, Fact]) -> tuple[int, float]:
    """How many steps a node's output may be off, and their size.

    Behind arithmetic there are none left: what became of them is what other roundings cost.
    """
    if any(known.kind is Kind.STEP for known in own.values()):
        return 1, 1.0
    if not way.steps or node.op_type not in _MOVES or _unknown_step(node):
        return 0, 1.0
    scale = _scale(node) if node.op_type == "DequantizeLinear" else way.step
    return way.steps, way.step if scale is None or not math.isfinite(scale) else scale
