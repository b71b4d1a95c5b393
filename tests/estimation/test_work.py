"""What a run computes and moves: counted by hand for small graphs."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.estimation.work import work_of
from edgeq.targets import target_named

SCALE, ZERO = np.array(0.05, np.float32), np.array(128, np.uint8)
WEIGHTS = {
    "w": np.ones((4, 3, 1, 1), np.int8),
    "ws": np.full(4, 0.1, np.float32),
    "wz": np.zeros(4, np.int8),
}
PAIRS = """n (float[1,3,8,8] x) => (float[1,4,8,8] y) {
    [in] q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    wd = DequantizeLinear<axis=0>(w, ws, wz)
    [conv] c = Conv(d, wd)
    r = Relu(c)
    [mid] p = QuantizeLinear(r, s, z)
    [out] y = DequantizeLinear(p, s, z)
}"""


def counted(text, seen=None, target="cpu", **constants):
    model = graphs.build(text, **constants)
    return work_of(model, seen or {}, target_named(target))


def rows(work):
    """Step -> operator, precision, bytes of activations read, of constants, bytes written."""
    return {
        step.name: (
            step.op_type,
            step.precision,
            sum(work.sizes[name] for name in step.reads),
            step.constant_bytes,
            sum(work.sizes[name] for name in step.writes),
        )
        for step in work.steps
    }


def test_a_float_layer_and_its_activation_function_are_one_step():
    work = counted(
        """n (float[1,3,8,8] x) => (float[1,4,8,8] y)
        { [conv] c = Conv(x, w, b) [relu] y = Relu(c) }""",
        w=graphs.numbers(0, 4, 3, 1, 1),
        b=graphs.numbers(1, 4),
    )
    assert rows(work) == {"conv": ("Conv", "float32", 768, 4 * 12 + 4 * 4, 1024)}
    assert work.steps[0].macs == 8 * 8 * 4 * 3
    assert work.constant_bytes == 64


def test_pairs_run_with_the_layer_between_them():
    work = counted(PAIRS, s=SCALE, z=ZERO, **WEIGHTS)
    assert rows(work) == {
        "in": ("QuantizeLinear", "", 768, 5, 192),
        "conv": ("Conv", "int8", 192, 12 + 16 + 4 + 5, 256),
        "out": ("DequantizeLinear", "", 256, 5, 1024),
    }
    assert work.inputs == ("x",)
    assert work.outputs == ("y",)


def test_a_value_that_float_nodes_read_too_is_no_part_of_a_pair():
    text = PAIRS.replace("float[1,4,8,8] y)", "float[1,4,8,8] y, float[1,4,8,8] t)").replace(
        "[mid]", "[tanh] t = Tanh(r) [mid]"
    )
    found = rows(counted(text, s=SCALE, z=ZERO, **WEIGHTS))
    assert found["conv"][1:] == ("float32", 768, 12 + 16 + 4, 1024)
    assert found["mid"] == ("QuantizeLinear", "", 1024, 5, 256)


def test_where_the_target_has_no_kernel_the_pair_is_work():
    text = """n (float[1,8] x) => (float[1,8] y) {
        [q] q = QuantizeLinear(x, s, z) [d] d = DequantizeLinear(q, s, z)
        [tanh] t = Tanh(d) [p] p = QuantizeLinear(t, s, z) [e] y = DequantizeLinear(p, s, z) }"""
    found = rows(counted(text, s=SCALE, z=ZERO))
    assert list(found) == ["q", "d", "tanh", "p", "e"]
    assert found["tanh"] == ("Tanh", "", 32, 0, 32)


def test_weights_in_integers_alone_leave_the_arithmetic_float():
    text = """n (float[1,3,8,8] x) => (float[1,4,8,8] y)
        { wd = DequantizeLinear<axis=0>(w, ws, wz) [conv] y = Conv(x, wd) }"""
    assert rows(counted(text, **WEIGHTS)) == {"conv": ("Conv", "float32", 768, 32, 1024)}


def test_reshapes_move_nothing():
    text = """n (float[1,4,4] x) => (float[16] y)
        { [a] a = Tanh(x) [v] v = Flatten(a) [u] u = Squeeze(v) [b] y = Tanh(u) }"""
    work = counted(text)
    assert [step.name for step in work.steps] == ["a", "b"]
    assert work.steps[1].reads == work.steps[0].writes


def test_what_follows_from_constants_is_computed_once():
    text = """n (float[2,16] x) => (float[2,4] y)
        { [fold] v = Reshape(w, shape) [product] y = MatMul(x, v) }"""
    work = counted(text, w=graphs.numbers(0, 64), shape=np.array([16, 4]))
    assert rows(work) == {"product": ("MatMul", "float32", 128, 256, 32)}


def test_of_a_table_only_what_is_looked_up_is_read():
    text = "n (int64[3] i) => (float[3,8] y) { [look] y = Gather(t, i) }"
    work = counted(text, t=graphs.numbers(0, 1000, 8))
    assert rows(work) == {"look": ("Gather", "", 24, 96, 96)}
    assert work.constant_bytes == 32000


@pytest.mark.parametrize(("taken", "macs"), [("then", 64), ("else", 256)])
def test_only_the_branch_that_ran_counts(taken, macs):
    text = """n (float[1,16] x, bool c) => (float[1,a] y) { [if] y = If(c) <
        then_branch = t () => (float[1,4] ty) { [narrow] ty = MatMul(x, v) },
        else_branch = e () => (float[1,16] e2)
            { [wide] ey = MatMul(x, w) [tanh] e2 = Tanh(ey) }> }"""
    ran = {"ty": (1, 4), "ey": (0,), "e2": (0,), "y": (1, 4)}
    if taken == "else":
        ran = {"ty": (0,), "ey": (1, 16), "e2": (1, 16), "y": (1, 16)}
    work = counted(text, ran, v=graphs.numbers(0, 16, 4), w=graphs.numbers(1, 16, 16))
    assert sum(step.macs for step in work.steps) == macs
    (written,) = work.steps[-1].writes
    assert work.outputs == (written,)
    assert work.sizes[written] == 4 * ran["y"][1]


def test_bodies_of_loops_are_told_to_be_missing():
    text = """n (int64 m, float[1,16] x) => (float[1,16] y) { [loop] y = Loop(m, "", x) <
        body = b (int64 i, bool k, float[1,16] s) => (bool k2, float[1,16] s2)
        { k2 = Identity(k) s2 = MatMul(s, w) }> }"""
    work = counted(text.replace('""', ""), w=graphs.numbers(0, 16, 16))
    assert any("Loop and Scan" in note and "loop" in note for note in work.notes)


def test_products_in_blocks_are_counted():
    node = ir.Node(
        "com.microsoft",
        "MatMulNBits",
        [ir.Value(name="x", shape=ir.Shape([1, 3, 64]), type=ir.TensorType(ir.DataType.FLOAT))],
        [
            ir.AttrInt64("K", 64),
            ir.AttrInt64("N", 8),
            ir.AttrInt64("bits", 8),
            ir.AttrInt64("accuracy_level", 4),
        ],
        name="blocks",
    )
    node.outputs[0].name = "y"
    graph = ir.Graph(node.inputs, node.outputs, nodes=[node], opset_imports={"": 17}, name="g")
    work = work_of(ir.Model(graph, ir_version=8), {"y": (1, 3, 8)}, target_named("cpu"))
    (step,) = work.steps
    assert (step.macs, step.precision) == (3 * 8 * 64, "int8")


def test_what_is_not_known_is_told():
    text = "n (float[1,16] x) => (float[a,b] y) { i = Abs(x) n = NonZero(i) y = Cast<to=1>(n) }"
    work = counted(text)
    assert any("not known" in note for note in work.notes)
