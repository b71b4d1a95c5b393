"""How the shapes of an operator's outputs follow from its inputs, with symbols in them.

A rule gives one shape for each output it knows; None stands for a shape or a dimension that is not
told. Sources: the ONNX operators' own documentation of output shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from edgeq.passes import dims
from edgeq.passes.pattern import given, ints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgeq.passes.dims import Size

Told: TypeAlias = "tuple[Size | None, ...]"

FAR = 10**9
"""Ends of slices from here on mean the end: TensorFlow's converter writes that number, others the
largest of the type."""

END = 2**31 - 1
"""An end that every dimension is below, in either type of index."""


class Look(Protocol):
    """What rules ask about values."""

    opset: int

    def shape(self, value: ir.Value | None) -> tuple[Size, ...] | None:
        """The shape of a value."""

    def elements(self, value: ir.Value | None) -> Told | None:
        """The elements of a scalar or vector."""


Rule: TypeAlias = "Callable[[ir.Node, Look], Sequence[Told | None] | None]"


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input, if it is given."""
    return node.inputs[index] if index < len(node.inputs) else None


def flag(node: ir.Node, name: str, default: int = 0) -> bool:
    """Whether an attribute that is 0 or 1 is set."""
    return node.attributes.get_int(name, default) != 0


def broadcast(shapes: Sequence[Told | None]) -> Told | None:
    """The shape that shapes broadcast to; None for dimensions that are not told."""
    known = [s for s in shapes if s is not None]
    if len(known) != len(shapes):
        return None
    rank = max(map(len, known))
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in known]
    return tuple(_joined(column) for column in zip(*padded, strict=True))


def _joined(column: Sequence[Size | None]) -> Size | None:
    wide = [size for size in column if size != 1]
    if not wide:
        return 1
    fixed = next((s for s in wide if isinstance(s, int)), None)
    if fixed is not None:
        return fixed
    return next((size for size in wide if _is_result(size, wide)), None)


def _is_result(size: Size | None, others: Sequence[Size | None]) -> bool:
    """Whether ``others`` equal ``size`` in every run that broadcasts: none is 1 where it is not."""
    return size is not None and all(
        o is not None and (o == size or dims.is_limited(o, size)) for o in others
    )


def _same(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    return [look.shape(node.inputs[0])]


def _elementwise(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return None
    return [broadcast([look.shape(v) for v in node.inputs])]


def _matmul(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    left, right = (look.shape(v) for v in node.inputs[:2])
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    front = broadcast([left[:-2], right[:-2]]) if max(len(left), len(right)) > 2 else ()
    return None if front is None else [(*front, left[-2], right[-1])]


def _gemm(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    left, right = (look.shape(v) for v in node.inputs[:2])
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return None
    rows = left[1 if node.attributes.get_int("transA", 0) else 0]
    return [(rows, right[0 if node.attributes.get_int("transB", 0) else 1])]


def _transpose(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    order = node.attributes.get_ints("perm", tuple(reversed(range(len(shape)))))
    return [tuple(shape[i] for i in order)] if len(order) == len(shape) else None


def _reshape(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    target, data = look.elements(input_at(node, 1)), look.shape(node.inputs[0])
    if "shape" in node.attributes:
        target = tuple(node.attributes["shape"].as_ints())
    if target is None:
        return None
    copies = not node.attributes.get_int("allowzero", 0)
    sizes = [
        (data[i] if data is not None and i < len(data) else None) if t == 0 and copies else t
        for i, t in enumerate(target)
    ]
    open_ones = [i for i, s in enumerate(sizes) if s is None or s == -1]
    if len(open_ones) == 1 and data is not None:
        others = [s for i, s in enumerate(sizes) if i not in open_ones]
        sizes[open_ones[0]] = remainder(data, others)
    return [tuple(None if s == -1 else s for s in sizes)]


def remainder(data: Sequence[Size | None], others: Sequence[Size | None]) -> Size | None:
    """What the sizes ``others`` lack of the product of ``data``: the -1 of a Reshape."""
    above, below = list(data), []
    for size in others:
        if size in above:
            above.remove(size)
        else:
            below.append(size)
    top, bottom = dims.product(above), dims.product(below)
    if top is None or bottom is None or bottom == 0:
        return None
    found = dims.quotient(top, bottom)
    return found if found is not None and dims.integral(found) else None


def axes_of(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """The axes of a Squeeze, Unsqueeze or reduction as numbers below ``rank``; None: not told."""
    if not given(node, 1) and "axes" not in node.attributes:
        return None
    found = ints(node, 1, "axes")
    return None if found is None else tuple(a % rank for a in found if -rank <= a < rank)


def _squeeze(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    if not given(node, 1) and "axes" not in node.attributes:
        return [tuple(d for d in shape if d != 1)] if _all_fixed(shape) else None
    axes = axes_of(node, len(shape))
    return None if axes is None else [tuple(d for i, d in enumerate(shape) if i not in axes)]


def _all_fixed(shape: Told) -> bool:
    return all(isinstance(d, int) for d in shape)


def _unsqueeze(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape, axes = look.shape(node.inputs[0]), ints(node, 1, "axes")
    if shape is None or axes is None:
        return None
    rank = len(shape) + len(axes)
    left, new = list(shape), {a % rank for a in axes}
    return [tuple(1 if i in new else left.pop(0) for i in range(rank))]


def _flatten(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    axis = node.attributes.get_int("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [(dims.product(shape[:axis]), dims.product(shape[axis:]))]


def _concat(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shapes = [look.shape(v) for v in node.inputs]
    first = shapes[0]
    if first is None or any(s is None or len(s) != len(first) for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    axis = node.attributes.get_int("axis", 1) % len(first)
    total: Size | None = 0
    for shape in known:
        total = None if total is None else dims.add(total, shape[axis])
    rest = [_joined_equal([s[i] for s in known]) for i in range(len(first))]
    return [tuple(total if i == axis else d for i, d in enumerate(rest))]


def _joined_equal(column: Sequence[Size]) -> Size:
    """One of sizes that are equal in every run: a number if one is told."""
    return next((s for s in column if isinstance(s, int)), column[0])


def slice_parts(node: ir.Node, look: Look) -> tuple[Told, Told, tuple[int, ...], Told] | None:
    """Starts, ends, axes and steps of a Slice; elements are None where not told."""
    shape = look.shape(node.inputs[0])
    if "starts" in node.attributes:
        starts: Told | None = tuple(node.attributes["starts"].as_ints())
        ends: Told | None = tuple(node.attributes["ends"].as_ints())
        steps: Told | None = None
        axes: tuple[int, ...] | None = tuple(node.attributes.get_ints("axes", ()))
    else:
        starts, ends = look.elements(input_at(node, 1)), look.elements(input_at(node, 2))
        steps = look.elements(input_at(node, 4)) if given(node, 4) else None
        axes = ints(node, 3, "axes") if given(node, 3) else ()
        if given(node, 4) and steps is None:
            return None
    if shape is None or starts is None or ends is None or axes is None:
        return None
    axes = tuple(a % len(shape) for a in axes) or tuple(range(len(starts)))
    if not len(starts) == len(ends) == len(axes):
        return None
    return starts, ends, axes, steps if steps is not None else (1,) * len(starts)


def _slice(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    parts, shape = slice_parts(node, look), look.shape(node.inputs[0])
    if shape is None:
        return None
    if parts is None:
        return None
    sizes: list[Size | None] = list(shape)
    for start, end, axis, step in zip(*parts, strict=True):
        sizes[axis] = _sliced(start, end, step, shape[axis])
    return [tuple(sizes)]


def _sliced(start: Size | None, end: Size | None, step: Size | None, size: Size) -> Size | None:
    if isinstance(size, int) and all(isinstance(i, int) for i in (start, end, step)):
        return len(range(*slice(start, end, step).indices(size))) if step else None
    if start != 0 or step != 1 or end is None:
        return None
    if end == size or (isinstance(end, int) and end >= FAR):
        return size
    # The beginning of a table of positions: as long as the sequence.
    return dims.limited(end, size) if isinstance(size, int) and size > 1 and _is_size(end) else None


def _is_size(end: Size) -> bool:
    return dims.at_least(end, 0) and dims.integral(end)


def _split(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    axis, count = node.attributes.get_int("axis", 0) % len(shape), len(node.outputs)
    sizes: Sequence[Size | None] | None = look.elements(input_at(node, 1))
    if "split" in node.attributes:
        sizes = tuple(node.attributes["split"].as_ints())
    elif not given(node, 1):
        whole = shape[axis]
        even = isinstance(whole, int) and whole % count == 0
        sizes = [whole // count if even and isinstance(whole, int) else None] * count
    if sizes is None or len(sizes) != count:
        return None
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _gather(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    data, indices = (look.shape(v) for v in node.inputs[:2])
    if data is None or indices is None or not data:
        return None
    axis = node.attributes.get_int("axis", 0) % len(data)
    return [(*data[:axis], *indices, *data[axis + 1 :])]


def _expand(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    return [broadcast([look.shape(node.inputs[0]), look.elements(node.inputs[1])])]


def _filled(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    return [look.elements(node.inputs[0])]


def _shape_of(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    return [(len(shape[slice(start, end)]),)]


def _range(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    start, limit, step = (look.elements(v) for v in node.inputs[:3])
    if step != (1,) or start is None or limit is None or start[0] is None or limit[0] is None:
        return None
    count = dims.subtract(limit[0], start[0])
    if count is None or not dims.integral(count) or not dims.at_least(count, 0):
        return None
    return [(count,)]


def _reduce(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None:
        return None
    axes = axes_of(node, len(shape))
    if not axes:
        if given(node, 1) or flag(node, "noop_with_empty_axes"):
            return None
        axes = tuple(range(len(shape)))
    keep = flag(node, "keepdims", 1)
    return [tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)]


def _conv(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    data, weight = (look.shape(v) for v in node.inputs[:2])
    if data is None or weight is None or len(data) != len(weight):
        return None
    return [(data[0], weight[0], *_windows(node, data[2:], weight[2:]))]


def _pool(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    data = look.shape(node.inputs[0])
    if data is None:
        return None
    sizes = _windows(node, data[2:], tuple(node.attributes.get_ints("kernel_shape", ())))
    return [(*data[:2], *sizes)] * len(node.outputs)


def _windows(node: ir.Node, data: Told, kernel: Told) -> Sequence[Size | None]:
    """Spatial sizes behind sliding windows: floor((size + pads - reach) / stride) + 1."""
    count, mode = len(data), node.attributes.get_string("auto_pad", "NOTSET")
    strides = node.attributes.get_ints("strides", (1,) * count)
    if mode.startswith("SAME"):
        return [_ceil_over(d, s) for d, s in zip(data, strides, strict=True)]
    if len(kernel) != count or flag(node, "ceil_mode"):
        return (None,) * count
    pads = node.attributes.get_ints("pads", (0,) * 2 * count)
    pads = pads if mode == "NOTSET" else (0,) * 2 * count
    holes = node.attributes.get_ints("dilations", (1,) * count)
    sizes: list[Size | None] = []
    for i, (size, taps) in enumerate(zip(data, kernel, strict=True)):
        if not isinstance(taps, int) or size is None:
            sizes.append(None)
            continue
        slack = pads[i] + pads[i + count] - (taps - 1) * holes[i] - 1 + strides[i]
        sizes.append(_floor_over(dims.add(size, slack), strides[i]))
    return sizes


def _floor_over(size: Size | None, by: int) -> Size | None:
    over = None if size is None else dims.quotient(size, by)
    return None if over is None else dims.floor(over)


def _ceil_over(size: Size | None, by: int) -> Size | None:
    return _floor_over(None if size is None else dims.add(size, by - 1), by)


def _global_pool(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    data = look.shape(node.inputs[0])
    return None if data is None else [(*data[:2], *(1,) * (len(data) - 2))]


def _resize(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    data = look.shape(node.inputs[0])
    if data is None or "axes" in node.attributes:
        return None
    if given(node, 3) and node.attributes.get_string("keep_aspect_ratio_policy", "stretch") == (
        "stretch"
    ):
        return [look.elements(node.inputs[3])]
    scales = look.elements(input_at(node, 2 if look.opset > 10 else 1))
    if scales is None or len(scales) != len(data):
        return None
    products = [
        None if s is None else dims.multiply(d, s) for d, s in zip(data, scales, strict=True)
    ]
    return [tuple(None if p is None else dims.floor(p) for p in products)]


def _recurrent(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    """[steps, directions, batch, hidden], then states [directions, batch, hidden]."""
    data, weight = look.shape(node.inputs[0]), look.shape(input_at(node, 2))
    if data is None or weight is None or len(data) != 3 or flag(node, "layout"):
        return None
    state = (weight[0], data[1], weight[2])
    return [(data[0], *state), state, state]


def _arg(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    if shape is None or not shape:
        return None
    axis, keep = (
        node.attributes.get_int("axis", 0) % len(shape),
        flag(node, "keepdims", 1),
    )
    return [tuple(1 if i == axis else d for i, d in enumerate(shape) if keep or i != axis)]


def _pad(node: ir.Node, look: Look) -> Sequence[Told | None] | None:
    shape = look.shape(node.inputs[0])
    amounts: Told | None = ints(node, 1, "pads") or look.elements(input_at(node, 1))
    if shape is None or amounts is None:
        return None
    axes = tuple(range(len(shape)))
    if given(node, 3):
        found = ints(node, 3, "axes")
        axes = () if found is None else tuple(a % len(shape) for a in found)
    if len(amounts) != 2 * len(axes):
        return None
    sizes: list[Size | None] = list(shape)
    for axis, begin, end in zip(axes, amounts, amounts[len(axes) :], strict=False):
        both = None if begin is None or end is None else dims.add(begin, end)
        sizes[axis] = None if both is None else dims.add(shape[axis], both)
    return [tuple(sizes)]


_SAME_SHAPE = (
    "Abs", "Acos", "Asin", "Atan", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "DequantizeLinear", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "IsInf", "IsNaN",
    "LRN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish",
    "Neg", "Not", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu",
    "Trilu", "CumSum", "ScatterElements", "ScatterND", "GroupNormalization",
)  # fmt: skip
_ELEMENTWISE = (
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Mod", "And", "Or", "Xor",
    "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Where", "BitShift",
)  # fmt: skip
_REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare",
)  # fmt: skip

SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME_SHAPE, _same),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), _pool),
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Conv": _conv,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "PRelu": _same,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape_of,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator -> rule."""
