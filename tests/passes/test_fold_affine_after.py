import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, constant, listing, model, numbers, ops

from edgeq.passes.fold_affine_after import fold_affine_after
from edgeq.passes.fold_affine_before import fold_affine_before
from edgeq.passes.merge_affine import merge_affine

# name -> (node reading t and writing u, weight shape, input type, output type, channel shape)
LAYERS = {
    "conv": ("u = Conv<pads=[1,1,1,1]>(t, w)", (4, 4, 3, 3), "1,4,5,5", "1,4,5,5", (4, 1, 1)),
    "unpadded": ("u = Conv(t, w, b)", (6, 4, 3, 3), "1,4,5,5", "1,6,3,3", (6, 1, 1)),
    "grouped": ("u = Conv<group=2>(t, w, b)", (6, 2, 1, 1), "1,4,5,5", "1,6,5,5", (6, 1, 1)),
    "depthwise": ("u = Conv<group=4>(t, w)", (4, 1, 3, 3), "1,4,5,5", "1,4,3,3", (4, 1, 1)),
    "transposed": ("u = ConvTranspose<group=2>(t, w, b)", (4, 3, 2, 2), "1,4,5,5", "1,6,6,6",
                   (6, 1, 1)),
    "gemm": ("u = Gemm<alpha=0.5, beta=2.0>(t, w, b)", (4, 6), "3,4", "3,6", (6,)),
    "gemm_t": ("u = Gemm<transB=1>(t, w)", (6, 4), "3,4", "3,6", (6,)),
    "matmul": ("u = MatMul(t, w)", (4, 6), "2,3,4", "2,3,6", (6,)),
}  # fmt: skip


def build(name, before, after):
    """A layer with chains of (op, constant, constant first) in front of it and behind it."""
    node, weight, inputs, outputs, channels = LAYERS[name]
    arrays = {"w": numbers(*weight), "b": numbers(int(np.max(channels)), seed=1)}
    lines, value = [], "x"
    for place, chain in (("in", before), ("out", after)):
        for index, (op, data, first) in enumerate(chain):
            key, result = f"{place}_c{index}", f"{place}_{index}"
            arrays[key] = data
            pair = f"{key}, {value}" if first else f"{value}, {key}"
            lines.append(f"{result} = {op}({pair})")
            value = result
        if place == "in":
            lines.append(node.replace("(t", f"({value}"))
            value = "u"
    lines.append(f"y = Relu({value})")
    if "b)" not in node:
        del arrays["b"]
    kinds = {k: f"float[{','.join(map(str, v.shape))}] {k}" for k, v in arrays.items()}
    head = ", ".join([f"float[{inputs}] x", *kinds.values()])
    return model(f"g ({head}) => (float[{outputs}] y) {{ {' '.join(lines)} }}", **arrays)


def chains(shape):
    """Random chains of constant arithmetic; x / c comes without c / x, which is not affine."""
    op = st.sampled_from([("Add", 0), ("Add", 1), ("Sub", 0), ("Sub", 1), ("Mul", 0), ("Mul", 1),
                          ("Div", 0)])  # fmt: skip
    data = st.tuples(st.sampled_from([(), (1,), shape]), st.integers(0, 99))
    step = st.tuples(op, data).map(lambda s: (s[0][0], numbers(*s[1][0], seed=s[1][1]), s[0][1]))
    return st.lists(step, max_size=4)


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_chains_keep_their_results(name, data):
    channels = LAYERS[name][4]
    inputs = (4, *[1] * (len(channels) - 1))
    before, after = data.draw(chains(inputs)), data.draw(chains(channels))
    found, _ = apply(fold_affine_after, build(name, before, after))
    left = 2 + len(before) + (name == "matmul" and len(after) > 0)
    assert len(ops(found)) <= left
    found, _ = apply(fold_affine_before, found)
    apply(merge_affine, found)


@pytest.mark.parametrize("name", LAYERS)
def test_what_follows_is_taken_up(name):
    shape = LAYERS[name][4]
    chain = [("Sub", numbers(*shape), 1), ("Mul", numbers(*shape), 0), ("Div", numbers(1), 0)]
    found, outcome = apply(fold_affine_after, build(name, [], chain))
    kept = ["Add"] if name == "matmul" else []
    op = LAYERS[name][0].split()[2].split("(")[0].split("<")[0]
    assert ops(found) == [op, *kept, "Relu"]
    assert outcome.changes == 1


BATCH_NORM = """
g (float[1,2,4,4] x, float[2,2,1,1] w, float[2] s, float[2] b, float[2] m, float[2] v)
=> (float[1,2,4,4] y) {
  c = Conv(x, w)
  y = BatchNormalization(c, s, b, m, v)
}
"""


def batch_norm(text=BATCH_NORM):
    parts = {k: numbers(2, seed=i) for i, k in enumerate("sbmv")}
    return model(text, shapes=False, w=numbers(2, 2, 1, 1), **parts)


def test_batch_norm_at_the_output_keeps_the_output_name():
    found, _ = apply(fold_affine_after, batch_norm())
    assert listing(found) == "y = Conv(x, w, conv_0__bias)"


def test_two_readers_are_declined():
    text = BATCH_NORM.replace("y) {", "y, float[1,2,4,4] r) {").replace(
        "m, v)\n}", "m, v)\n r = Relu(c) }"
    )
    found, outcome = apply(fold_affine_after, batch_norm(text))
    assert ops(found) == ["Conv", "BatchNormalization", "Relu"]
    assert outcome.declined == (
        "BatchNormalization batchnormalization_1 behind Conv conv_0 is not the only reader",
    )


def test_a_finer_grain_is_declined():
    _found, outcome = apply(
        fold_affine_after, build("unpadded", [], [("Add", numbers(6, 3, 3), 0)])
    )
    assert outcome.changes == 0
    assert "is not per channel" in outcome.declined[0]


def test_a_shared_weight_is_forked():
    text = """
g (float[1,2,4,4] x, float[2,2,1,1] w, float k) => (float[1,2,4,4] y, float[1,2,4,4] z) {
  c = Conv(x, w)
  y = Mul(c, k)
  z = Conv(x, w)
}
"""
    found, _ = apply(fold_affine_after, model(text, w=numbers(2, 2, 1, 1), k=np.float32(2)))
    assert listing(found) == "y = Conv(x, w_1)\nz = Conv(x, w)"
    np.testing.assert_array_equal(constant(found, "w_1"), 2 * constant(found, "w"))


def test_a_float16_overflow_is_declined():
    text = (
        "g (float16[1,4] x, float16[4,4] w, float16 k) => "
        "(float16[1,4] y) { c = Gemm(x, w) y = Mul(c, k) }"
    )
    found = model(text, w=np.full((4, 4), 6e4, np.float16), k=np.float16(2))
    _, outcome = apply(fold_affine_after, found, runs=False)
    assert "overflow" in outcome.declined[0]


def test_channels_are_followed_through_a_transpose():
    text = """
g (float[1,3,4,4] x, float[2,3,1,1] w, float[2] s) => (float[1,4,4,2] y) {
  c = Conv(x, w)
  t = Transpose<perm=[0,2,3,1]>(c)
  m = Mul(t, s)
  y = Add(m, s)
}
"""
    found, _ = apply(fold_affine_after, model(text, w=numbers(2, 3, 1, 1), s=numbers(2)))
    assert ops(found) == ["Conv", "Transpose"]
