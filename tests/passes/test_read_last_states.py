import numpy as np
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.read_last_states import read_last_states
from edgeq.passes.remove_dead import remove_dead

TEXT = """
g (float[5,N,3] x, float[{d},16,3] w, float[{d},16,4] r, int64[1] one, int64[1] zero,
   int64[1] first, int64[1] end, int64 last) => (float[{shape}] y) {{
  a{more} = LSTM<hidden_size=4{attributes}>(x, w, r)
  {steps}
}}
"""


def network(steps, shape="?,?", opset=17, attributes="", more="", **changes):
    d = 2 if "bi" in attributes else 1
    text = TEXT.format(d=d, shape=shape, steps=steps, attributes=attributes, more=more)
    data = {"w": numbers(d, 16, 3) - 1, "r": numbers(d, 16, 4, seed=1) - 1, "one": np.array([1]),
            "zero": np.array([0]), "first": np.array([-1]), "end": np.array([2**31 - 1]),
            "last": np.array(-1), **changes}  # fmt: skip
    return model(text, opset, **data)


SLICED = "b = Squeeze(a, one)  c = Slice(b, first, end, zero)  y = Squeeze(c, zero)"
GATHERED = "b = Squeeze(a, one)  y = Gather<axis=0>(b, last)"
SWAPPED = "b = Squeeze(a, one)  c = Transpose<perm=[1,0,2]>(b)  y = Gather<axis=1>(c, last)"
LISTED = "b = Squeeze(a, one)  c = Transpose<perm=[1,0,2]>(b)  y = Slice(c, first, end, one)"
BOTH = "b = Gather<axis=0>(a, last)  y = Neg(b)"


@pytest.mark.parametrize(
    ("steps", "shape", "left"),
    [
        (SLICED, "?,?", ["LSTM", "Squeeze"]),
        (GATHERED, "?,?", ["LSTM", "Squeeze"]),
        (SWAPPED, "?,?", ["LSTM", "Squeeze"]),
        (BOTH, "?,?,?", ["LSTM", "Neg"]),
    ],
)
@pytest.mark.parametrize("more", ["", ", h, k", ", , k"])
def test_last_steps(steps, shape, left, more):
    found, outcome = apply(read_last_states, network(steps, shape, more=more))
    remove_dead(found)
    assert ops(found) == left
    assert outcome.changes == 1


def test_numbers_count_from_the_front_where_the_length_is_known():
    found, _ = apply(read_last_states, network(GATHERED, last=np.array(4)))
    assert "Gather" not in ops(found)
    found, _ = apply(read_last_states, network(SLICED, first=np.array([4]), end=np.array([5])))
    assert "Slice" not in ops(found)


def test_older_opsets():
    text = "b = Squeeze<axes=[1]>(a)  c = Slice<starts=[-1], ends=[99999999999], axes=[0]>(b) "
    found, _ = apply(read_last_states, network(text + "y = Squeeze<axes=[0]>(c)", opset=9))
    remove_dead(found)
    assert ops(found) == ["LSTM", "Squeeze"]


@pytest.mark.parametrize(
    "found",
    [
        network(GATHERED, last=np.array(0)),
        network(GATHERED, last=np.array(3)),
        network(SLICED, first=np.array([0])),
        network(SLICED, first=np.array([-1]), end=np.array([-1]), shape="?,?"),
        network(LISTED, "?,?,?"),
        network(BOTH, "?,?,?", attributes=', direction="bidirectional"'),
        network(GATHERED, attributes=', direction="reverse"'),
        network("b = Squeeze(a, one)  y = Gather<axis=1>(b, last)"),
    ],
)
def test_other_steps_stay(found):
    assert apply(read_last_states, found, runs=False)[1].changes == 0


def test_sequences_of_their_own_length_stay():
    text = """
g (float[5,N,3] x, float[1,4,3] w, float[1,4,4] r, int32[N] lengths, int64 last)
    => (float[1,N,4] y) {
  a = RNN<hidden_size=4>(x, w, r, , lengths)
  y = Gather<axis=0>(a, last)
}
"""
    found = model(text, w=numbers(1, 4, 3), r=numbers(1, 4, 4), last=np.array(-1))
    assert apply(read_last_states, found, runs=False)[1].changes == 0
