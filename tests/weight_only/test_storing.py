"""Models whose weights are stored in blocks, run by onnxruntime."""

from collections import Counter

import graphs
import numpy as np
import onnx
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED

from edgeq.graph import check, constants, saver
from edgeq.graph.walk import node_name, nodes
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.session import Session
from edgeq.weight_only.blocks import BlockSpec
from edgeq.weight_only.methods import quantize_rows
from edgeq.weight_only.moments import InputMoments, SumOfSquares
from edgeq.weight_only.scheme import BlockScheme
from edgeq.weight_only.sequential import SequentialMoments
from edgeq.weight_only.storing import store_in_blocks
from edgeq.weight_only.tables import find_tables

PLAIN = Recipe()


def scheme(name="w4", method="rtn", **choices):
    return BlockScheme(name, method, **choices)


def store(model, chosen, recipe=PLAIN, moments=None):
    copy = model.clone()
    found = store_in_blocks(copy, chosen, recipe, moments)
    check.check(copy)
    return copy, found


def learnt(model, samples):
    copy = model.clone()
    return SequentialMoments(copy, find_tables(copy, PLAIN).tables, samples)


def far(want, got):
    return max(float(np.abs(want[k] - got[k]).max() / np.abs(want[k]).max()) for k in want)


def product(columns=64, rows=96):
    text = f"p (float[3,5,{columns}] x) => (float[3,5,{rows}] y) {{ [mm] y = MatMul(x, w) }}"
    return graphs.build(text, w=graphs.numbers(0, columns, rows))


@pytest.mark.parametrize("bits", ["w8", "w4", "w2"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("columns", [64, 72])
def test_the_operator_multiplies_by_what_the_integers_stand_for(bits, symmetric, columns):
    model = product(columns)
    stored, _ = store(model, scheme(bits, size=32, symmetric=symmetric))
    assert [n.op_type for n in nodes(stored)] == ["MatMulNBits"]
    sample = graphs.feeds(model, 1)[0]
    got = Session(stored, OPTIMIZED).run(sample)["y"]
    real = real_weights(stored)
    want = sample["x"] @ real.T
    # The inputs are rounded to 8 bits while the model runs.
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def real_weights(model):
    """What the only MatMulNBits of a model multiplies by, read from the file as its schema says."""
    node = next(n for n in nodes(model) if n.op_type == "MatMulNBits")
    bits, size = (node.attributes.get_int(name, 0) for name in ("bits", "block_size"))
    data, scale = (constants.array(node.inputs[i]) for i in (1, 2))
    codes = np.stack([(data >> (bits * i)) & ((1 << bits) - 1) for i in range(8 // bits)], -1)
    codes = codes.reshape(*data.shape[:2], size).astype(np.float64)
    zero = np.full(scale.shape, 1 << (bits - 1), np.float64)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        packed = constants.array(node.inputs[3])
        parts = [(packed >> (bits * i)) & ((1 << bits) - 1) for i in range(8 // bits)]
        zero = np.stack(parts, -1).reshape(scale.shape[0], -1)[:, : scale.shape[1]]
    real = (codes - zero[..., None]) * scale[..., None]
    return real.reshape(real.shape[0], -1)[:, : node.attributes.get_int("K", 0)]


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("bias", ["float[96]", "float[1,96]", "float[1]"])
def test_a_gemm_keeps_its_bias(turned, bias):
    text = f"g (float[5,64] x) => (float[5,96] y) {{ [fc] y = Gemm<transB={turned}>(x, w, b) }}"
    shape = [int(d) for d in bias[6:-1].split(",")]
    weights = graphs.numbers(0, 96, 64) if turned else graphs.numbers(0, 64, 96)
    model = graphs.build(text, w=weights, b=graphs.numbers(1, *shape, scale=30))
    stored, found = store(model, scheme("w8", size=32))
    assert found.decisions[0].form is NodeForm.BLOCKS
    assert "MatMulNBits" in {n.op_type for n in nodes(stored)}
    sample = graphs.feeds(model, 1)[0]
    assert far(Session(model).run(sample), Session(stored).run(sample)) < 0.02


TIED = (
    "t (int64[2,7] ids) => (float[2,7,200] logits) "
    "{ [e] h = Gather(table, ids) [u] z = Relu(h) [head] logits = MatMul(z, turned) }"
)


def tied():
    table = graphs.numbers(0, 200, 64)
    return graphs.build(TIED, table=table, turned=np.ascontiguousarray(table.T))


@pytest.mark.parametrize("bits", ["w8", "w4", "w2"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_an_embedding_and_the_layer_tied_to_it_share_their_bytes(bits, symmetric):
    model = tied()
    stored, found = store(model, scheme(bits, size=32, symmetric=symmetric))
    assert [(t.nodes, t.weights) for t in found.tables] == [(("e", "head"), 12800)]
    kinds = Counter(n.op_type for n in nodes(stored))
    assert kinds["GatherBlockQuantized"] == kinds["MatMulNBits"] == 1
    assert saver.serialized_size(stored) < 12800 * 4 * (0.13 + 0.26)
    sample = {"ids": np.arange(14).reshape(2, 7) - 5}
    limit = {"w8": 0.02, "w4": 0.12, "w2": 0.6}[bits]
    assert far(Session(model).run(sample), Session(stored).run(sample)) < limit
    assert far(Session(stored, UNOPTIMIZED).run(sample), Session(stored).run(sample)) < 0.02


def test_layers_of_one_shape_and_other_weights_are_not_tied():
    text = "n (float[2,64] x) => (float[2,64] y) { [a] h = MatMul(x, w) [b] y = MatMul(h, v) }"
    model = graphs.build(text, w=graphs.numbers(0, 64, 64), v=graphs.numbers(1, 64, 64))
    assert [t.nodes for t in store(model, scheme())[1].tables] == [("a",), ("b",)]


def test_weights_in_a_branch_are_stored_too():
    text = (
        "n (bool c, float[2,64] x) => (float[2,64] y) { y = If (c) <"
        "then_branch = t () => (float[2,64] a) { [inside] a = MatMul(x, w) },"
        "else_branch = e () => (float[2,64] b) { b = Neg(x) }> }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    stored, _ = store(model, scheme("w8", size=32))
    for taken in (True, False):
        sample = {"c": np.asarray(taken), "x": graphs.numbers(3, 2, 64)}
        assert far(Session(model).run(sample), Session(stored).run(sample)) < 0.02


def test_what_stays_float_says_why():
    text = (
        "n (float[4,64] x, float[64,64] v, float[1,64,4] z) => (float[4,64] y, float[1,8,4] c) {"
        " [few] a = MatMul(x, small) [two] b = MatMul(x, v) [first] d = MatMul(w, v)"
        " [scaled] g = Gemm<alpha=2.0>(x, w) [conv] c = Conv(z, k) [mine] m = MatMul(x, w2)"
        " [s0] s = Add(b, g) [s1] e = Add(s, m) [s2] y = Add(e, b) }"
    )
    model = graphs.build(
        text, small=graphs.numbers(0, 64, 4), w=graphs.numbers(1, 64, 64),
        w2=graphs.numbers(2, 64, 64), k=graphs.numbers(3, 8, 64, 1),
    )  # fmt: skip
    _, found = store(model, scheme(), Recipe(exclude=("mine",)))
    reasons = {d.node: d.reason for d in found.decisions}
    assert not found.tables
    assert "256 weights are too few" in reasons["few"]
    assert "both factors are computed" in reasons["two"]
    assert "the first factor" in reasons["first"]
    assert "scales its product" in reasons["scaled"]
    assert "no kernel" in reasons["conv"]
    assert "excluded by the user" in reasons["mine"]


def positions(rows):
    text = (
        "n (int64[5] p, float[5,64] x) => (float[5,2048] y) {"
        " [where] h = Gather(angles, p) [add] z = Add(x, h) [big] y = MatMul(z, w) }"
    )
    weights = graphs.numbers(1, 64, 2048)
    return graphs.build(text, angles=graphs.numbers(0, rows, 64), w=weights)


def bits_of(model, chosen):
    return {t.nodes[0]: t.spec.bits for t in store(model, chosen)[1].tables}


def test_a_small_table_that_is_looked_up_keeps_eight_bits_unless_told():
    assert bits_of(positions(64), scheme("w4")) == {"where": 8, "big": 4}
    assert bits_of(positions(640), scheme("w4")) == {"where": 4, "big": 4}
    told = scheme("w4", layer_bits=(("wh*", 2),))
    assert bits_of(positions(64), told) == {"where": 2, "big": 4}


def outputs(last):
    text = (
        "n (float[5,64] x) => (float[5,80] y) {"
        f" [a] h = MatMul(x, w) [b] z = MatMul(h, v) [head] l = MatMul(z, o) {last} }}"
    )
    return graphs.build(
        text, w=graphs.numbers(0, 64, 256), v=graphs.numbers(1, 256, 64),
        o=graphs.numbers(2, 64, 80), bias=graphs.numbers(3, 80), shape=np.asarray([5, 80]),
    )  # fmt: skip


@pytest.mark.parametrize("last", ["y = Add(l, bias)", "s = Reshape(l, shape) y = Cast<to=1>(s)"])
def test_the_output_layer_keeps_eight_bits_unless_told(last):
    assert bits_of(outputs(last), scheme("w4")) == {"a": 4, "b": 4, "head": 8}
    told = scheme("w4", layer_bits=(("*", 4),))
    assert bits_of(outputs(last), told) == {"a": 4, "b": 4, "head": 4}


@pytest.mark.parametrize("last", ["[n] y = Softmax(l)", "[t] t = Neg(l) y = Add(l, t)"])
def test_a_layer_with_something_behind_it_is_no_output_layer(last):
    assert bits_of(outputs(last), scheme("w4")) == {"a": 4, "b": 4, "head": 4}


def test_an_output_layer_that_is_most_of_the_model_has_the_bits_of_the_scheme():
    assert bits_of(product(), scheme("w4")) == {"mm": 4}


def test_a_table_whose_rows_fit_no_block_stays_float_where_it_is_looked_up():
    text = "n (int64[3] i) => (float[3,100] y) { [e] y = Gather(t, i) }"
    _, found = store(graphs.build(text, t=graphs.numbers(0, 60, 100)), scheme())
    assert not found.tables
    assert "100 columns" in found.decisions[0].reason


@pytest.mark.parametrize("bits", ["w8", "w4"])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("columns", [64, 72])
def test_the_standard_form_needs_no_operator_of_onnxruntime(bits, symmetric, columns):
    text = (
        f"n (int64[3] i, float[3,{columns}] x) => (float[3,96] y, float[3,{columns}] r) {{"
        " [e] h = Gather(t, i) [a] r = Add(h, x) [mm] y = MatMul(r, w) }"
    )
    model = graphs.build(text, opset=21, t=graphs.numbers(0, 90, columns),
                         w=graphs.numbers(1, columns, 96))  # fmt: skip
    stored, _ = store(model, scheme(bits, size=16, symmetric=symmetric, format="qdq"))  # fmt: skip
    assert {n.domain for n in nodes(stored)} <= {"", "ai.onnx"}
    onnx.checker.check_model(saver.to_proto(stored), full_check=True)
    sample = {"i": np.asarray([0, 5, 89]), "x": graphs.numbers(2, 3, columns)}
    operators, _ = store(model, scheme(bits, size=16, symmetric=symmetric))
    want = Session(operators, OPTIMIZED).run(sample)
    for config in (OPTIMIZED, UNOPTIMIZED):
        assert far(want, Session(stored, config).run(sample)) < 0.03


@pytest.mark.parametrize("bits", ["w8", "w4"])
def test_a_gemm_that_transposes_its_weights_is_fused_in_the_standard_form_too(bits):
    """onnxruntime would compute the weights back to floats in every run."""
    text = "n (float[3,64] x) => (float[3,96] z) { [g] y = Gemm<transB=1>(x, w, b) [n] z = Neg(y) }"
    model = graphs.build(text, opset=21, w=graphs.numbers(0, 96, 64), b=graphs.numbers(1, 96))
    stored, _ = store(model, scheme(bits, format="qdq"))
    assert {node.op_type for node in nodes(stored)} == {"DequantizeLinear", "Gemm", "Neg"}
    kernels = [node.op_type for node in executed_graph(stored).nodes]
    assert sorted(kernels) == ["MatMulNBits", "Neg"]
    sample = {"x": graphs.numbers(2, 3, 64)}
    operators, _ = store(model, scheme(bits))
    want = Session(operators, OPTIMIZED).run(sample)
    assert far(want, Session(stored, UNOPTIMIZED).run(sample)) < 0.03


def test_weights_that_are_looked_up_as_well_keep_the_order_they_are_looked_up_in():
    text = (
        "n (int64[3] i) => (float[3,90] y) { [e] h = Gather(t, i) [g] y = Gemm<transB=1>(h, t, b) }"
    )
    model = graphs.build(text, opset=21, t=graphs.numbers(0, 90, 64), b=graphs.numbers(1, 90))
    stored, _ = store(model, scheme("w8", format="qdq"))
    assert [n.op_type for n in nodes(stored)].count("DequantizeLinear") == 1


def test_moments_are_those_of_what_a_layer_reads():
    text = "n (float[6,64] x) => (float[6,64] y) { [r] h = Relu(x) [mm] y = MatMul(h, w) }"
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    samples = graphs.feeds(model, 3)
    tables = find_tables(model, PLAIN).tables
    found = InputMoments(model, tables, samples).of(tables[0])
    seen = np.maximum(np.concatenate([s["x"] for s in samples]), 0)
    assert np.allclose(found.mean, seen.T @ seen / 18, atol=1e-5)


CHAIN = (
    "n (float[6,64] x) => (float[6,64] y) {"
    " [a] h = MatMul(x, w) [r] z = Relu(h) [b] y = MatMul(z, v) }"
)


def test_moments_are_those_behind_the_layers_that_are_stored():
    model = graphs.build(CHAIN, w=graphs.numbers(0, 64, 64), v=graphs.numbers(1, 64, 64))
    samples = graphs.feeds(model, 3)
    moments = learnt(model, samples)
    first, second = find_tables(model, PLAIN).tables
    seen = np.concatenate([s["x"] for s in samples])
    assert np.allclose(moments.of(first).mean, seen.T @ seen / 18, atol=1e-5)
    coarse = quantize_rows(first.read(), BlockSpec(2, 32), "rtn")
    moments.settle(first, coarse)
    read = np.maximum(seen @ coarse.real().T, 0)
    plain = np.maximum(seen @ first.read().T, 0)
    assert np.allclose(moments.of(second).mean, read.T @ read / 18, rtol=1e-4, atol=1e-4)
    assert not np.allclose(read, plain, atol=0.1)


def test_a_table_that_is_read_before_its_inputs_are_known_learns_from_the_float_model():
    model = tied()
    samples = [{"ids": np.arange(14).reshape(2, 7)}]
    moments = learnt(model, samples)
    (table,) = find_tables(model, PLAIN).tables
    rows = np.maximum(table.read()[:14], 0)
    assert np.allclose(moments.of(table).mean, rows.T @ rows / 14, rtol=1e-4, atol=1e-4)
    moments.settle(table, quantize_rows(table.read(), BlockSpec(4, 32), "rtn"))


def test_a_layer_that_no_sample_reaches_is_stored_without_data():
    text = (
        "n (bool c, float[2,64] x) => (float[2,64] y) { y = If (c) <"
        "then_branch = t () => (float[2,64] a) { [p] q = Relu(x) [inside] a = MatMul(q, w) },"
        "else_branch = e () => (float[2,64] b) { b = Neg(x) }> }"
    )
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    samples = [{"c": np.asarray(False), "x": graphs.numbers(3, 2, 64)}]
    _, found = store(model, scheme("w4", "gptq"), moments=learnt(model, samples))
    assert [t.method for t in found.tables] == ["k-quant"]


def test_auto_takes_the_method_of_the_least_error():
    text = "n (float[60,64] x) => (float[60,64] y) { [mm] y = MatMul(x, w) }"
    model = graphs.build(text, w=graphs.numbers(0, 64, 64))
    base = graphs.numbers(7, 60, 8) @ graphs.numbers(8, 8, 64)
    errors = {
        method: store(model, scheme("w4", method), moments=learnt(model, [{"x": base}]))[1]
        .tables[0]
        .error
        for method in ("rtn", "hqq", "k-quant", "gptq", "auto")
    }
    assert errors["auto"] == min(errors.values()) < errors["rtn"]


def test_names_of_nodes_stay():
    stored, _ = store(product(), scheme())
    assert [node_name(n) for n in nodes(stored)] == ["mm"]


def test_inputs_that_come_one_by_one_count_as_those_that_come_together():
    rows = graphs.numbers(0, 300, 8)
    together, apart, other = SumOfSquares(8), SumOfSquares(8), SumOfSquares(8)
    together.add(rows)
    for row in rows[:290]:
        apart.add(row)
    other.add(rows[290:])
    apart.merge(other)
    assert np.allclose(apart.moment().mean, together.moment().mean, atol=1e-6)
    assert apart.moment().rows == together.moment().rows == 300
    assert other.moment().rows == 10
