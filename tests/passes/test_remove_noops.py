import numpy as np
import pytest
from pass_graphs import apply, listing, model

from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.remove_noops import remove_noops

CONSTANTS = {
    "zeros": np.zeros(4, np.int64), "nought": np.float32(0), "one": np.ones((1, 3), np.float32),
    "begin": np.array([0]), "end": np.array([2**62]), "shape": np.array([0, -1]),
}  # fmt: skip
NOOPS = [
    "b = Identity(a)", "b = Dropout(a)", "b = Cast<to=1>(a)", "b = Transpose<perm=[0,1]>(a)",
    "b = Pad(a, zeros)", "b = Slice(a, begin, end)", "b = Concat<axis=0>(a)", "b = Sum(a)",
    "b = Add(nought, a)", "b = Sub(a, nought)", "b = Mul(a, one)", "b = Div(a, one)",
    "b = Reshape(a, shape)", "b = Max(a)",
]  # fmt: skip
WORK = [
    "b = Sub(nought, a)", "b = Div(one, a)", "b = Cast<to=1>(a) c = Neg(b)", "b = Sum(a, a)",
    "b = Transpose<perm=[1,0]>(a) c = Neg(b)",
]  # fmt: skip
KINDS = "int64[4] zeros, float nought, float[1,3] one, int64[1] begin, int64[1] end, int64[2] shape"


def graph(line):
    text = f"g (float[2,3] x, {KINDS}) => (float[2,3] y) {{ a = Abs(x) {line} y = Exp(b) }}"
    found = model(text, **CONSTANTS)
    infer_shapes(found)
    return found


@pytest.mark.parametrize("line", NOOPS)
def test_noops_go(line):
    assert listing(apply(remove_noops, graph(line))[0]) == "a = Abs(x)\ny = Exp(a)"


@pytest.mark.parametrize("line", WORK[:2] + WORK[3:4])
def test_work_stays(line):
    assert apply(remove_noops, graph(line))[1].changes == 0


def test_a_sum_that_broadcasts_stays():
    text = "g (float[3] x, float[2,3] z) => (float[2,3] y) { y = Add(x, z) }"
    found = model(text, z=np.zeros((2, 3), np.float32))
    assert apply(remove_noops, found)[1].changes == 0


def test_outputs_keep_their_names():
    text = (
        "g (float[2] x) => (float[2] y, float[2] z) { a = Abs(x) y = Identity(a) z = Identity(x) }"
    )
    found, _ = apply(remove_noops, model(text))
    assert listing(found) == "y = Abs(x)\nz = Identity(x)"


def test_a_branch_that_hands_an_outer_value_on_keeps_its_node():
    text = """
g (bool c, float[2] x) => (float[2] y) {
  t = Abs(x)
  y = If(c) <
    then_branch = p () => (float[2] r) { r = Identity(t) },
    else_branch = q () => (float[2] s) { s = Neg(t) }
  >
}
"""
    assert apply(remove_noops, model(text))[1].changes == 0


@pytest.mark.parametrize("op", ["Neg", "Not"])
def test_back_and_forth(op):
    kind = "bool" if op == "Not" else "float"
    text = f"g ({kind}[2] x, {kind}[2] z) => ({kind}[2] y) {{ a = {op}(x) b = {op}(a) "
    text += "y = And(b, z) }" if op == "Not" else "y = Mul(b, z) }"
    found, _ = apply(remove_noops, model(text))
    assert listing(found).endswith("y = And(x, z)" if op == "Not" else "y = Mul(x, z)")


def test_a_split_into_one_and_a_flat_matrix():
    text = """
g (float[N,M] x, int64[1] whole) => (float[?,?] y) {
  a = Split<axis=1, num_outputs=1>(x)
  b = Flatten(a)
  y = Exp(b)
}
"""
    found = model(text, 18, whole=np.array([1]))
    assert listing(apply(remove_noops, found)[0]) == "y = Exp(x)"


@pytest.mark.parametrize(
    ("condition", "one", "left"),
    [
        (True, "[1]", "x"), (False, "[1]", None), ([[True, True]], "[2,1]", "x"),
        ([[True, False]], "[1]", None), ([[[True]]], "[1]", None), ([True], "[K]", None),
        ([], "[1]", None),
    ],
)  # fmt: skip
def test_a_condition_that_is_constant(condition, one, left):
    data = np.array(condition, bool)
    kind = f"bool{list(data.shape)}"
    text = f"""
g ({kind} c, float[2,2] x, float{one} z) => (float[?,?] y) {{
  b = Where(c, x, z)
  y = Exp(b)
}}
"""
    found, _ = apply(remove_noops, model(text, c=data), runs=data.ndim < 3 and data.size > 0)
    assert listing(found).endswith(f"y = Exp({left or 'b'})")


def test_the_other_side_of_a_condition():
    text = "g (bool c, float z, float[N,2] x) => (float[?,?] y) { b = Where(c, z, x) y = Exp(b) }"
    found, _ = apply(remove_noops, model(text, c=np.array(False)))
    assert listing(found) == "y = Exp(x)"
