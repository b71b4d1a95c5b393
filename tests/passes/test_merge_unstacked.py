import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, ops

from edgeq.passes.merge_unstacked import merge_unstacked
from edgeq.passes.remove_dead import remove_dead

A = np.array
SLICED = """
g (float[3,2,N,4] x, int64[1] zero, int64[1] one, int64[1] two) => (float[?,?,?] y) {{
  a = Slice(x, zero, one, one)
  b = Squeeze(a, one)
  c = Slice(x, one, two, one)
  d = Squeeze(c, one)
  y = Concat<axis={axis}>({order})
}}
"""


@pytest.mark.parametrize(("axis", "left"), [(0, 2), (1, 1), (2, 2), (-1, 2)])
def test_slices(axis, left):
    data = {"zero": A([0]), "one": A([1]), "two": A([2])}
    found, outcome = apply(merge_unstacked, model(SLICED.format(axis=axis, order="b, d"), **data))
    remove_dead(found)
    assert outcome.changes == 1
    assert ops(found) == ["Transpose", "Reshape"][-left:]


@pytest.mark.parametrize("order", ["d, b", "b, b", "b, d, b", "b, d, e"])
def test_other_orders_stay(order):
    text = SLICED.format(axis=2, order=order)
    text = text.replace("  y = ", "  e = Squeeze(c, one)\n  y = ") if "e" in order else text
    data = {"zero": A([0]), "one": A([1]), "two": A([2])}
    assert apply(merge_unstacked, model(text, **data))[1].changes == 0


@given(st.permutations([2, 3, 4]), st.integers(0, 2), st.integers(0, 1), st.sampled_from("SGU"))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_axes(sizes, axis, beside, how):
    count = sizes[axis]
    names = [f"p{i}" for i in range(count)]
    if how == "G":
        lines = [f"p{i} = Gather<axis={axis}>(x, i{i})" for i in range(count)]
    else:
        parts = [f"q{i}" for i in range(count)]
        lines = [f"{', '.join(parts)} = Split<axis={axis}>(x)"]
        lines += [f"p{i} = Squeeze(q{i}, axes)" for i in range(count)]
    given = ", ".join(f"int64 i{i}" for i in range(count))
    text = f"g (float{list(sizes)} x, int64[1] axes, {given}) => (float[?,?] y) {{\n"
    text += "\n".join(lines) + f"\ny = Concat<axis={beside}>({', '.join(names)})\n}}"
    data = {"axes": A([axis]), **{f"i{i}": A(i - count if how == "U" else i) for i in range(count)}}
    found, outcome = apply(merge_unstacked, model(text, **data))
    remove_dead(found)
    assert outcome.changes == 1
    assert set(ops(found)) <= {"Transpose", "Reshape"}


def test_parts_that_others_read_stay():
    text = SLICED.format(axis=2, order="b, d").replace(
        "(float[?,?,?] y)", "(float[?,?,?] y, float[?,?,?] b)"
    )
    data = {"zero": A([0]), "one": A([1]), "two": A([2])}
    assert apply(merge_unstacked, model(text, **data))[1].changes == 0
