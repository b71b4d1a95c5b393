import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.matmul_to_gemm import matmul_to_gemm

TEXT = """
g (float[N,4] x, float[4,3] w, float{b} b) => (float[N,3] y) {{
  p = MatMul(x, w)
  y = {op}
}}
"""
OPS = ["Add(p, b)", "Add(b, p)", "Sub(p, b)"]


def spelled(shape=(3,), op="Add(p, b)", opset=17, dtype=np.float32):
    text = TEXT.format(b=list(shape), op=op)
    if dtype != np.float32:
        text = text.replace("float", "double")
    data = {"w": numbers(4, 3).astype(dtype), "b": numbers(*shape, seed=1).astype(dtype)}
    return model(text, opset, **data)


@given(st.sampled_from([(3,), (1, 3), (1,), (1, 1), ()]), st.sampled_from(OPS))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_bias_of_any_form(shape, op):
    found, _ = apply(matmul_to_gemm, spelled(shape, op))
    assert ops(found) == ["Gemm"]
    assert found.graph.outputs[0].name == "y"


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18])
def test_any_opset(opset):
    assert ops(apply(matmul_to_gemm, spelled(opset=opset))[0]) == ["Gemm"]


def test_doubles():
    assert ops(apply(matmul_to_gemm, spelled(dtype=np.float64))[0]) == ["Gemm"]


@pytest.mark.parametrize("op", ["Sub(b, p)", "Mul(p, b)"])
def test_other_arithmetic_stays(op):
    assert apply(matmul_to_gemm, spelled(op=op))[1].changes == 0


def test_a_constant_per_row_is_no_bias():
    text = TEXT.format(b=[2, 1], op="Add(p, b)").replace("[N", "[2")
    _, outcome = apply(matmul_to_gemm, model(text, w=numbers(4, 3), b=numbers(2, 1)))
    assert outcome.changes == 0
    assert outcome.declined == ("Add add_1 behind MatMul matmul_0 is not per column",)


@pytest.mark.parametrize("shape", ["[2,N,4]", ""])
def test_other_ranks_and_unknown_ones_stay(shape):
    text = TEXT.format(b=[3], op="Add(p, b)").replace("[N,4]", shape).replace("[N,3] y", "[] y")
    found = model(text, shapes=False, w=numbers(4, 3), b=numbers(3))
    if not shape:
        found.graph.inputs[0].shape = None
    assert apply(matmul_to_gemm, found, runs=False)[1].changes == 0


def test_a_product_that_others_read_stays():
    text = TEXT.format(b=[3], op="Add(p, b)").replace("[N,3] y)", "[N,3] y, float[N,3] p)")
    found = model(text, w=numbers(4, 3), b=numbers(3))
    assert apply(matmul_to_gemm, found)[1].changes == 0


def test_weights_that_are_computed_stay():
    found = model(TEXT.format(b=[3], op="Add(p, b)"), b=numbers(3))
    assert apply(matmul_to_gemm, found)[1].changes == 0


def test_inside_a_body():
    text = """
g (bool c, float[N,4] x, float[4,3] w, float[3] b) => (float[N,3] y) {
  y = If(c) <
    then_branch = t () => (float[N,3] m) { p = MatMul(x, w) m = Add(p, b) },
    else_branch = e () => (float[N,3] n) { q = MatMul(x, w) n = Neg(q) }
  >
}
"""
    found, _ = apply(matmul_to_gemm, model(text, w=numbers(4, 3), b=numbers(3)))
    assert sorted(ops(found)) == ["Gemm", "If", "MatMul", "Neg"]
