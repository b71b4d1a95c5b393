"""What is emitted for targets that do not run here: where pairs stand, and of which types."""

import graphs
import numpy as np
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED

from edgeq.graph import check
from edgeq.graph.walk import nodes
from edgeq.recipe import Recipe
from edgeq.runtime.session import Session
from edgeq.targets import TARGETS, target_named

TEXT = """n (float[1,3,8,8] x) => (float[1,5] z) {
  [stem] a = Conv<pads=[1,1,1,1]>(x, w, b)
  [relu] r = Relu(a)
  [wide] d = Conv<group=4>(r, wd)
  [swish] h = HardSwish(d)
  [point] e = Conv(h, wp)
  [add] s = Add(e, d)
  [relu2] q = Relu(s)
  [pool] p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q)
  [flat] f = Flatten(p)
  [head] z = Gemm(f, wf, bf)
}"""
CONSTANTS = {
    "w": graphs.numbers(1, 4, 3, 3, 3, scale=0.3),
    "b": graphs.numbers(2, 4),
    "wd": graphs.numbers(3, 4, 1, 3, 3, scale=0.3),
    "wp": graphs.numbers(4, 4, 4, 1, 1, scale=0.4),
    "wf": graphs.numbers(5, 36, 5, scale=0.3),
    "bf": graphs.numbers(6, 5),
}
EMULATED = [target for target in TARGETS if target.kernels and not target.executable_here]

GOLDEN = {
    "tensorrt": """
x_quantized = QuantizeLinear(x)
x_dequantized = DequantizeLinear(x_quantized)
wf_dequantized = DequantizeLinear(wf_quantized)
wp_dequantized = DequantizeLinear(wp_quantized)
wd_dequantized = DequantizeLinear(wd_quantized)
w_dequantized = DequantizeLinear(w_quantized)
a = Conv(x_dequantized, w_dequantized, b)
r = Relu(a)
r_quantized = QuantizeLinear(r)
r_dequantized = DequantizeLinear(r_quantized)
d = Conv(r_dequantized, wd_dequantized)
h = HardSwish(d)
h_quantized = QuantizeLinear(h)
h_dequantized = DequantizeLinear(h_quantized)
e = Conv(h_dequantized, wp_dequantized)
s = Add(e, d)
q = Relu(s)
p = MaxPool(q)
f = Flatten(p)
f_quantized = QuantizeLinear(f)
f_dequantized = DequantizeLinear(f_quantized)
z = Gemm(f_dequantized, wf_dequantized, bf)
""",
    "edge-generic": """
x_quantized = QuantizeLinear(x)
x_dequantized = DequantizeLinear(x_quantized)
bf_dequantized = DequantizeLinear(bf_quantized)
b_dequantized = DequantizeLinear(b_quantized)
wf_dequantized = DequantizeLinear(wf_quantized)
wp_dequantized = DequantizeLinear(wp_quantized)
wd_dequantized = DequantizeLinear(wd_quantized)
w_dequantized = DequantizeLinear(w_quantized)
r = Conv(x_dequantized, w_dequantized, b_dequantized)
r_quantized = QuantizeLinear(r)
r_dequantized = DequantizeLinear(r_quantized)
d = Conv(r_dequantized, wd_dequantized)
d_quantized = QuantizeLinear(d)
d_dequantized = DequantizeLinear(d_quantized)
h = HardSwish(d_dequantized)
h_quantized = QuantizeLinear(h)
h_dequantized = DequantizeLinear(h_quantized)
e = Conv(h_dequantized, wp_dequantized)
e_quantized = QuantizeLinear(e)
e_dequantized = DequantizeLinear(e_quantized)
q = Add(e_dequantized, d_dequantized)
q_quantized = QuantizeLinear(q)
q_dequantized = DequantizeLinear(q_quantized)
p = MaxPool(q_dequantized)
p_quantized = QuantizeLinear(p)
p_dequantized = DequantizeLinear(p_quantized)
f = Flatten(p_dequantized)
f_quantized = QuantizeLinear(f)
f_dequantized = DequantizeLinear(f_quantized)
z__z_dequantized = Gemm(f_dequantized, wf_dequantized, bf_dequantized)
z_quantized = QuantizeLinear(z__z_dequantized)
z = DequantizeLinear(z_quantized)
""",
    "nnapi": """
x_quantized = QuantizeLinear(x)
x_dequantized = DequantizeLinear(x_quantized)
bf_dequantized = DequantizeLinear(bf_quantized)
b_dequantized = DequantizeLinear(b_quantized)
wf_dequantized = DequantizeLinear(wf_quantized)
wp_dequantized = DequantizeLinear(wp_quantized)
wd_dequantized = DequantizeLinear(wd_quantized)
w_dequantized = DequantizeLinear(w_quantized)
r = Conv(x_dequantized, w_dequantized, b_dequantized)
r_quantized = QuantizeLinear(r)
r_dequantized = DequantizeLinear(r_quantized)
d = Conv(r_dequantized, wd_dequantized)
d_quantized = QuantizeLinear(d)
d_dequantized = DequantizeLinear(d_quantized)
h = HardSwish(d_dequantized)
h_quantized = QuantizeLinear(h)
h_dequantized = DequantizeLinear(h_quantized)
e = Conv(h_dequantized, wp_dequantized)
e_quantized = QuantizeLinear(e)
e_dequantized = DequantizeLinear(e_quantized)
s = Add(e_dequantized, d_dequantized)
q = Relu(s)
p = MaxPool(q)
f = Flatten(p)
f_quantized = QuantizeLinear(f)
f_dequantized = DequantizeLinear(f_quantized)
z__z_dequantized = Gemm(f_dequantized, wf_dequantized, bf_dequantized)
z_quantized = QuantizeLinear(z__z_dequantized)
z = DequantizeLinear(z_quantized)
""",
}


def made(name, text=TEXT, recipe=None, **constants):
    model = graphs.build(text, **(constants or CONSTANTS))
    return graphs.quantize(model, target=target_named(name), recipe=recipe)


def zero_points(model, op_type):
    """Zero points of all nodes of an operator, by the value or constant they belong to."""
    found = {}
    for node in nodes(model):
        if node.op_type == op_type:
            found[node.inputs[0].name] = node.inputs[2].const_value.numpy()
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_pairs_stand_where_the_target_wants_them(name):
    assert graphs.show(made(name).model) == GOLDEN[name].strip()


@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.name)
def test_it_is_valid_loads_and_is_close(target):
    quantized = made(target.name)
    check.check(quantized.model)
    Session(quantized.model, OPTIMIZED)
    assert min(quantized.sqnr(OPTIMIZED), quantized.sqnr(UNOPTIMIZED)) > 25


@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.name)
def test_activations_and_weights_have_the_types_of_the_target(target):
    quantized = made(target.name)
    static = {node.op_type for node in nodes(quantized.model)}
    written = zero_points(quantized.model, "QuantizeLinear")
    assert {array.dtype for array in written.values()} == {target.activation.numpy}
    read = zero_points(quantized.model, "DequantizeLinear")
    for name in ("w_quantized", "wd_quantized", "wp_quantized"):
        assert read[name].dtype == target.weight.numpy
        assert read[name].shape == (4,)
        assert not read[name].any()
    biases = [name for name in read if name.startswith("b") and name.endswith("_quantized")]
    assert bool(biases) is target.integer_bias
    assert "LSTM" not in static


def test_symmetric_activations_have_no_zero_point():
    for array in zero_points(made("tensorrt").model, "QuantizeLinear").values():
        assert not array.any()


def test_a_known_range_is_symmetric_where_activations_are():
    text = """n (float[1,4] x) => (float[1,4] z) {
      [a] y = Gemm(x, w) [s] u = Sigmoid(y) [b] z = Gemm(u, w) }"""
    target = target_named("edge-generic")
    model = graphs.build(text, w=graphs.numbers(1, 4, 4))
    found = graphs.quantize(model, target=target)
    assert zero_points(found.model, "QuantizeLinear")["u"] == -128
    from dataclasses import replace

    symmetric = graphs.quantize(model, target=replace(target, activation_symmetric=True))
    assert zero_points(symmetric.model, "QuantizeLinear")["u"] == 0


def test_qnn_has_unsigned_weights_where_its_matmul_wants_them():
    text = "n (float[2,4] x) => (float[2,3] z) { [m] z = MatMul(x, w) }"
    read = zero_points(made("qnn-htp", text, w=graphs.numbers(1, 4, 3)).model, "DequantizeLinear")
    assert read["w_quantized"].dtype == np.uint8
    assert read["w_quantized"] == 128


def test_a_clip_that_nothing_absorbs_gets_pairs_of_its_own():
    text = """n (float[1,3,4,4] x) => (float[1,3,4,4] z) {
      [c] y = Conv(x, w) [k] u = Clip(y, lo, hi) [d] z = Conv(u, w) }"""
    constants = {"w": graphs.numbers(1, 3, 3, 1, 1), "lo": np.float32(1), "hi": np.float32(6)}
    found = made("edge-generic", text, **constants)
    assert found.static() == {"c", "k", "d"}
    assert found.sqnr() > 20


def test_rows_looked_up_in_a_table_share_its_numbers():
    """The data of a Gather is constant: what is looked up has the numbers of the constant."""
    text = """n (int64[3] i) => (float[3,2] z) { [g] y = Gather(t, i) [m] z = MatMul(y, w) }"""
    model = graphs.build(text, t=graphs.numbers(1, 8, 4), w=graphs.numbers(2, 4, 2))
    samples = [{"i": np.int64([k, 7 - k, 3])} for k in range(8)]
    found = graphs.quantize(model, samples, target=target_named("edge-generic"))
    assert found.static() == {"g", "m"}
    assert found.sqnr() > 25


def test_what_needs_no_range_is_observed_for_the_case_that_its_maker_is_left_float():
    from edgeq.quantization.annotate import annotate
    from edgeq.types import QuantSpec, QuantType, ValueRef

    text = """n (int64[3] i) => (float[3,2] z) {
      [g] y = Gather(t, i) [s] u = Softmax(y) [m] z = MatMul(u, w) }"""
    model = graphs.build(text, t=graphs.numbers(1, 8, 4), w=graphs.numbers(2, 4, 2))
    found = annotate(model, target_named("edge-generic"), Recipe())
    assert found.spared() == dict.fromkeys(
        (ValueRef("y"), ValueRef("u")), QuantSpec(QuantType.INT8)
    )


def test_integers_that_are_moved_are_left_alone():
    text = """n (int64[2,3] i, float[1,4] x) => (int64[6] j, float[1,4] z) {
      [r] j = Reshape(i, s) [m] z = Gemm(x, w) }"""
    model = graphs.build(text, s=np.int64([6]), w=graphs.numbers(2, 4, 4))
    samples = graphs.feeds(model, 4, i=np.arange(6).reshape(2, 3))
    found = graphs.quantize(model, samples, target=target_named("edge-generic"))
    assert found.static() == {"m"}
    assert "INT64, not float32" in found.reason("r")


@pytest.mark.parametrize("name", ["nnapi", "qnn-htp", "edge-generic"])
def test_dynamic_shapes_stay_float_where_the_target_takes_fixed_ones(name):
    text = "n (float[N,3,4,4] x) => (float[N,3,4,4] z) { [c] z = Conv(x, w) }"
    found = made(name, text, w=graphs.numbers(1, 3, 3, 1, 1))
    assert "fixed shapes only" in found.reason("c")


def test_bodies_stay_float_where_the_target_takes_none():
    text = """n (float[1,4] x, bool c) => (float[1,4] z) { [if] z = If(c) <
        then_branch = a () => (float[1,4] t) { [one] t = Gemm(x, w) },
        else_branch = b () => (float[1,4] e) { [two] e = Gemm(x, w) } > }"""
    model = graphs.build(text, w=graphs.numbers(1, 4, 4))
    samples = graphs.feeds(model, 2, c=True) + graphs.feeds(model, 2, c=False)
    found = graphs.quantize(model, samples, Recipe(), target_named("qnn-htp"))
    assert "inside a body of If" in found.reason("one")
