import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.lift_doubles import lift_doubles
from edgeq.passes.pipelines import run_pipeline
from edgeq.passes.prepare import prepare
from edgeq.passes.remove_noops import remove_noops

HEAD = "g ({source}[2,8] x, double[8] w, double e, double p) => ({result}[2,8] y) {{ "
RMS = "q = Pow(a, p) m = ReduceMean <axes = [-1]> (q) f = Add(m, e) s = Sqrt(f) d = Div(a, s) "
SAFE = {
    "product": "d = Mul(a, w) ",
    "normalization": RMS,
    "activation": "t = Tanh(a) u = Clip(t) d = Where(k, u, a) ",
}


def island(body, source="float", result="float", to=1, opset=17, **constants):
    text = HEAD.format(source=source, result=result)
    text += f"a = Cast <to = 11> (x) {body} y = Cast <to = {to}> (d) }}"
    given_ = {"w": numbers(8).astype(float), "e": np.float64(1e-6), "p": np.float64(2), **constants}
    if "Where(k" in body:
        text = text.replace("double e", "bool[8] k, double e")
        given_["k"] = np.arange(8) % 2 == 0
    return model(text, opset, **given_)


@pytest.mark.parametrize("body", SAFE.values(), ids=SAFE)
def test_arithmetic_on_float32_is_lifted(body):
    found, outcome = apply(lift_doubles, island(body))
    assert outcome.changes == 1
    run_pipeline(found, (remove_noops,))
    assert "Cast" not in ops(found)
    assert not any(v.dtype is ir.DataType.DOUBLE for n in found.graph for v in n.inputs)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("d = Mul(a, w)", {"w": np.full(8, 1e300)}),
        ("d = Mul(a, w)", {"w": np.full(8, 2.0**24 + 1)}),
        ("d = Mul(a, w)", {"w": np.full(8, 1e-300)}),
        ("d = Mul(a, w)", {"source": "int64"}),
        ("d = Mul(a, w)", {"result": "int64", "to": 7}),
        ("d = Floor(a)", {}),
        ("d = Exp(a)", {}),
        ("d = Sin(a)", {}),
        ("d = Pow(a, p)", {"p": np.float64(9)}),
        ("d = Pow(e, a)", {}),
        ("c = Greater(a, w) d = Where(c, a, w)", {}),
    ],
)
def test_what_may_need_doubles_stays(body, options):
    outcome = lift_doubles(island(body, **options))
    assert not outcome.changes
    assert len(outcome.declined) == 1


@pytest.mark.parametrize("source", ["bool", "int8", "uint16", "float16"])
def test_small_integers_are_float32_numbers(source):
    assert lift_doubles(island("d = Mul(a, w)", source=source)).changes == 1


def test_large_integers_that_float32_holds():
    assert lift_doubles(island("d = Mul(a, w)", w=np.full(8, 2.0**40))).changes == 1


def test_double_outputs_stay():
    text = "g (float[8] x) => (double[8] y) { a = Cast <to = 11> (x) y = Tanh(a) }"
    outcome = lift_doubles(model(text))
    assert not outcome.changes
    assert "output" in outcome.declined[0]


def test_constant_nodes_and_the_pipeline():
    body = "c = Constant <value = double[1] {0.5}> () b = Mul(a, c) d = Add(b, w) "
    done = prepare(island(body))
    assert "Cast" not in ops(done.model)
    found, _ = apply(lift_doubles, island(body))
    assert ops(found).count("Cast") == 2


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["Neg", "Abs", "Tanh", "Sigmoid", "Mul", "Add", "Div", "Max"]),
                min_size=1, max_size=5))  # fmt: skip
def test_chains(steps):
    lines, last = [], "a"
    for number, op in enumerate(steps):
        operands = f"{last}, w" if op in ("Mul", "Add", "Div", "Max") else last
        lines.append(f"v{number} = {op}({operands})")
        last = f"v{number}"
    _, outcome = apply(lift_doubles, island(" ".join(lines) + f" d = Neg({last})"))
    assert outcome.changes == 1
