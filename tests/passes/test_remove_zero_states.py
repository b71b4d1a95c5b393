import numpy as np
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.outcome import Outcome
from edgeq.passes.remove_dead import remove_dead
from edgeq.passes.remove_zero_states import remove_zero_states

LSTM = """
g (float[T,batch,3] x, float[1,16,3] w, float[1,16,4] r, float[1,32] b, int64[1] one, int64[1] d,
   int64[1] four, float[1,1,4] zero, int64[3] s)
    => (float[?,?,?,4] y)
{
  shape = Shape(x)
  n = Gather(shape, one)
  sizes = Concat<axis=0>(d, n, four)
  h = STATE
  c = Expand(zero, sizes)
  y = LSTM<hidden_size=4>(x, w, r, b, , h, c)
}
"""
DATA = {
    "w": numbers(1, 16, 3), "r": numbers(1, 16, 4), "b": numbers(1, 32), "one": np.array([1]),
    "d": np.array([1]), "four": np.array([4]), "zero": np.zeros((1, 1, 4), np.float32),
    "s": np.array([1, 1, 4]),
}  # fmt: skip


def left(text, **data):
    def both(found):
        outcome = remove_zero_states(found)
        remove_dead(found)
        return Outcome(outcome.changes, outcome.declined)

    return apply(both, model(text, **(DATA | data)))[0]


def test_zeros_that_the_graph_makes():
    found = left(LSTM.replace("STATE", "ConstantOfShape(sizes)"))
    assert ops(found) == ["LSTM"]


def test_other_states_stay():
    made = "ConstantOfShape<value=float[1]{1.0}>(sizes)"
    found = left(LSTM.replace("STATE", made))
    assert ops(found) == ["Shape", "Gather", "Concat", "ConstantOfShape", "LSTM"]
    found = left(LSTM.replace("STATE", "Expand(zero, sizes)"), zero=numbers(1, 1, 4))
    assert ops(found).count("Expand") == 2


@pytest.mark.parametrize("op", ["GRU", "RNN"])
def test_one_state(op):
    rows = {"GRU": 12, "RNN": 4}[op]
    text = f"""
g (float[T,2,3] x, float[1,{rows},3] w, float[1,{rows},4] r, float[1,2,4] h)
    => (float[?,?,?,4] y)
{{
  y = {op}<hidden_size=4>(x, w, r, , , h)
}}
"""
    data = {"w": numbers(1, rows, 3), "r": numbers(1, rows, 4)}
    zeros = np.zeros((1, 2, 4), np.float32)
    _, outcome = apply(remove_zero_states, model(text, **data, h=zeros))
    assert outcome.changes == 1
    _, outcome = apply(remove_zero_states, model(text, **data, h=zeros + 1))
    assert outcome.changes == 0
