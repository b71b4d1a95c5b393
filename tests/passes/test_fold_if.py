import numpy as np
from pass_graphs import apply, listing, model

from edgeq.passes.fold_if import fold_if

TEXT = """
g (bool k, bool c, float[2] x) => (float[2] y, float[2] z) {
  y, u = If(k) <
    then_branch = t () => (float[2] p, float[2] q) { p = Abs(x) q = Identity(x) },
    else_branch = e () => (float[2] r, float[2] s) { r = Neg(x) s = Neg(x) }
  >
  v = If(k) <
    then_branch = t2 () => (float[2] p) { p = Exp(u) },
    else_branch = e2 () => (float[2] r) { r = If(k) <
      then_branch = t3 () => (float[2] m) { m = Neg(x) },
      else_branch = e3 () => (float[2] n) { n = Abs(x) } > }
  >
  z = If(c) <
    then_branch = t4 () => (float[2] p) { p = Abs(v) },
    else_branch = e4 () => (float[2] r) { r = Neg(v) }
  >
}
"""


def test_the_taken_branch_moves_up_and_clashing_names_change():
    found, outcome = apply(fold_if, model(TEXT, k=np.bool_(True)))
    assert outcome.changes == 2
    assert listing(found).splitlines()[:3] == ["y = Abs(x)", "q = Identity(x)", "p_2 = Exp(q)"]
    assert "z = If(c)" in listing(found)


def test_the_other_branch():
    found, outcome = apply(fold_if, model(TEXT, k=np.bool_(False)))
    assert outcome.changes == 3
    assert "Exp" not in listing(found)


def test_what_the_dropped_branch_read_has_one_reader_less():
    found, _ = apply(fold_if, model(TEXT, k=np.bool_(True)))
    value = next(n.outputs[0] for n in found.graph if n.op_type == "Exp")
    assert len(value.uses()) == 2  # the two branches of the If that stays
