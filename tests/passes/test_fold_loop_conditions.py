import numpy as np
import pytest
from pass_graphs import apply, constant, listing, model, ops

from edgeq.passes.fold_loop_conditions import fold_loop_conditions
from edgeq.passes.pipelines import OPTIMIZE, run_pipeline

LOOP = """
g (float[2] x, {more}int64 count, bool go, int64 zero, int64 one, {kind} limit)
    => (float[2] y, {kind} n)
{{
  y, n = Loop({often}, {go}, x, {first}) <body = b (int64 i, bool c, float[2] s, {kind} k)
    => (bool d, float[2] t, {kind} m) {{
      m = Add(k, {step})
      {condition}
      t = Add(s, s)
  }}>
}}
"""
COUNTERS = {"zero": np.array(0), "one": np.array(1), "go": np.array(True)}


def looped(count=9, limit=4, condition="d = Less(m, limit)", **changes):
    parts = {"often": "count", "go": "go", "first": "zero", "step": "one", "more": "",
             "kind": "int64", **changes}  # fmt: skip
    text = LOOP.format(condition=condition, **parts)
    return model(text, count=np.array(count), limit=np.array(limit), **COUNTERS)


def rounds(found):
    loop = next(n for n in found.graph if n.op_type == "Loop")
    return int(constant(found, loop.inputs[0].name))


@pytest.mark.parametrize(
    ("count", "limit", "condition", "wanted"),
    [
        (9, 4, "d = Less(m, limit)", 4),
        (3, 4, "d = Less(m, limit)", 3),
        (9, 0, "d = Less(m, limit)", 1),
        (9, 4, "e = Less(m, limit)  f = Less(i, limit)  d = And(e, f)", 4),
        (9, 4, "e = Less(k, limit)  d = And(c, e)", 5),
        (9, 4, "e = Cast<to=1>(m)  f = Cast<to=1>(limit)  d = Less(e, f)", 4),
        (9, 4, "d = Identity(go)", 9),
    ],
)
def test_rounds(count, limit, condition, wanted):
    found, outcome = apply(fold_loop_conditions, looped(count, limit, condition))
    assert outcome.changes == 1
    assert rounds(found) == wanted
    body = found.graph[0].attributes["body"].as_graph()
    assert listing(found).count("Identity(c)") == 1
    assert body.outputs[0].producer().op_type == "Identity"
    run_pipeline(found, OPTIMIZE)
    assert not {"Less", "And", "Cast"} & set(ops(found))


@pytest.mark.parametrize("part", ["often", "go"])
def test_without_a_count_or_a_condition(part):
    found, _ = apply(fold_loop_conditions, looped(**{part: ""}))
    assert rounds(found) == 4


@pytest.mark.parametrize(
    "found",
    [
        looped(condition="d = Identity(c)"),
        looped(10**12, 10**12),
        looped(condition="e = ReduceSum(s)  f = Cast<to=7>(e)  d = Less(f, limit)"),
        looped(more="int64 begin, ", first="begin"),
        looped(more="int64 rounds, ", often="rounds"),
        looped(more="bool sure, ", go="sure"),
        looped(more="int64 bound, ", condition="d = Less(m, bound)"),
    ],
)
def test_what_is_not_known_stays(found):
    assert apply(fold_loop_conditions, found, runs=False)[1].changes == 0
