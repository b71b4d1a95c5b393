"""Channels of unlike ranges become alike, and the float model computes what it did."""

import graphs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import gain, rewrite, unlike

from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.refinement.channels import channel_ranges
from edgeq.refinement.equalization import LEAST_GAIN, equalize
from edgeq.targets.cpu import CPU

SPREAD = np.array([0.02, 0.1, 1.0, 8.0, 0.3, 2.0], np.float32)
"""How unlike the six channels between the layers are."""


def conv(seed, outputs, inputs, kernel=1, *, uneven=False):
    weight = graphs.numbers(seed, outputs, inputs, kernel, kernel)
    return weight * SPREAD[:outputs].reshape(-1, 1, 1, 1) if uneven else weight


def reader(seed, outputs, *kernel):
    """A weight that makes up for the unlike channels in front of it."""
    return graphs.numbers(seed, outputs, 6, *kernel) / SPREAD.reshape(6, *(1 for _ in kernel))


BETWEEN = {
    "nothing": "z = Conv(m, v)",
    "relu": "r = Relu(m) z = Conv(r, v)",
    "leaky relu": "r = LeakyRelu<alpha=0.2>(m) z = Conv(r, v)",
    "prelu": "r = PRelu(m, slope) z = Conv(r, v)",
    "max pool": "r = MaxPool<kernel_shape=[2,2]>(m) z = Conv(r, v)",
    "average pool": "r = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(m) z = Conv(r, v)",
    "global average": "r = GlobalAveragePool(m) z = Conv(r, v)",
    "depthwise": "r = Conv<group=6, pads=[1,1,1,1]>(m, d) z = Conv(r, v)",
    "grouped": "z = Conv<group=3>(m, grouped)",
    "transposed": "r = ConvTranspose(m, turned) z = Conv(r, v)",
    "resize": 'r = Resize<mode="nearest">(m, , scales) z = Conv(r, v)',
    "constant": "a = Add(m, c) k = Mul(a, c) e = Sub(c, k) f = Div(e, c) z = Conv(f, v)",
    "scalars": "a = Add(m, one) k = Mul(one, a) z = Conv(k, v)",
    "residual": "r = Relu(m) q = Conv(r, square) a = Add(r, q) z = Conv(a, v)",
    "two readers": "r = Relu(m) p = Conv(r, v) q = Conv(r, v2) z = Add(p, q)",
    "concat": "r = Relu(m) q = Concat<axis=1>(r, m) z = Conv(q, wide)",
    "split": "a, e = Split<axis=1>(m, halves) p = Conv(a, half) q = Conv(e, half2) z = Add(p, q)",
    "slice": "a = Slice(m, start, end, axes) z = Conv(a, half)",
    "transposes": "t = Transpose<perm=[0,2,3,1]>(m) r = Relu(t)"
    " u = Transpose<perm=[0,3,1,2]>(r) z = Conv(u, v)",
    "gate": "p = GlobalAveragePool(m) q = Conv(p, square) s = Sigmoid(q) g = Mul(m, s)"
    " z = Conv(g, v)",
    "gemm": "p = GlobalAveragePool(m) f = Flatten(p) z = Gemm<transB=1>(f, matrix)",
    "matmul": "p = GlobalAveragePool(m) f = Flatten(p) z = MatMul(f, tall)",
    "opened clip": "r = Clip(m, nought, thousand) z = Conv(r, v)",
}  # fmt: skip

CUT = {"clip": "r = Clip(m, nought, six) z = Conv(r, v)"}

CONSTANTS = {
    "v": reader(11, 4, 1, 1),
    "v2": reader(12, 4, 1, 1),
    "d": conv(13, 6, 1, 3),
    "grouped": conv(14, 6, 2),
    "turned": graphs.numbers(15, 6, 6, 2, 2) * SPREAD.reshape(1, 6, 1, 1),
    "square": conv(16, 6, 6),
    "wide": conv(17, 4, 12),
    "half": reader(18, 4, 1, 1)[:, :3],
    "half2": reader(19, 4, 1, 1)[:, 3:],
    "matrix": reader(20, 4),
    "tall": reader(21, 4).T.copy(),
    "c": (graphs.numbers(22, 6, 1, 1) ** 2 + np.float32(0.5)) * SPREAD.reshape(6, 1, 1),
    "slope": np.abs(graphs.numbers(23, 6, 1, 1)),
    "one": np.float32(1.5),
    "nought": np.float32(0),
    "six": np.float32(6),
    "thousand": np.float32(1000),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "halves": np.array([3, 3]),
    "start": np.array([2]),
    "end": np.array([5]),
    "axes": np.array([1]),
}


def chain(name, opset=17, **more):
    text = (BETWEEN | CUT)[name]
    rank = 2 if name in ("gemm", "matmul") else 4
    dims = ",".join("abcd"[:rank])
    constants = {k: v for k, v in CONSTANTS.items() if k in text.replace("(", " ").replace(")", " ")
                 .replace(",", " ").split()}  # fmt: skip
    return graphs.build(
        f"n (float[1,3,8,8] x) => (float[{dims}] z) {{ m = Conv(x, w, b) {text} }}",
        opset,
        w=conv(1, 6, 3, uneven=True),
        b=graphs.numbers(2, 6) * SPREAD,
        **constants,
        **more,
    )


@pytest.mark.parametrize("name", BETWEEN)
def test_factors_pass_and_nothing_changes(name):
    model = chain(name)
    found = rewrite(model)
    assert found.scaled >= 1
    assert found.changed
    if name not in ("slice", "residual", "concat", "gate"):
        layers = [n for n in model.graph if n.op_type in ("Conv", "Gemm", "MatMul")]
        before, after = unlike(model, found, layers[-1].inputs[0].name)
        assert after < before / 2
    assert gain(model, found) > -1


@pytest.mark.parametrize("name", ["nothing", "relu", "depthwise", "gate", "split", "constant"])
def test_the_quantized_model_gets_closer(name):
    model = chain(name)
    assert gain(model, rewrite(model)) > 3


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_other_opsets(opset):
    assert rewrite(chain("relu", opset)).scaled == 2


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(set(BETWEEN) - {"gemm", "matmul"})), min_size=1, max_size=1),
       st.integers(0, 99), st.sampled_from([1, 2, 6]))  # fmt: skip
def test_any_weights(names, seed, kernel):
    text = BETWEEN[names[0]]
    used = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    model = graphs.build(
        f"n (float[1,3,9,9] x) => (float[a,b,c,d] z) {{ m = Conv(x, w, b) {text} }}",
        w=graphs.numbers(seed, 6, 3, kernel, kernel)
        * np.exp(graphs.numbers(seed + 1, 6, 1, 1, 1) * 2),
        b=graphs.numbers(seed + 2, 6),
        **{k: v for k, v in CONSTANTS.items() if k in used},
    )
    rewrite(model)


def test_a_clip_that_nothing_comes_near_becomes_a_relu():
    found = rewrite(chain("opened clip"))
    assert [n.op_type for n in found.model.graph] == ["Conv", "Relu", "Conv"]
    assert found.model.graph[1].outputs[0].name == "r"
    assert "1 Clip nodes" in found.notes[0]


def test_a_clip_that_cuts_keeps_its_channels():
    model = chain("clip")
    assert channel_ranges(model, {"m": -3}, graphs.feeds(model))["m"].maximum.max() > 6
    found = rewrite(model)
    assert [n.op_type for n in found.model.graph] == ["Conv", "Clip", "Conv"]
    assert found.scaled == 0


def test_a_channel_that_was_always_zero_keeps_its_numbers():
    model = graphs.build(
        "n (float[1,3,8,8] x) => (float[1,4,8,8] z)"
        "{ m = Conv(x, w, b) r = Relu(m) z = Conv(r, v) }",
        w=conv(1, 6, 3, uneven=True), v=CONSTANTS["v"],
        b=np.array([1, 1, -1000, 1, 1, 1], np.float32),
    )  # fmt: skip
    found = rewrite(model)
    old, new = (m.graph.initializers["w"].const_value.numpy() for m in (model, found.model))
    assert np.array_equal(old[2], new[2])
    assert not np.array_equal(old, new)


@pytest.mark.parametrize(
    "text",
    [
        "s = Sigmoid(m) z = Conv(s, v)",
        "s = Softmax<axis=1>(m) z = Conv(s, v)",
        "z = Conv(m, v) y = Identity(m)",
        "q = Conv(x, w, b) g = Mul(m, q) h = Tanh(m) y = Identity(h) z = Conv(g, v)",
        "a = Add(m, x1) z = Conv(a, v)",
        "r = Relu(m) s = DepthToSpace<blocksize=1>(r) z = Conv(s, v)",
        "t = Clip(m, one, six) z = Conv(t, v)",
        "z = Conv(m, v) u = Conv(x6, v) y = Identity(u)",
    ],
)
def test_what_wants_the_value_as_it_was(text):
    used = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    outputs = "float[a,b,c,d] z" + (", float[e,f,g,h] y" if "y =" in text else "")
    found = rewrite(
        graphs.build(
            f"n (float[1,3,8,8] x, float[1,1,8,8] x1, float[1,6,8,8] x6) => ({outputs})"
            f"{{ m = Conv(x, w, b) {text} }}",
            w=conv(1, 6, 3, uneven=True),
            b=graphs.numbers(2, 6),
            **{k: v for k, v in CONSTANTS.items() if k in used},
        )
    )
    assert found.scaled == 0
    assert found.changed == frozenset()


def test_a_value_that_is_handed_out_keeps_its_numbers():
    model = graphs.build(
        "n (float[1,3,8,8] x) => (float[1,4,8,8] z, float[1,6,8,8] m)"
        "{ m = Conv(x, w) z = Conv(m, v) }",
        w=conv(1, 6, 3, uneven=True), v=CONSTANTS["v"],
    )  # fmt: skip
    assert rewrite(model).scaled == 0


def test_a_value_that_a_body_reads_keeps_its_numbers_and_bodies_stay():
    model = graphs.build(
        "n (float[1,3,8,8] x, bool c) => (float[1,4,8,8] z) { m = Conv(x, w) p = Conv(m, v)"
        " q = If (c) <then_branch = t () => (float[1,4,8,8] t1)"
        " { k = Conv(m, v2) l = Relu(k) t1 = Conv(l, w4) },"
        " else_branch = e () => (float[1,4,8,8] e1) { e1 = Identity(p) }> z = Add(p, q) }",
        w=conv(1, 6, 3, uneven=True), v=CONSTANTS["v"], v2=CONSTANTS["v2"], w4=conv(5, 4, 4),
    )  # fmt: skip
    samples = graphs.feeds(model, c=np.array(True))
    found = rewrite(model, samples)
    assert found.scaled == 0


def test_a_weight_that_two_layers_read_keeps_its_numbers():
    model = graphs.build(
        "n (float[1,3,8,8] x) => (float[1,6,8,8] z)"
        "{ m = Conv(x, w) p = Conv(m, v) r = Relu(p) z = Conv(r, v) }",
        w=conv(1, 6, 3, uneven=True), v=CONSTANTS["square"],
    )  # fmt: skip
    assert rewrite(model).scaled == 0


def test_a_weight_that_callers_may_replace_keeps_its_numbers():
    model = graphs.build(
        "n (float[1,3,8,8] x, float[6,3,1,1] w) => (float[1,4,8,8] z)"
        "{ m = Conv(x, w) r = Relu(m) z = Conv(r, v) }",
        w=conv(1, 6, 3, uneven=True), v=CONSTANTS["v"],
    )  # fmt: skip
    assert rewrite(model, graphs.feeds(model)).scaled == 0


def test_half_precision_is_left_alone():
    model = graphs.build(
        "n (float16[1,3,8,8] x) => (float16[1,4,8,8] z) { m = Conv(x, w) z = Conv(m, v) }",
        w=conv(1, 6, 3, uneven=True).astype(np.float16), v=CONSTANTS["v"].astype(np.float16),
    )  # fmt: skip
    samples = [{"x": graphs.numbers(i, 1, 3, 8, 8).astype(np.float16)} for i in range(4)]
    assert rewrite(model, samples).scaled == 0


def test_what_stays_float_or_was_not_seen_is_left_alone():
    model = chain("relu")
    assert rewrite(model, recipe=Recipe(exclude=("Conv",))).scaled == 0
    annotations = annotate(model, CPU, Recipe())
    assert equalize(model, annotations, {}).scaled == 0


GATED = {
    "hard swish": "h = HardSigmoid<alpha=0.16666667, beta=0.5>(m) g = Mul(m, h)",
    "swish": "h = Sigmoid(m) g = Mul(h, m)",
}


@pytest.mark.parametrize("name", GATED)
def test_one_mul_in_front_of_a_gate_frees_both_sides_of_it(name):
    model = graphs.build(
        f"n (float[1,3,8,8] x) => (float[1,4,8,8] z) {{ m = Conv(x, w, b) {GATED[name]}"
        " a = Add(g, c) z = Conv(a, v) }",
        w=conv(1, 6, 3, uneven=True), b=graphs.numbers(2, 6) * SPREAD,
        c=CONSTANTS["c"], v=CONSTANTS["v"],
    )  # fmt: skip
    assert rewrite(model).scaled == 0
    found = rewrite(model, least_gain=LEAST_GAIN)
    assert [n.op_type for n in found.model.graph].count("Mul") == 2
    assert {"m", "g", "a", "m__scaled"} <= found.changed
    assert "1 Mul nodes" in found.notes[0]
    assert gain(model, found) > 3
    assert rewrite(model, least_gain=1e9).changed == frozenset()


def test_a_mul_in_front_of_a_layer_where_its_input_has_no_other_place():
    model = graphs.build(
        "n (float[1,3,8,8] x) => (float[1,4,8,8] z)"
        "{ m = Conv(x, w, b) e = Exp(m) p = Conv(e, v) q = Conv(e, v2) z = Add(p, q) }",
        w=conv(1, 6, 3, uneven=True), b=graphs.numbers(2, 6),
        v=CONSTANTS["v"], v2=CONSTANTS["v2"],
    )  # fmt: skip
    samples = [{"x": sample["x"] * np.float32(0.2)} for sample in graphs.feeds(model)]
    found = rewrite(model, samples, least_gain=1.5)
    muls = [n for n in found.model.graph if n.op_type == "Mul"]
    assert len(muls) == 1
    assert {r.op_type for r in muls[0].outputs[0].consumers()} == {"Conv"}
    assert len(muls[0].outputs[0].consumers()) == 2


def test_the_outcome_is_the_same_every_time():
    one, two = rewrite(chain("residual")), rewrite(chain("residual"))
    for name, value in one.model.graph.initializers.items():
        assert np.array_equal(value.const_value, two.model.graph.initializers[name].const_value)


def test_a_second_run_finds_little_to_do():
    model = chain("relu")
    first = rewrite(model)
    second = rewrite(first.model)
    before, after = unlike(first.model, second, "r")
    assert 0.8 < after / before < 1.25
