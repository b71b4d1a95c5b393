import numpy as np
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.einsum_to_matmul import einsum_to_matmul


def graph(equation, weight, data_shape, *, weight_first=False):
    inputs = "w, x" if weight_first else "x, w"
    dims = ",".join(map(str, weight.shape))
    text = f"""
    g (float[{data_shape}] x, float[{dims}] w) => (float[] y) {{
      y = Einsum <equation = "{equation}"> ({inputs})
    }}
    """
    found = model(text, w=weight)
    found.graph.outputs[0].shape = None
    return found


@pytest.mark.parametrize(
    ("equation", "weight", "data_shape", "expected"),
    [
        ("bi,ij->bj", (4, 5), "N,4", ["MatMul"]),
        ("bi, ji -> bj", (5, 4), "N,4", ["MatMul"]),
        ("abc,cde->abde", (4, 2, 3), "N,L,4", ["MatMul", "Reshape"]),
        ("abcd,cde->abe", (2, 3, 5), "N,L,2,3", ["Reshape", "MatMul"]),
        ("abcd,edc->abe", (5, 3, 2), "N,L,2,3", ["Reshape", "MatMul"]),
        ("abcd,cdef->abef", (2, 3, 4, 2), "N,L,2,3", ["Reshape", "MatMul", "Reshape"]),
    ],
)
def test_products_with_a_weight_become_matrix_products(equation, weight, data_shape, expected):
    after, outcome = apply(einsum_to_matmul, graph(equation, numbers(*weight), data_shape))
    assert ops(after) == expected
    assert outcome.changes == 1


def test_the_weight_may_come_first():
    before = graph("ij,bi->bj", numbers(4, 5), "N,4", weight_first=True)
    after, _ = apply(einsum_to_matmul, before)
    assert ops(after) == ["MatMul"]


def test_an_empty_batch_still_runs():
    before = graph("abcd,cde->abe", numbers(2, 3, 5), "N,L,2,3")
    sample = {"x": np.zeros((0, 4, 2, 3), np.float32)}
    apply(einsum_to_matmul, before, [sample])


@pytest.mark.parametrize(
    ("equation", "weight", "data_shape"),
    [
        ("bchw,cd->bdhw", (3, 4), "N,3,2,2"),
        ("bi,bij->bj", (1, 4, 5), "1,4"),
        ("bi,ij->jb", (4, 5), "N,4"),
        ("bi,ij->b", (4, 5), "N,4"),
        ("bi,ij", (4, 5), "N,4"),
        ("...i,ij->...j", (4, 5), "N,4"),
    ],
)
def test_other_equations_are_declined(equation, weight, data_shape):
    after, outcome = apply(einsum_to_matmul, graph(equation, numbers(*weight), data_shape))
    assert ops(after) == ["Einsum"]
    assert "no product" in outcome.declined[0]
