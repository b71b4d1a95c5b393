"""One small model for every operator rule and variant, and what the CPU target makes of it.

``x`` is put into integers by a first convolution wherever the op in question is only carried along,
and a last layer reads its result in integers.
"""

from dataclasses import dataclass, field

import graphs
import numpy as np

from edgeq.passes.fold_gemm import fold_gemm
from edgeq.quantization.plan import NodeForm

F32 = np.float32


@dataclass(frozen=True, eq=False)
class Case:
    """A model around one op.

    Attributes:
        name: Of the case.
        op: Operator type of the node called ``op``.
        text: The graph.
        constants: Its initializers.
        kernel: The operator that onnxruntime runs for it when it is in integers.
        costly: Whether the recipe has to ask for the integer form.
        left_over: Q and DQ nodes that run as such.
        feed: Values of inputs that are not float.
        floor: dB that the quantized model reaches at least.
        reason: A part of the reason why the node stays float; None when it runs in integers.
        opset: Of the model.
    """

    name: str
    op: str
    text: str
    constants: dict = field(default_factory=dict)
    kernel: str = ""
    costly: bool = False
    left_over: int = 2
    feed: dict = field(default_factory=dict)
    floor: float = 25.0
    reason: str | None = None
    opset: int = 17

    @property
    def form(self):
        """How the node runs."""
        if self.reason is not None:
            return NodeForm.FLOAT
        if self.kernel.startswith("Dynamic"):
            return NodeForm.DYNAMIC
        return NodeForm.STATIC if self.kernel else NodeForm.ABSORBED

    def __str__(self):
        return self.name

    def model(self):
        model = graphs.build(self.text, self.opset, **self.constants)
        fold_gemm(model)
        return model

    def samples(self, model, count=8):
        return graphs.feeds(model, count, seed=5, **self.feed)


def layer(name, op, text, shapes, kernel="QLinearConv", **more):
    """A compute op that reads ``x`` and writes ``z``; constants get ``shapes``."""
    constants = {
        key: graphs.numbers(i, *shape, scale=0.3) for i, (key, shape) in enumerate(shapes.items())
    }
    return Case(name, op, text, constants, kernel, **more)


CONVS = (
    layer(
        "conv 1d",
        "Conv",
        "n (float[2,3,16] x) => (float[2,4,14] z) { [op] z = Conv(x, w, b) }",
        {"w": (4, 3, 3), "b": (4,)},
    ),
    layer(
        "conv 2d without bias",
        "Conv",
        "n (float[1,3,8,8] x) => (float[1,4,6,6] z) { [op] z = Conv(x, w) }",
        {"w": (4, 3, 3, 3)},
    ),
    layer(
        "conv 2d padded, strided, dilated",
        "Conv",
        "n (float[1,3,9,9] x) => (float[1,4,5,5] z)"
        "{ [op] z = Conv<pads=[2,2,2,2], strides=[2,2], dilations=[2,2]>(x, w, b) }",
        {"w": (4, 3, 3, 3), "b": (4,)},
    ),
    layer(
        "conv 2d same upper",
        "Conv",
        'n (float[1,3,8,8] x) => (float[1,4,8,8] z) { [op] z = Conv<auto_pad="SAME_UPPER">(x, w) }',
        {"w": (4, 3, 3, 3)},
    ),
    layer(
        "conv 3d",
        "Conv",
        "n (float[1,2,5,5,5] x) => (float[1,4,3,3,3] z) { [op] z = Conv(x, w, b) }",
        {"w": (4, 2, 3, 3, 3), "b": (4,)},
    ),
    layer(
        "conv grouped",
        "Conv",
        "n (float[1,4,6,6] x) => (float[1,6,4,4] z) { [op] z = Conv<group=2>(x, w, b) }",
        {"w": (6, 2, 3, 3), "b": (6,)},
    ),
    layer(
        "conv depthwise",
        "Conv",
        "n (float[1,8,6,6] x) => (float[1,8,4,4] z) { [op] z = Conv<group=8>(x, w, b) }",
        {"w": (8, 1, 3, 3), "b": (8,)},
    ),
    layer(
        "conv transpose grouped",
        "ConvTranspose",
        "n (float[1,4,6,6] x) => (float[1,6,8,8] z) { [op] z = ConvTranspose<group=2>(x, w, b) }",
        {"w": (4, 3, 3, 3), "b": (6,)},
        reason="no integer kernel for ConvTranspose",
    ),
)

STEM = "[stem] y = Conv(x, w0)"
HEAD = "n (float[1,3,8,8] x) => (float[{out}] z) {{"
FIRST = {"w0": graphs.numbers(40, 4, 3, 1, 1, scale=0.5)}


def carried(name, op, lines, out, tail=None, kernel=None, text=None, **more):
    """An op between a stem and a tail that run in integers.

    Args:
        name: Of the case.
        op: Operator type.
        lines: Computes ``u`` from ``y`` [1, 4, 8, 8].
        out: Shape of the output ``z``.
        tail: Shape of the weight of the last layer: rank 4 and 3 a Conv, rank 2 a MatMul.
        kernel: What runs; the op itself when None.
        text: The first line, where the model has further inputs.
        more: Further fields of the case.
    """
    ends = "z = MatMul(u, w9)" if len(tail) == 2 else "z = Conv(u, w9)"
    graph = f"{(text or HEAD).format(out=out)} {STEM} {lines} [tail] {ends} }}"
    constants = {**FIRST, "w9": graphs.numbers(49, *tail, scale=0.5), **more.pop("constants", {})}
    if len(tail) == 2:
        more.setdefault("left_over", 1)
    return Case(name, op, graph, constants, op if kernel is None else kernel, **more)


def ints(*values):
    return np.array(values, np.int64)


PW = (4, 4, 1, 1)
POINTWISE = (
    carried(
        "add",
        "Add",
        "[o] o = Conv(x, w5) [op] u = Add(y, o)",
        "1,4,8,8",
        PW,
        "QLinearAdd",
        constants={"w5": graphs.numbers(41, 4, 3, 1, 1)},
    ),
    carried(
        "add a constant",
        "Add",
        "[op] u = Add(y, k)",
        "1,4,8,8",
        PW,
        "QLinearAdd",
        constants={"k": graphs.numbers(42, 1, 4, 1, 1)},
    ),
    carried("add a value to itself", "Add", "[op] u = Add(y, y)", "1,4,8,8", PW, "QLinearAdd"),
    carried(
        "mul",
        "Mul",
        "[op] u = Mul(y, k)",
        "1,4,8,8",
        PW,
        "QLinearMul",
        costly=True,
        constants={"k": graphs.numbers(43, 1, 4, 1, 1)},
    ),
    carried(
        "concat",
        "Concat",
        "[o] o = Conv(x, w5) [op] u = Concat<axis=1>(y, o)",
        "1,4,8,8",
        (4, 8, 1, 1),
        "QLinearConcat",
        constants={"w5": graphs.numbers(44, 4, 3, 1, 1)},
    ),
    carried(
        "average pool",
        "AveragePool",
        "[op] u = AveragePool<kernel_shape=[2,2]>(y)",
        "1,4,7,7",
        PW,
        "QLinearAveragePool",
    ),
    carried(
        "average pool padded",
        "AveragePool",
        "[op] u = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(y)",
        "1,4,8,8",
        PW,
        "QLinearAveragePool",
    ),
    carried(
        "average pool padded, counted",
        "AveragePool",
        "[op] u = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(y)",
        "1,4,8,8",
        PW,
        "QLinearAveragePool",
    ),
    carried(
        "average pool, rounded up",
        "AveragePool",
        "[op] u = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(y)",
        "1,4,4,4",
        PW,
        "QLinearAveragePool",
    ),
    carried(
        "average pool 1d",
        "AveragePool",
        "[m] m = Reshape(y, r)[op] u = AveragePool<kernel_shape=[2]>(m)",
        "1,4,63",
        (4, 4, 1),
        "QLinearAveragePool",
        constants={"r": ints(1, 4, 64)},
    ),
    carried(
        "global average pool",
        "GlobalAveragePool",
        "[op] u = GlobalAveragePool(y)",
        "1,4,1,1",
        PW,
        "QLinearGlobalAveragePool",
    ),
    carried(
        "leaky relu",
        "LeakyRelu",
        "[op] u = LeakyRelu<alpha=0.1>(y)",
        "1,4,8,8",
        PW,
        "QLinearLeakyRelu",
    ),
    carried(
        "hardsigmoid",
        "HardSigmoid",
        "[op] u = HardSigmoid<alpha=0.3>(y)",
        "1,4,8,8",
        PW,
        "QLinearAdd",
        costly=True,
    ),
    carried(
        "sigmoid", "Sigmoid", "[op] u = Sigmoid(y)", "1,4,8,8", PW, "QLinearSigmoid", costly=True
    ),
    carried(
        "softmax",
        "Softmax",
        "[op] u = Softmax<axis=-1>(y)",
        "1,4,8,8",
        PW,
        "QLinearSoftmax",
        costly=True,
    ),
    carried(
        "where",
        "Where",
        "[op] u = Where(c, y, k)",
        "1,4,8,8",
        PW,
        "QLinearWhere",
        costly=True,
        text="n (float[1,3,8,8] x, bool[1,1,8,8] c) => (float[{out}] z) {{",
        feed={"c": np.arange(64).reshape(1, 1, 8, 8) % 3 == 0},
        constants={"k": graphs.numbers(45, 1, 4, 1, 1)},
    ),
)

ACTIVATIONS = (
    carried("relu", "Relu", "[op] u = Relu(y)", "1,4,8,8", PW, ""),
    carried(
        "clip to 0..6",
        "Clip",
        "[op] u = Clip(y, lo, hi)",
        "1,4,8,8",
        PW,
        "",
        constants={"lo": F32(0), "hi": F32(6)},
    ),
    carried(
        "clip to -1..1",
        "Clip",
        "[op] u = Clip(y, lo, hi)",
        "1,4,8,8",
        PW,
        "",
        constants={"lo": F32(-1), "hi": F32(1)},
    ),
    carried(
        "clip from above",
        "Clip",
        "[op] u = Clip(y, , hi)",
        "1,4,8,8",
        PW,
        "",
        constants={"hi": F32(0.5)},
    ),
    carried(
        "clip to 1..6",
        "Clip",
        "[op] u = Clip(y, lo, hi)",
        "1,4,8,8",
        PW,
        "Clip",
        constants={"lo": F32(1), "hi": F32(6)},
        left_over=4,
        reason="neighbours are float",
    ),
)

MOVES = (
    carried(
        "max pool",
        "MaxPool",
        "[op] u = MaxPool<kernel_shape=[2,2]>(y)",
        "1,4,7,7",
        PW,
        "NhwcMaxPool",
    ),
    carried(
        "max pool padded",
        "MaxPool",
        "[op] u = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(y)",
        "1,4,4,4",
        PW,
        "NhwcMaxPool",
    ),
    carried(
        "max pool 1d",
        "MaxPool",
        "[m] m = Reshape(y, r)[op] u = MaxPool<kernel_shape=[2]>(m)",
        "1,4,63",
        (4, 4, 1),
        constants={"r": ints(1, 4, 64)},
    ),
    carried(
        "max pool with indices",
        "MaxPool",
        "[op] u, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(y)",
        "1,4,4,4",
        PW,
        text="n (float[1,3,8,8] x) => (float[1,4,4,4] z, int64[1,4,4,4] i) {{",
        floor=0.0,
        left_over=4,
        reason="indices",
    ),
    carried(
        "expand",
        "Expand",
        "[op] u = Expand(y, s)",
        "2,4,8,8",
        PW,
        constants={"s": ints(2, 4, 8, 8)},
    ),
    carried("flatten", "Flatten", "[op] u = Flatten(y)", "1,3", (256, 3)),
    carried(
        "gather",
        "Gather",
        "[op] u = Gather<axis=2>(y, s)",
        "1,4,3,8",
        PW,
        constants={"s": ints(5, 0, 3)},
    ),
    carried(
        "gather elements",
        "GatherElements",
        "[op] u = GatherElements<axis=3>(y, s)",
        "1,4,8,2",
        PW,
        constants={"s": np.arange(64).reshape(1, 4, 8, 2) % 8},
    ),
    carried(
        "reshape",
        "Reshape",
        "[op] u = Reshape(y, s)",
        "1,4,4,16",
        PW,
        constants={"s": ints(1, 4, 4, 16)},
    ),
    carried(
        "resize nearest",
        "Resize",
        '[op] u = Resize<mode="nearest">(y, , s)',
        "1,4,16,16",
        PW,
        constants={"s": np.array([1, 1, 2, 2], F32)},
    ),
    carried(
        "resize linear",
        "Resize",
        '[op] u = Resize<mode="linear">(y, , s)',
        "1,4,16,16",
        PW,
        constants={"s": np.array([1, 1, 2, 2], F32)},
        left_over=4,
        reason="mode",
    ),
    carried(
        "resize cubic",
        "Resize",
        '[op] u = Resize<mode="cubic">(y, , s)',
        "1,4,16,16",
        PW,
        constants={"s": np.array([1, 1, 2, 2], F32)},
        left_over=4,
        reason="mode",
    ),
    carried(
        "slice",
        "Slice",
        "[op] u = Slice(y, s, e, a)",
        "1,4,5,8",
        PW,
        constants={"s": ints(2), "e": ints(7), "a": ints(2)},
    ),
    carried(
        "split",
        "Split",
        "[op] u, v = Split<axis=1>(y, s) [other] t = Conv(v, w5)",
        "1,4,8,8, float[1,2,8,8] t",
        (4, 1, 1, 1),
        text="n (float[1,3,8,8] x) => (float[1,4,8,8] z, float[1,2,8,8] t) {{",
        left_over=3,
        constants={"s": ints(1, 3), "w5": graphs.numbers(46, 2, 3, 1, 1)},
    ),
    carried(
        "squeeze",
        "Squeeze",
        "[m] m = Reshape(y, r) [op] u = Squeeze(m, s)",
        "1,4,62",
        (4, 4, 3),
        constants={"r": ints(1, 4, 64, 1), "s": ints(3)},
    ),
    carried(
        "tile", "Tile", "[op] u = Tile(y, s)", "1,4,16,8", PW, constants={"s": ints(1, 1, 2, 1)}
    ),
    carried(
        "transpose", "Transpose", "[op] u = Transpose<perm=[0,2,1,3]>(y)", "1,4,4,8", (4, 8, 1, 1)
    ),
    carried(
        "unsqueeze",
        "Unsqueeze",
        "[m] m = Reshape(y, r) [op] u = Unsqueeze(m, s)",
        "1,4,256,1",
        (4, 1, 1, 1),
        constants={"r": ints(1, 256, 1), "s": ints(1)},
    ),
    carried(
        "depth to space",
        "DepthToSpace",
        "[op] u = DepthToSpace<blocksize=2>(y)",
        "1,4,16,16",
        (4, 1, 1, 1),
    ),
    carried(
        "space to depth",
        "SpaceToDepth",
        "[op] u = SpaceToDepth<blocksize=2>(y)",
        "1,4,4,4",
        (4, 16, 1, 1),
        left_over=4,
        reason="no integer kernel",
    ),
)
ARGMAX = Case(
    "arg max", "ArgMax",
    f"n (float[1,3,8,8] x) => (int64[1,1,8,8] i) {{ {STEM} [op] i = ArgMax<axis=1>(y) }}",
    FIRST, "ArgMax", left_over=1, floor=5.0,
)  # fmt: skip


def gemm(name, lines, shapes, out="5,4", data="5,6", **more):
    """A Gemm that reads ``x`` in float: the target quantizes it while it runs."""
    text = f"n (float[{data}] x) => (float[{out}] z) {{ {lines} }}"
    return layer(name, "Gemm", text, shapes, "DynamicQuantizeMatMul", left_over=0, **more)


GEMMS = (
    gemm("gemm", "[op] z = Gemm(x, w, b)", {"w": (6, 4), "b": (4,)}),
    gemm("gemm without bias", "[op] z = Gemm(x, w)", {"w": (6, 4)}),
    gemm("gemm transB", "[op] z = Gemm<transB=1>(x, w, b)", {"w": (4, 6), "b": (4,)}),
    gemm("gemm transA", "[op] z = Gemm<transA=1>(x, w, b)", {"w": (6, 4), "b": (4,)}, data="6,5"),
    gemm(
        "gemm transA transB", "[op] z = Gemm<transA=1, transB=1>(x, w)", {"w": (4, 6)}, data="6,5"
    ),
)
GEMM_VARIANTS = (
    gemm(
        "gemm alpha beta", "[op] z = Gemm<alpha=0.5, beta=2.0>(x, w, b)", {"w": (6, 4), "b": (4,)}
    ),
    gemm("gemm bias [1, N]", "[op] z = Gemm(x, w, b)", {"w": (6, 4), "b": (1, 4)}),
    gemm("gemm bias [1]", "[op] z = Gemm(x, w, b)", {"w": (6, 4), "b": (1,)}),
    gemm("gemm scalar bias", "[op] z = Gemm(x, w, b)", {"w": (6, 4), "b": ()}),
)


def product(name, text, shapes, kernel="DynamicQuantizeMatMul", **more):
    more.setdefault("left_over", 0)
    return layer(name, "MatMul", text, shapes, kernel, **more)


PRODUCTS = (
    product(
        "matmul", "n (float[5,6] x) => (float[5,4] z) { [op] z = MatMul(x, w) }", {"w": (6, 4)}
    ),
    product(
        "matmul batched",
        "n (float[2,5,6] x) => (float[2,5,4] z) { [op] z = MatMul(x, w) }",
        {"w": (6, 4)},
    ),
    product(
        "matmul vector by matrix",
        "n (float[6] x) => (float[4] z) { [op] z = MatMul(x, w) }",
        {"w": (6, 4)},
    ),
    product(
        "matmul stacked B",
        "n (float[2,5,6] x) => (float[2,5,4] z) { [op] z = MatMul(x, w) }",
        {"w": (2, 6, 4)},
    ),
    product(
        "matmul of integers, stacked B",
        "n (float[1,3,8,8] x) => (float[1,4,8,4] z) { [stem] y = Conv(x, w0)"
        " [op] z = MatMul(y, w) }",
        {"w": (1, 4, 8, 4), "w0": (4, 3, 1, 1)},
        "MatMulIntegerToFloat",
        left_over=1,
    ),
    product(
        "matmul matrix by vector",
        "n (float[5,6] x) => (float[5] z) { [op] z = MatMul(x, w) }",
        {"w": (6,)},
        reason="dimensions",
    ),
    product(
        "matmul computed B",
        "n (float[5,6] x, float[6,4] w) => (float[5,4] z) { [op] z = MatMul(x, w) }",
        {},
        "MatMulIntegerToFloat",
        costly=True,
        left_over=2,
    ),
    product(
        "matmul of integers, float out",
        "n (float[1,3,8,8] x) => (float[1,4,8,4] z) { [stem] y = Conv(x, w0)"
        " [op] z = MatMul(y, w) }",
        {"w": (8, 4), "w0": (4, 3, 1, 1)},
        "MatMulIntegerToFloat",
        left_over=1,
    ),
    product(
        "matmul of integers, integers out",
        "n (float[1,3,8,8] x) => (float[1,2,8,4] z) { [stem] y = Conv(x, w0)"
        " [op] u = MatMul(y, w) [tail] z = Conv(u, w9) }",
        {"w": (8, 4), "w0": (4, 3, 1, 1), "w9": (2, 4, 1, 1)},
        "QLinearMatMul",
        left_over=2,
    ),
    layer(
        "gemm of integers",
        "Gemm",
        "n (float[1,3,8,8] x) => (float[1,4] z) { [stem] y = Conv(x, w0) [f] f = Flatten(y)"
        " [op] z = Gemm<transB=1>(f, w, b) }",
        {"w": (4, 256), "b": (4,), "w0": (4, 3, 1, 1)},
        "QGemm",
        left_over=1,
    ),
)


def lstm(name, lines, shapes, inputs="", directions=1, **more):
    text = (
        f"n (float[7,2,5] x{inputs}) => (float[7,{directions},2,6] z, float[{directions},2,6] h)"
        f" {{ {lines} }}"
    )
    return layer(name, "LSTM", text, shapes, "DynamicQuantizeLSTM", left_over=0, **more)


LSTMS = (
    lstm(
        "lstm without bias",
        "[op] z, h, c = LSTM<hidden_size=6>(x, w, r)",
        {"w": (1, 24, 5), "r": (1, 24, 6)},
    ),
    lstm(
        "lstm with bias",
        "[op] z, h, c = LSTM<hidden_size=6>(x, w, r, b)",
        {"w": (1, 24, 5), "r": (1, 24, 6), "b": (1, 48)},
    ),
    lstm(
        "lstm with states",
        "[op] z, h, c = LSTM<hidden_size=6>(x, w, r, b, , h0, c0)",
        {"w": (1, 24, 5), "r": (1, 24, 6), "b": (1, 48)},
        ", float[1,2,6] h0, float[1,2,6] c0",
    ),
    lstm(
        "lstm bidirectional",
        '[op] z, h, c = LSTM<hidden_size=6, direction="bidirectional">(x, w, r, b)',
        {"w": (2, 24, 5), "r": (2, 24, 6), "b": (2, 48)},
        directions=2,
    ),
    lstm(
        "lstm with lengths",
        "[op] z, h, c = LSTM<hidden_size=6>(x, w, r, b, n)",
        {"w": (1, 24, 5), "r": (1, 24, 6), "b": (1, 48)},
        ", int32[2] n",
        feed={"n": np.array([7, 4], np.int32)},
    ),
    lstm(
        "lstm with peepholes",
        "[op] z, h, c = LSTM<hidden_size=6>(x, w, r, b, , , , p)",
        {"w": (1, 24, 5), "r": (1, 24, 6), "b": (1, 48), "p": (1, 18)},
        reason="peepholes",
    ),
)


def elsewhere(op, line, out="1,4,8,8", **more):
    """An op that other targets run in integers, and the CPU target does not."""
    return carried(op.lower(), op, line, out, PW, left_over=4, reason="no integer kernel", **more)


ELSEWHERE = (
    *(
        elsewhere(op, f"[op] u = {op}(y)")
        for op in ("Abs", "Elu", "Exp", "HardSwish", "Neg", "Tanh")
    ),
    elsewhere("Gelu", "[op] u = Gelu(y)", opset=20),
    elsewhere("Sqrt", "[a] a = Abs(y) [op] u = Sqrt(a)"),
    elsewhere("GlobalMaxPool", "[op] u = GlobalMaxPool(y)", "1,4,1,1"),
    *(elsewhere(op, f"[s] s = Sigmoid(y) [op] u = {op}(y, s)") for op in ("Div", "Max", "Min")),
    elsewhere(
        "Sub",
        "[o] y2 = Conv(x, w5) [op] u = Sub(y, y2)",
        constants={"w5": graphs.numbers(47, 4, 3, 1, 1)},
    ),
    elsewhere("PRelu", "[op] u = PRelu(y, k)", constants={"k": graphs.numbers(48, 4, 1, 1)}),
    elsewhere(
        "Pad", "[op] u = Pad(y, p)", "1,4,10,10", constants={"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    ),
    *(
        elsewhere(op, f"[op] u = {op}<axes=[2,3]>(y)", "1,4,1,1")
        for op in ("ReduceMax", "ReduceMean", "ReduceMin")
    ),
)

CASES = (
    *ELSEWHERE,
    *CONVS, *POINTWISE, *ACTIVATIONS, *MOVES, ARGMAX, *GEMMS, *GEMM_VARIANTS, *PRODUCTS, *LSTMS
)  # fmt: skip
