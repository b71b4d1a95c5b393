"""Multiply-accumulates, counted by hand."""

import graphs
import pytest

from edgeq.graph import macs, shapes
from edgeq.graph.walk import nodes


@pytest.mark.parametrize(
    ("text", "weights", "count"),
    [
        ("n (float[2,3,8,8] x) => (float[2,4,6,6] z) { z = Conv(x, w) }", [(4, 3, 3, 3)],
         2 * 4 * 6 * 6 * 27),
        ("n (float[1,4,8,8] x) => (float[1,4,8,8] z) { z = Conv<group=4, pads=[1,1,1,1]>(x, w) }",
         [(4, 1, 3, 3)], 4 * 64 * 9),
        ("n (float[1,4,5,5] x) => (float[1,6,11,11] z)"
         "{ z = ConvTranspose<group=2, strides=[2,2]>(x, w) }", [(4, 3, 3, 3)], 4 * 25 * 3 * 9),
        ("n (float[5,6] x) => (float[5,7] z) { z = Gemm(x, w) }", [(6, 7)], 5 * 6 * 7),
        ("n (float[6,5] x) => (float[5,7] z) { z = Gemm<transA=1, transB=1>(x, w) }", [(7, 6)],
         5 * 6 * 7),
        ("n (float[2,5,6] x) => (float[2,5,7] z) { z = MatMul(x, w) }", [(6, 7)], 2 * 5 * 6 * 7),
        ("n (float[2,5,6] x) => (float[2,5,7] z) { z = MatMul(x, w) }", [(2, 6, 7)], 2 * 5 * 42),
        ("n (float[5,6] x) => (float[5] z) { z = MatMul(x, w) }", [(6,)], 5 * 6),
        ("n (float[6] x) => (float[7] z) { z = MatMul(x, w) }", [(6, 7)], 42),
        ("n (float[7,2,5] x) => (float[7,1,2,6] z) { z = LSTM<hidden_size=6>(x, w, r) }",
         [(1, 24, 5), (1, 24, 6)], 7 * 2 * 24 * 11),
        ("n (float[7,2,5] x) => (float[7,2,2,6] z)"
         '{ z = GRU<hidden_size=6, direction="bidirectional">(x, w, r) }',
         [(2, 18, 5), (2, 18, 6)], 7 * 2 * 2 * 18 * 11),
    ],
)  # fmt: skip
def test_counts_are_those_of_the_definition(text, weights, count):
    arrays = {name: graphs.numbers(0, *shape) for name, shape in zip("wr", weights, strict=False)}
    (node,) = nodes(graphs.build(text, **arrays))
    assert macs.is_compute(node)
    assert macs.count(node, shapes.static) == count


def test_an_unknown_shape_makes_the_count_unknown():
    text = "n (float[N,6] x) => (float[N,7] z) { z = MatMul(x, w) }"
    (node,) = nodes(graphs.build(text, w=graphs.numbers(0, 6, 7)))
    assert macs.count(node, shapes.static) is None


def test_a_node_that_did_not_run_costs_nothing():
    text = "n (float[N,6] x) => (float[N,7] z) { z = MatMul(x, w) }"
    (node,) = nodes(graphs.build(text, w=graphs.numbers(0, 6, 7)))
    assert macs.count(node, lambda value: (0, 7) if value.name == "z" else (6, 7)) == 0


def test_operators_without_multiplications_that_matter_are_not_counted():
    (node,) = nodes(graphs.build("n (float[2] x) => (float[2] z) { z = Mul(x, x) }"))
    assert not macs.is_compute(node)
