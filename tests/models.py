"""Small ONNX models and samples for tests of any layer. All numbers are seeded."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

HEAD = '<ir_version: 8, opset_import: ["": {opset}]>\n'

CONV_NET = """
net (float[N, 3, 8, 8] image) => (float[N, 5] scores) {{
    [stem] stem = Conv <pads = [1, 1, 1, 1]> (image, w0)
    [stem_bn] normal = BatchNormalization (stem, gain, shift, mean, variance)
    [stem_relu] trunk = Relu (normal)
    [inner] inner = Conv <pads = [1, 1, 1, 1]> (trunk, w1, b1)
    [inner_relu] positive = Relu (inner)
    [residual] sum = Add (trunk, positive)
    [pool] pooled = GlobalAveragePool (sum)
    [flatten] flat = Flatten (pooled)
    [head] scores = Gemm (flat, w2, b2)
}}
"""

MLP = """
net (float[N, 16] x) => (float[N, 4] y) {{
    [first] a = MatMul (x, w0)
    [bias] b = Add (a, b0)
    [relu] c = Relu (b)
    [second] y = MatMul (c, w1)
}}
"""

BRANCHES = """
net (float[N, 16] x, bool wide) => (float[N, 4] y) {{
    [choose] y = If (wide) <
        then_branch = wide_branch () => (float[N, 4] wide_y) {{
            [wide_product] wide_y = MatMul (x, w0)
        }},
        else_branch = plain_branch () => (float[N, 4] plain_y) {{
            [plain_product] plain_z = MatMul (x, w1)
            [plain_relu] plain_y = Relu (plain_z)
        }}
    >
}}
"""

ELEMENTWISE = """
net (float[N, 16] x) => (float[N, 16] y) {{
    [relu] z = Relu (x)
    [double] y = Add (z, z)
}}
"""


def build(text: str, opset: int = 17, **constants: np.ndarray) -> onnx.ModelProto:
    """The graph in ``text`` with ``constants`` as its initializers; checked."""
    model = parser.parse_model(HEAD.format(opset=opset) + text.format())
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def numbers(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """float32 numbers from a normal distribution."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def conv_net(opset: int = 17) -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, a residual block, pooling and a classifier of 5 classes."""
    return build(
        CONV_NET,
        opset,
        w0=numbers(0, 8, 3, 3, 3, scale=0.3),
        gain=1 + numbers(1, 8, scale=0.1),
        shift=numbers(2, 8, scale=0.1),
        mean=numbers(3, 8, scale=0.1),
        variance=1 + np.abs(numbers(4, 8, scale=0.1)),
        w1=numbers(5, 8, 8, 3, 3, scale=0.2),
        b1=numbers(6, 8, scale=0.1),
        w2=numbers(7, 8, 5),
        b2=numbers(8, 5, scale=0.1),
    )


def mlp(opset: int = 17) -> onnx.ModelProto:
    """Two matrix products with a bias and a Relu between them."""
    return build(
        MLP, opset, w0=numbers(0, 16, 32, scale=0.3), b0=numbers(1, 32), w1=numbers(2, 32, 4)
    )


def branches(opset: int = 17) -> onnx.ModelProto:
    """An If whose branches both multiply; the input ``wide`` chooses."""
    return build(BRANCHES, opset, w0=numbers(0, 16, 4), w1=numbers(1, 16, 4))


def elementwise(opset: int = 17) -> onnx.ModelProto:
    """Nothing that would gain from integers."""
    return build(ELEMENTWISE, opset)


def images(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Samples for :func:`conv_net`."""
    return [{"image": numbers(seed + 100 + i, 1, 3, 8, 8)} for i in range(count)]


def rows(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Samples for :func:`mlp` and :func:`elementwise`."""
    return [{"x": numbers(seed + 100 + i, 1, 16)} for i in range(count)]


def branch_rows(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Samples for :func:`branches`, both branches in turn."""
    return [{**row, "wide": np.array(i % 2 == 0)} for i, row in enumerate(rows(count, seed))]


def with_external_data(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """A copy whose first initializer claims to be in the file ``location``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = copy.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return copy


def quantized(opset: int = 17) -> onnx.ModelProto:
    """A product behind a QDQ pair, as a quantizer leaves it."""
    text = """
    net (float[N, 16] x) => (float[N, 4] y) {{
        [q] q = QuantizeLinear (x, scale, zero)
        [dq] d = DequantizeLinear (q, scale, zero)
        [product] y = MatMul (d, w)
    }}
    """
    scale, zero = np.array(0.05, np.float32), np.array(128, np.uint8)
    return build(text, opset, scale=scale, zero=zero, w=numbers(0, 16, 4))


def save_stack(path, samples, **labels) -> None:
    """One .npz with the samples stacked on axis 0, and labels beside them."""
    names = samples[0] if samples else {}
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in names}
    np.savez(path, **arrays, **{f"label_{name}": array for name, array in labels.items()})


def identity(name: str = "x") -> onnx.ModelProto:
    """The smallest model there is."""
    port = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [1]) for each in (name, "y")]
    node = helper.make_node("Identity", [name], ["y"], name="same")
    graph = helper.make_graph([node], "net", port[:1], port[1:])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
