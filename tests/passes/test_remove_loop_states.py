import numpy as np
import pytest
from pass_graphs import apply, listing, model, numbers, ops

from edgeq.passes.remove_loop_states import remove_loop_states

CARRIED = """
g (float[2,4] x, float[4,4] w, int64 count, bool go, float[4] bias) => ({outputs}) {{
  h, v, u, ys = Loop(count, go, x, w, bias) <body = b (
      int64 i, bool c, float[2,4] s, float[4,4] weight, float[4] shift
    ) => (bool d, float[2,4] t, float[4,4] passed, float[4] next, float[2,4] y) {{
      d = Identity(c)
      p = MatMul(s, weight)
      t = Tanh(p)
      passed = Identity(weight)
      next = {update}
      y = {collected}
  }}>
  {last}
}}
"""
DATA = {"w": numbers(4, 4) - 1, "count": np.array(3), "go": np.array(True), "bias": numbers(4)}


def carried(outputs, update="Neg(shift)", collected="Neg(t)", last=""):
    text = CARRIED.format(outputs=outputs, update=update, collected=collected, last=last)
    return model(text, **DATA)


def test_weights_come_from_outside():
    found, outcome = apply(remove_loop_states, carried("float[2,4] h, float[3,2,4] ys"))
    loop = found.graph[0]
    assert outcome.changes == 1
    assert [v.name for v in loop.inputs] == ["count", "go", "x"]
    assert [v.name for v in loop.outputs] == ["h", "ys"]
    assert "p = MatMul(s, w)" in listing(found)


def test_what_is_collected_for_nobody_goes():
    found, _ = apply(remove_loop_states, carried("float[2,4] h"))
    assert [v.name for v in found.graph[0].outputs] == ["h"]
    found, _ = apply(remove_loop_states, carried("float[3,2,4] ys"))
    assert [v.name for v in found.graph[0].outputs] == ["h", "ys"]


def test_states_that_others_depend_on_stay():
    found, _ = apply(remove_loop_states, carried("float[3,2,4] ys", "Neg(shift)", "Add(t, shift)"))
    assert [v.name for v in found.graph[0].outputs] == ["h", "u", "ys"]


def test_states_that_are_read_outside():
    text = "float[2,4] h, float[4,4] z, float[4] u"
    found, _ = apply(remove_loop_states, carried(text, last="z = Exp(v)"))
    assert [v.name for v in found.graph[0].outputs] == ["h", "u"]
    assert "z = Exp(w)" in listing(found)


def test_constant_states_that_are_outputs():
    found, _ = apply(remove_loop_states, carried("float[2,4] h, float[4,4] v"))
    assert [v.name for v in found.graph[0].outputs] == ["h"]
    assert "v = Identity(w)" in listing(found)


def test_states_that_feed_a_condition_stay():
    text = """
g (float[2] x, int64 count, bool go, int64 zero, int64 one, int64 limit) => (float[2] y) {
  y, k = Loop(count, go, x, zero) <body = b (
      int64 i, bool c, float[2] s, int64 n
    ) => (bool d, float[2] t, int64 m) {
      m = Add(n, one)
      d = Less(m, limit)
      t = Add(s, s)
  }>
}
"""
    data = {"count": 9, "zero": 0, "one": 1, "limit": 4}
    found = model(text, **{k: np.array(v) for k, v in data.items()}, go=np.array(True))
    assert apply(remove_loop_states, found)[1].changes == 0


def test_states_that_swap_are_states():
    text = """
g (float[2] x, float[2] w, int64 count, bool go) => (float[2] y, float[2] z) {
  y, z = Loop(count, go, x, w) <body = b (int64 i, bool c, float[2] s, float[2] t)
    => (bool d, float[2] u, float[2] v) {
      d = Identity(c)
      u = Identity(t)
      v = Identity(s)
  }>
}
"""
    found = model(text, count=np.array(3), go=np.array(True))
    assert apply(remove_loop_states, found)[1].changes == 0


@pytest.mark.parametrize("outputs", ["float[2] y, float[5,2] z", "float[5,2] z", "float[2] y"])
def test_scans(outputs):
    text = f"""
g (float[2] x, float[2] w, float[5,2] xs) => ({outputs}) {{
  y, v, z = Scan<num_scan_inputs=1>(x, w, xs) <body = b (float[2] s, float[2] k, float[2] e)
    => (float[2] t, float[2] m, float[2] o) {{
      m = Identity(k)
      p = Mul(s, k)
      t = Add(p, e)
      o = Neg(t)
  }}>
}}
"""
    text = text.replace("<num_scan_inputs=1>(x, w, xs) <", "(x, w, xs) <num_scan_inputs=1, ")
    found, _ = apply(remove_loop_states, model(text))
    assert [v.name for v in found.graph[0].inputs] == ["x", "xs"]
    assert [v.name for v in found.graph[0].outputs] == ["y", "z"]


def test_bodies_inside_read_states():
    text = """
g (float[2] x, float[2] w, float[2] q, int64 count, bool go) => (float[2] y) {
  y, z, r = Loop(count, go, x, w, q) <body = b (int64 i, bool c, float[2] s, float[2] k, float[2] j)
    => (bool d, float[2] t, float[2] m, float[2] n) {
      d = Identity(c)
      m = Identity(k)
      n = Neg(j)
      t = If(c) <then_branch = a () => (float[2] e) { e = Add(s, k) },
                 else_branch = o () => (float[2] f) { f = Add(s, j) }>
  }>
}
"""
    found, _ = apply(remove_loop_states, model(text, count=np.array(3), go=np.array(True)))
    assert "e = Add(s, w)" in listing(found)
    assert [v.name for v in found.graph[0].inputs] == ["count", "go", "x", "q"]
    assert ops(found).count("If") == 1
