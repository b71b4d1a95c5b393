"""Predicted sizes are those of the files that are written."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.graph.split import tensors
from edgeq.weight_only.sizes import model_sizes


def tied():
    table = graphs.numbers(0, 200, 64)
    text = (
        "t (int64[2,7] ids) => (float[2,7,200] y) {"
        " [e] h = Gather(table, ids) [a] z = Add(h, b) [head] y = MatMul(z, turned) }"
    )
    turned = np.ascontiguousarray(table.T)
    return graphs.proto(text, table=table, turned=turned, b=graphs.numbers(1, 64))


@pytest.mark.parametrize("scheme", ["w8", "w4", "w2"])
def test_the_total_is_what_the_constants_take_afterwards(scheme):
    told = edgeq.inspect(tied(), sizes=True).sizes
    made = edgeq.quantize(tied(), scheme=scheme, validate=False, threads=1).model
    # Beside the weights there are a few bytes of shapes.
    assert sum(t.nbytes for t in tensors(made)) == pytest.approx(told.total[scheme], abs=64)


def test_tied_weights_are_two_copies_now_and_one_in_blocks():
    sizes = edgeq.inspect(tied(), sizes=True).sizes
    (matrix,) = sizes.matrices
    assert matrix.nodes == ("e", "head")
    assert matrix.copies == 2
    assert matrix.bytes["fp32"] == 2 * 4 * 12800
    assert sizes.rest["fp32"] == 4 * 64
    assert sizes.rest["fp16"] == 2 * 64


def test_four_bits_take_more_than_four_bits():
    (matrix,) = model_sizes(graphs.build(
        "n (float[2,64] x) => (float[2,64] y) { y = MatMul(x, w) }", w=graphs.numbers(0, 64, 64)
    )).matrices  # fmt: skip
    # A float32 scale and a 4-bit zero point for every 32 weights.
    assert matrix.bits("w4") == 4 + 32 / 32 + 4 / 32


def test_what_came_as_float16_stays_as_long_as_it_was():
    """Convolutions have no blocks; they are stored in float16 again."""
    kernel = graphs.numbers(0, 64, 64, 3).astype(np.float16)
    weights = graphs.numbers(1, 64, 64).astype(np.float16)
    text = (
        "n (float16[1,64,64] x) => (float16[1,64,64] y) {"
        " h = Conv<pads=[1,1]>(x, k) b = MatMul(h, v) y = Identity(b) }"
    )
    model = graphs.proto(text, k=kernel, v=weights)
    told = edgeq.inspect(model, sizes=True).sizes
    assert told.rest == {"fp32": 4 * kernel.size} | dict.fromkeys(
        ("fp16", "w8", "w4", "w2"), 2 * kernel.size
    )
    made = edgeq.quantize(model, scheme="w4", validate=False, threads=1).model
    assert sum(t.nbytes for t in tensors(made)) == pytest.approx(told.total["w4"], abs=64)


def test_nobody_asked():
    assert edgeq.inspect(tied()).sizes is None
