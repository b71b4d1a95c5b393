import numpy as np
import onnx_ir as ir
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.lift_islands import lift_islands
from edgeq.passes.merge_casts import merge_casts
from edgeq.passes.pipelines import run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.passes.remove_noops import remove_noops

ISLAND = """
g (float[2,8] x, {kind}[8] w, float[8,4] m) => (float[2,4] y) {{
  a = Cast <to = {to}> (x)
  b = Mul(a, w)
  c = Softmax <axis = -1> (b)
  d = Cast <to = 1> (c)
  y = MatMul(d, m)
}}
"""
KINDS = {"float16": (10, np.float16), "bfloat16": (16, ir.DataType.BFLOAT16.numpy())}


def kinds_of(found):
    return {v.dtype for node in found.graph for v in (*node.inputs, *node.outputs) if v}


def island(kind="float16", text=ISLAND, **constants):
    to, dtype = KINDS[kind]
    given = {"w": numbers(8).astype(dtype), "m": numbers(8, 4), **constants}
    return model(text.format(kind=kind, to=to), 22, **given)


@pytest.mark.parametrize("kind", KINDS)
def test_an_island_becomes_float32(kind):
    before = island(kind)
    after = before.clone()
    assert lift_islands(after).changes == 1
    assert lift_islands(after).changes == 0
    assert kinds_of(after) == {ir.DataType.FLOAT}
    run_pipeline(after, (remove_noops,))
    assert ops(after) == ["Mul", "Softmax", "MatMul"]


def test_the_proof_allows_for_the_rounding_that_is_gone():
    done = prepare(island())
    assert "Cast" not in ops(done.model)
    assert not done.dropped


def test_a_constant_that_others_read_stays_half():
    text = ISLAND.replace("}}", "  z = Cast <to = 1> (w)\n}}")
    text = text.replace("(float[2,4] y)", "(float[2,4] y, float[8] z)")
    after = island(text=text)
    assert lift_islands(after).changes == 1
    assert after.graph.initializers["w"].dtype is ir.DataType.FLOAT16


def test_what_the_caller_gives_or_gets_stays_half():
    given = ISLAND.replace("{kind}[8] w", "{kind}[8] v").replace("w)", "v)")
    got = ISLAND.replace("(float[2,4] y)", "(float[2,4] y, {kind}[2,8] b)")
    without = model(given.format(kind="float16", to=10), m=numbers(8, 4))
    for before in (without, island(text=got)):
        outcome = lift_islands(before)
        assert not outcome.changes
        assert "an input or an output" in outcome.declined[0]


def test_operators_of_others_stay_half():
    before = island()
    next(node for node in before.graph if node.op_type == "Softmax").domain = "com.example"
    outcome = lift_islands(before)
    assert not outcome.changes
    assert "may need float16" in outcome.declined[0]


def test_the_cast_behind_a_lifted_model_is_no_island():
    text = "g (float16[4] x) => (float16[4] y) { a = Cast <to = 1> (x) b = Exp(a) "
    found = model(text + "y = Cast <to = 10> (b) }")
    outcome = lift_islands(found)
    assert (outcome.changes, outcome.declined) == (0, ())


def test_an_island_that_reaches_into_a_body_stays():
    text = """
    g (float[4] x, bool left) => (float[4] y) {
      a = Cast <to = 10> (x)
      y = If (left) <
        then_branch = one () => (float[4] p) { p = Cast <to = 1> (a) },
        else_branch = two () => (float[4] q) { q = Identity(x) }
      >
    }
    """
    outcome = lift_islands(model(text))
    assert not outcome.changes
    assert "body" in outcome.declined[0]


CHAINS = [
    ("int32", 7, 6, []),
    ("float", 11, 1, []),
    ("bool", 1, 9, []),
    ("float", 11, 7, ["Cast"]),
    ("uint8", 1, 7, ["Cast"]),
    ("float", 10, 1, ["Cast", "Cast"]),
    ("int64", 6, 7, ["Cast", "Cast"]),
    ("int64", 11, 7, ["Cast", "Cast"]),
    ("int32", 1, 6, ["Cast", "Cast"]),
    ("float", 11, 8, ["Cast", "Cast"]),
]


@pytest.mark.parametrize(("source", "between", "result", "left"), CHAINS)
def test_chains_of_casts(source, between, result, left):
    kind = ir.DataType(result).name.lower()
    text = f"g ({source}[2,8] x) => ({kind}[2,8] y) {{ n = Cast <to = {between}> (x) "
    text += f"c = Cast <to = {result}> (n) i = Identity(c) y = Identity(i) }}"
    found, _ = apply(merge_casts, model(text))
    run_pipeline(found, (remove_noops,))
    assert [op for op in ops(found) if op == "Cast"] == left


def test_a_first_cast_that_others_read_stays():
    text = "g (int32[4] x) => (int32[4] y, int64[4] n) { n = Cast <to = 7> (x) "
    found, outcome = apply(merge_casts, model(text + "c = Cast <to = 6> (n) y = Neg(c) }"))
    assert outcome.changes == 1
    assert ops(found) == ["Cast", "Cast", "Neg"]
