"""Variants equal the model they were made of, and look like what they imitate."""

import onnx_ir as ir
import pytest
from models import build, numbers
from undo import VARIANTS, undo

from edgeq.graph import walk
from edgeq.graph.interface import Interface, require_same

NET = """
net (float[N, 3, 8, 8] image) => (float[N, 4] scores, float[N, 6, 4, 4] map) {{
    [stem] a = Conv <pads = [1, 1, 1, 1]> (image, w0)
    [clip] b = Clip (a, zero, six)
    [down] c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w1, b1)
    [gate] d = HardSigmoid <alpha = 0.2> (c)
    [gated] e = Mul (c, d)
    [pool] f = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (e)
    [up] g = Resize <mode = "nearest"> (f, nowhere, scales)
    [both] map = Concat <axis = 1> (g, d)
    [wide] h = Pad (map, pads)
    [part] i = Slice (h, start, end, axes)
    [squash] j = Sigmoid (i)
    [mean] k = GlobalAveragePool (j)
    [double] l = Add (k, k)
    [flat] m = Flatten (l)
    [product] n = MatMul (m, w2)
    [shift] o = Add (n, b2)
    [shape] p = Reshape (o, target)
    [head] scores = Gemm <transB = 1> (p, w3, b3)
}}
"""

NORMAL = """
net (float[N, 5, 8] x) => (float[N, 5, 8] y) {{
    [norm] a = LayerNormalization <axis = -1> (x, gain, shift)
    [gelu] b = Gelu (a)
    [swish] c = HardSwish (b)
    [tanh_gelu] d = Gelu <approximate = "tanh"> (c)
    [norm_again] e = LayerNormalization (d, gain, shift)
    [swish_again] f = HardSwish (e)
    [product] g = MatMul (f, w)
    [swish_last] y = HardSwish (g)
}}
"""


def net(opset):
    constants = {
        "zero": numbers(0, 1)[0] * 0,
        "six": numbers(0, 1)[0] * 0 + 6,
        "w0": numbers(1, 8, 3, 3, 3, scale=0.2),
        "w1": numbers(2, 3, 8, 3, 3, scale=0.2),
        "b1": numbers(3, 3),
        "nowhere": numbers(0, 0),
        "scales": numbers(0, 4) * 0 + [1, 1, 2, 2],
        "pads": numbers(0, 8) * 0 + [0, 0, 1, 1, 0, 0, 1, 1],
        "start": numbers(0, 2) * 0,
        "end": numbers(0, 2) * 0 + [5, 6],
        "axes": numbers(0, 2) * 0 + [2, 3],
        "w2": numbers(4, 6, 5),
        "b2": numbers(5, 5),
        "target": numbers(0, 2) * 0 + [0, 5],
        "w3": numbers(6, 4, 5),
        "b3": numbers(7, 4),
    }
    ints = ("pads", "start", "end", "axes", "target")
    kinds = {name: "int64" if name in ints else "float32" for name in constants}
    arrays = {name: array.astype(kinds[name]) for name, array in constants.items()}
    return ir.from_proto(build(NET, opset, **arrays))


def normal():
    parts = {"gain": numbers(0, 8), "shift": numbers(1, 8), "w": numbers(2, 8, 8)}
    return ir.from_proto(build(NORMAL, 20, **parts))


def pictures():
    return [{"image": numbers(i, 2, 3, 8, 8)} for i in range(2)]


def ops(model):
    return [node.op_type for node in walk.nodes(model)]


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_equal_the_model(name, opset):
    clean = net(opset)
    before = ops(clean)
    done = undo(clean, VARIANTS[name], pictures())
    assert done.failure is None
    assert done.places > 1
    assert ops(done.model) != before
    assert ops(clean) == ops(done.clean) == before
    require_same(Interface.of(clean), Interface.of(done.model))


@pytest.mark.parametrize("name", ["activations", "all"])
def test_normalizations_and_gelu(name):
    done = undo(normal(), VARIANTS[name], [{"x": numbers(0, 2, 5, 8)}])
    assert done.failure is None
    assert not {"LayerNormalization", "Gelu", "HardSwish"} & set(ops(done.model))


def test_layers_stand_between_transposes():
    model = undo(net(13), VARIANTS["nhwc"], pictures()).model
    for node in model.graph:
        if node.op_type in ("Conv", "MaxPool"):
            assert node.inputs[0].producer().op_type == "Transpose"
            assert {use.node.op_type for use in node.outputs[0].uses()} == {"Transpose"}
    concat = next(node for node in model.graph if node.op_type == "Concat")
    assert concat.attributes["axis"].as_int() == 3


def test_blocks_are_functions_and_branches():
    model = undo(net(13), VARIANTS["functions"], pictures()).model
    called = {node.op_type for node in model.graph if node.domain == "blocks"}
    assert called <= {function.name for function in model.functions.values()}
    assert len(model.functions) > len(called)
    assert "If" in ops(undo(net(13), VARIANTS["all"], pictures()).model)


def test_halves_equal_weights_that_are_rounded():
    done = undo(net(13), VARIANTS["half"], pictures())
    stored = done.model.graph.initializers["w0_half"].const_value
    assert stored.dtype == ir.DataType.FLOAT16
    kept = done.clean.graph.initializers["w0"].const_value.numpy()
    assert (stored.numpy().astype("float32") == kept).all()


def test_a_picture_is_normalized_in_front_of_the_padding():
    model = undo(net(13), VARIANTS["batch-norm"], pictures()).model
    first = next(iter(model.graph.inputs[0].uses())).node
    assert first.op_type == "Pad"
    assert "BatchNormalization" in ops(model)


def test_sizes_are_computed():
    model = undo(net(13), VARIANTS["shapes"], pictures()).model
    for node in model.graph:
        if node.op_type == "Slice":
            assert node.inputs[2].producer().op_type == "Concat"
    assert all(not any(n.attributes["pads"].as_ints()) for n in model.graph if n.op_type == "Conv")


def test_a_wrong_variant_is_told():
    def wrong(pen):
        for node in pen.nodes("Mul"):
            node.op_type = "Sub"
        return 1

    variant = type(VARIANTS["half"])((wrong,))
    assert "off by" in undo(net(13), variant, pictures()).failure
