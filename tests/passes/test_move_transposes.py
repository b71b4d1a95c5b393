import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_graphs import sketches
from pass_graphs import apply, constant, listing, model, numbers, ops

from edgeq.passes.layout.mincut import Network
from edgeq.passes.layout.problem import priced
from edgeq.passes.layout.regions import kinds, regions
from edgeq.passes.move_transposes import move_transposes

FUZZ = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
IN, OUT = "Transpose<perm=[0,3,1,2]>", "Transpose<perm=[0,2,3,1]>"


def between(step, out="?,?,?,?", opset=17, **given):
    """A step between the Transposes of two convolutions."""
    declared = "".join(
        f", {'int64' if a.dtype == np.int64 else 'float'}[{','.join(map(str, a.shape))}] {n}"
        for n, a in given.items()
    )
    text = f"""
g (float[1,4,4,3] x, float[3,3,1,1] w{declared}) => (float[{out}] y) {{
  a = {IN}(x)
  b = Conv(a, w)
  c = {OUT}(b)
  {step}
  e = {IN}(d)
  y = Relu(e)
}}
"""
    return model(text, opset, w=numbers(3, 3, 1, 1) - 1, **given)


AGNOSTIC = {
    "unary": "d = Sigmoid(c)",
    "bias": "d = Add(c, k)",
    "bias first": "d = Sub(k, c)",
    "scalar": "d = Mul(c, h)",
    "whole constant": "d = Mul(c, m)",
    "slope": "d = PRelu(c, k)",
    "clip": "d = Clip(c, h)",
    "where": "f = Less(c, h) d = Where(f, c, k)",
    "concat": "d = Concat<axis=-1>(c, c, m)",
    "split": "f, d = Split<axis=-1>(c, s)",
    "pad": "d = Pad(c, p)",
    "slice": "d = Slice(c, i, j)",
    "slice of axes": "d = Slice(c, one, two, minus)",
    "gather": "d = Gather<axis=3>(c, i)",
    "mean": "f = ReduceMean<axes=[1,2]>(c) d = Mul(c, f)",
    "sum of an input's axes": "f = ReduceSum(c, ax) d = Mul(c, f)",
    "mean of all": "f = ReduceMean<keepdims=0>(c) d = Mul(c, f)",
    "largest": "f = ReduceMax<axes=[1,2], keepdims=0>(c) o = Unsqueeze(f, ax) d = Mul(c, o)",
    "squeezed": "f = ReduceMax<axes=[1,2]>(c) o = Squeeze(f, ax) d = Unsqueeze(o, ax)",
    "cumulative": "d = CumSum(c, t)",
    "nearest": 'd = Resize<mode="nearest">(c, , r)',
    "sizes": 'd = Resize<mode="nearest">(c, , , z)',
    "expand": "f = ReduceMax<axes=[1]>(c) d = Expand(f, z)",
    "tile": "d = Tile(c, two4)",
    "computed sizes": "f = Shape(c) o = Mul(f, two4) d = Tile(c, o)",
    "part of the shape": "f = Shape<start=1>(c) o = Gather(f, one) q = Cast<to=1>(o) d = Mul(c, q)",
    "quantized": "f = QuantizeLinear(c, h) d = DequantizeLinear(f, h)",
    "per axis": "f = QuantizeLinear<axis=-1>(c, k) d = DequantizeLinear<axis=3>(f, k)",
    "reshaped": "f = ReduceMax<axes=[1,2], keepdims=0>(c) o = Reshape(f, sq) d = Mul(c, o)",
}
GIVEN = {
    "k": numbers(3),
    "h": numbers()[()],
    "m": numbers(1, 4, 4, 3),
    "s": np.array([1, 2]),
    "p": np.array([0, 1, 0, 2, 0, 0, 1, 0]),
    "i": np.array([0, 1]),
    "j": np.array([1, 3]),
    "one": np.array([1]),
    "two": np.array([2]),
    "minus": np.array([-1]),
    "ax": np.array([1, 2]),
    "t": np.array([2]),
    "r": np.array([1, 2, 2, 1], np.float32),
    "z": np.array([1, 8, 4, 3]),
    "two4": np.array([1, 2, 1, 1]),
    "sq": np.array([-1, 1, 1, 3]),
}


def used(step):
    words = set(step.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: np.asarray(data) for name, data in GIVEN.items() if name in words}


@pytest.mark.parametrize("name", AGNOSTIC)
def test_a_step_in_any_order(name):
    step = AGNOSTIC[name]
    found, outcome = apply(move_transposes, between(step, **used(step)))
    assert ops(found).count("Transpose") == 1, listing(found)
    assert outcome.changes


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("f = Reshape(c, q) d = Relu(f)", 3),
        ("f = ReduceMax<axes=[0,1,2], keepdims=0>(c) d = Mul(c, f)", 3),
        ('d = Resize<mode="linear">(c, , r)', 1),
        ("d = Softmax(c)", 3),
        ("d = LpNormalization(c)", 3),
        ("d, f = TopK(c, two)", 3),
        ("f = ReduceMax<axes=[3]>(c) d = Mul(c, f)", 3),
        ("f = ArgMax<axis=3>(c) g = Cast<to=1>(f) d = Mul(c, g)", 3),
    ],
)
def test_what_stays(step, left):
    found, _ = apply(move_transposes, between(step, **used(step) | reshape(step)))
    assert ops(found).count("Transpose") == left


def reshape(step):
    return {"q": np.array([1, 8, 2, 3])} if "Reshape" in step else {}


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 12, 13, 18, 21])
def test_every_opset(opset):
    pad = "Pad<pads=[0,1,0,0,0,0,1,0]>(c)" if opset < 11 else "Pad(c, p)"
    mean = "ReduceMax<axes=[1,2]>(f)" if opset < 18 else "ReduceMax(f, ax)"
    part = "Slice<starts=[1], ends=[9], axes=[2]>(f)" if opset < 10 else "Slice(f, one, j9, two)"
    step = f"f = {pad} g = {mean} h = Add(f, g) n = {part} d = Concat<axis=2>(n, h)"
    steps = {n: a for n, a in used(step).items() if n not in ("h", "g")}
    if opset >= 10:
        steps["j9"] = np.array([9])
    found, outcome = apply(move_transposes, between(step, opset=opset, **steps))
    assert ops(found).count("Transpose") == 1
    assert outcome.changes == 1


def test_softmax_before_opset_13_is_of_more_than_one_axis():
    found, _ = apply(move_transposes, between("d = Softmax<axis=2>(c)", opset=12))
    assert ops(found).count("Transpose") == 3


def test_shared_constants_are_forked():
    text = f"""
g (float[1,3,4,4] x, float[1,4,4,3] z, float[3] k) => (float[1,3,4,4] y, float[1,4,4,3] u) {{
  a = {OUT}(x)
  c = Add(a, k)
  y = {IN}(c)
  u = Add(z, k)
}}
"""
    found, _ = apply(move_transposes, model(text, k=numbers(3)))
    assert "Transpose" not in ops(found)
    assert constant(found, "k").shape == (3,)


def test_outputs_on_both_sides():
    text = f"""
g (float[N,4,4,3] x) => (float[N,3,4,4] y, float[N,4,4,3] z, float[N,3,4,4] v) {{
  a = {IN}(x)
  y = Relu(a)
  z = {OUT}(y)
  v = {IN}(z)
}}
"""
    found, _ = apply(move_transposes, model(text))
    assert ops(found).count("Transpose") == 1


def test_input_handed_out_again():
    text = f"g (float[N,4,4,3] x) => (float[N,4,4,3] y) {{ a = {IN}(x) y = {OUT}(a) }}"
    found, _ = apply(move_transposes, model(text))
    assert ops(found) == ["Identity"]


def test_bodies():
    text = f"""
g (float[N,4,4,3] x, bool c) => (float[N,4,4,3] y) {{
  a = {IN}(x)
  r = Relu(a)
  b = {OUT}(r)
  y = If (c) <
    then_branch = t () => (float[N,4,4,3] p) {{ k = {IN}(b) l = Neg(k) p = {OUT}(l) }},
    else_branch = e () => (float[N,4,4,3] q) {{ q = {OUT}(r) }}
  >
}}
"""
    feed = [{"x": numbers(2, 4, 4, 3) - 1, "c": np.array(choice)} for choice in (True, False)]
    found, _ = apply(move_transposes, model(text), feed)
    assert ops(found).count("Transpose") == 2


def test_attention_keeps_its_products():
    text = """
g (float[N,8,2,4] x, float k) => (float[N,2,8,8] y) {
  a = Transpose<perm=[0,2,1,3]>(x)
  b = Mul(a, k)
  c = Transpose<perm=[0,1,3,2]>(b)
  y = MatMul(a, c)
}
"""
    found, outcome = apply(move_transposes, model(text, k=numbers()[()]))
    assert outcome.changes == 0
    assert ops(found).count("Transpose") == 2


def test_transposes_of_other_kinds_take_it_in():
    text = """
g (float[N,8,2,4] x) => (float[N,4,2,8] y) {
  a = Transpose<perm=[0,2,1,3]>(x)
  b = Relu(a)
  y = Transpose<perm=[0,3,1,2]>(b)
}
"""
    found, _ = apply(move_transposes, model(text))
    assert sorted(ops(found)) == ["Relu", "Transpose"]


def test_unknown_rank_and_contradictions_stay():
    text = """
g (float[4,4] x) => (float[4,4] y) {
  a = Transpose<perm=[1,0]>(x)
  y = Add(x, a)
}
"""
    _, outcome = apply(move_transposes, model(text))
    assert outcome.changes == 0
    shapeless = between("d = Relu(c)")
    for node in shapeless.graph:
        node.outputs[0].shape = None
    _, outcome = apply(move_transposes, shapeless)
    assert outcome.changes == 0


@settings(max_examples=40, **FUZZ)
@given(sketches(), st.sampled_from(["N", "2"]))
def test_random_graphs(sketch, batch):
    found, ends = sketch
    before = found.model(ends, batch)
    after, _ = apply(move_transposes, before)
    assert ops(after).count("Transpose") <= ops(before).count("Transpose")


@settings(max_examples=40, **FUZZ)
@given(sketches())
def test_no_labelling_is_cheaper(sketch):
    found, ends = sketch
    before = found.model(ends, "2")
    for order in kinds(before.graph):
        for region in regions(before.graph, order, 17):
            problem, members = priced(region), region.members
            if len(members) > 10:
                continue
            every = itertools.product((0, 1), repeat=len(members))
            best = min(problem.cost(dict(zip(members, sides, strict=True))) for sides in every)
            assert problem.cost(problem.solve()) == best


@settings(max_examples=100, **FUZZ)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(0, 9)] * 2), max_size=20))
def test_cuts(edges):
    network = Network()
    for _ in range(5):
        network.vertex()
    for tail, head, capacity, back in edges:
        network.edge(tail, head, capacity, back)

    def cost(side):
        there = sum(c for t, h, c, _ in edges if side[t] and not side[h])
        return there + sum(b for t, h, _, b in edges if side[h] and not side[t])

    every = ([True, False, *sides] for sides in itertools.product((True, False), repeat=5))
    assert cost(network.cut()) == min(cost(side) for side in every)


def test_a_deep_network():
    lines, value = [], "x"
    for block in range(60):
        lines += [
            f"p{block} = Pad({value}, p)",
            f"a{block} = {IN}(p{block})",
            f"b{block} = Conv(a{block}, w)",
            f"c{block} = {OUT}(b{block})",
            f"d{block} = Add(c{block}, k)",
            f"e{block} = Relu(d{block})",
            f"f{block} = Add(e{block}, {value})",
        ]
        value = f"f{block}"
    lines += [f"m = ReduceMean<axes=[1,2], keepdims=0>({value})", "y = Softmax(m)"]
    text = f"""
g (float[N,4,4,3] x, float[3,3,3,3] w, int64[8] p, float[3] k) => (float[N,3] y) {{
{chr(10).join(lines)}
}}
"""
    amounts = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    before = model(text, w=numbers(3, 3, 3, 3) / 30 - 0.03, p=amounts, k=numbers(3))
    found, _ = apply(move_transposes, before)
    assert ops(found).count("Transpose") == 1


def test_layer_normalization_stays_along_the_last_axis():
    text = f"""
g (float[N,3,4,4] x, float k) => (float[N,3,4,4] y) {{
  a = {OUT}(x)
  m = ReduceMean<axes=[-1]>(a)
  d = Sub(a, m)
  p = Mul(d, d)
  v = ReduceMean<axes=[-1]>(p)
  e = Add(v, k)
  s = Sqrt(e)
  n = Div(d, s)
  y = {IN}(n)
}}
"""
    _, outcome = apply(move_transposes, model(text, k=numbers()[()]))
    assert outcome.changes == 0


def test_a_transpose_that_serves_others_stands_in_front_of_them():
    text = """
g (float[N,4,8] x) => (float[N,8,4] y) {
  r = Relu(x)
  m = ReduceMean<axes=[1]>(r)
  c = Transpose<perm=[0,2,1]>(m)
  a = Transpose<perm=[0,2,1]>(r)
  y = Sub(a, c)
}
"""
    found, outcome = apply(move_transposes, model(text))
    assert outcome.changes == 1
    assert ops(found) == ["Relu", "Transpose", "ReduceMean", "Sub"]
    assert ops(found.clone()) == ops(found)
