"""Half precision: float16 inside, the interface as it was."""

from collections import Counter

import graphs
import numpy as np
import onnx_ir as ir
import pytest

import edgeq
from edgeq.errors import RecipeError
from edgeq.graph import check, saver
from edgeq.graph.interface import Interface
from edgeq.graph.walk import nodes
from edgeq.quantization.half import convert_to_half
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.runtime.crashing import crashes
from edgeq.runtime.session import Session


def halved(text, recipe=None, opset=17, **constants):
    """The model, its half, and what became of each node."""
    model = graphs.build(text, opset, **constants)
    copy = model.clone()
    recipe = recipe or Recipe()
    decisions = convert_to_half(
        copy, lambda n: "excluded" if recipe.excludes(n.name, n.op_type) else ""
    )
    check.check(copy)
    assert Interface.of(copy) == Interface.of(model)
    return model, copy, {d.node: d for d in decisions}


def far(model, made, sample=None):
    sample = sample or graphs.feeds(model, 1)[0]
    want, got = Session(model).run(sample), Session(made).run(sample)
    assert all(got[name].dtype == want[name].dtype for name in want)
    return max(float(np.abs(want[k] - got[k]).max() / np.abs(want[k]).max()) for k in want)


NET = (
    "n (float[4,64] x) => (float[4,8] y, float[4,64] h) {"
    " [m] h = MatMul(x, w) [r] a = Relu(h) [v] y = MatMul(a, v) }"
)
WEIGHTS = {"w": graphs.numbers(0, 64, 64), "v": graphs.numbers(1, 64, 8)}


def test_weights_are_stored_in_half_and_one_cast_stands_at_each_border():
    model, made, _ = halved(NET, **WEIGHTS)
    assert Counter(n.op_type for n in nodes(made)) == {"MatMul": 2, "Relu": 1, "Cast": 3}
    kinds = {v.const_value.dtype for v in made.graph.initializers.values()}
    assert kinds == {ir.DataType.FLOAT16}
    assert saver.serialized_size(made) < 0.55 * saver.serialized_size(model)
    assert far(model, made) < 2e-3


def test_a_node_that_stays_float_reads_and_hands_on_float():
    model, made, decisions = halved(NET, Recipe(exclude=("r",)), **WEIGHTS)
    assert decisions["r"].form is NodeForm.FLOAT
    relu = next(n for n in nodes(made) if n.op_type == "Relu")
    assert relu.inputs[0].dtype is ir.DataType.FLOAT
    assert far(model, made) < 2e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[o] y = Pow(x, two)", "65504"),
        ("[o] y = ReduceMean<axes=[0], keepdims=0>(x)", "adds up"),
        ("[o] y = Add(x, huge)", "passes 65504"),
        ("[o] y = Add(x, tiny)", "is lost in float16"),
    ],
)
def test_what_float16_cannot_hold_stays_float(text, said):
    model, made, decisions = halved(
        f"n (float[4] x) => (float[k] y) {{ {text} }}", two=np.float32(2),
        huge=np.float32(1e6), tiny=np.float32(1e-12),
    )  # fmt: skip
    assert decisions["o"].form is NodeForm.FLOAT
    assert said in decisions["o"].reason
    assert far(model, made) == 0


def test_a_large_square_does_not_overflow():
    text = (
        "n (float[4,64] x) => (float[4,64] y) { [p] q = Pow(x, two)"
        " [s] m = ReduceMean<axes=[1]>(q) [t] r = Sqrt(m) [d] y = Div(x, r) }"
    )
    model, made, _ = halved(text, two=np.float32(2))
    assert far(model, made, {"x": 1000 * graphs.numbers(2, 4, 64)}) < 2e-3


def test_bodies_compute_in_half_and_hand_over_float():
    text = (
        "n (bool c, float[2,64] x) => (float[2,64] y) { [r] z = Relu(x) y = If (c) <"
        "then_branch = t () => (float[2,64] a) { [inside] a = MatMul(z, w) },"
        "else_branch = e () => (float[2,64] b) { [other] b = Neg(z) }> }"
    )
    model, made, decisions = halved(text, w=graphs.numbers(0, 64, 64))
    assert decisions["inside"].form is NodeForm.HALF
    for taken in (True, False):
        sample = {"c": np.asarray(taken), "x": graphs.numbers(3, 2, 64)}
        assert far(model, made, sample) < 2e-3


def test_integers_stay_as_they_are_and_a_cast_to_float_becomes_one_to_half():
    text = (
        "n (int64[3] i, float[3,8] x) => (float[3,8] y) { [g] h = Gather(t, i)"
        " [c] f = Cast<to=1>(i) [u] k = Unsqueeze(f, one) [a] s = Add(h, k) [b] y = Mul(s, x) }"
    )
    model, made, decisions = halved(text, t=graphs.numbers(0, 9, 8), one=np.asarray([1]))
    assert {d.form for d in decisions.values()} == {NodeForm.HALF}
    sample = {"i": np.asarray([0, 4, 8]), "x": graphs.numbers(1, 3, 8)}
    assert far(model, made, sample) < 2e-3


def test_a_value_that_is_input_and_output_at_once():
    text = "n (float[4] x) => (float[4] y) { [a] y = Identity(x) }"
    model, made, _ = halved(text)
    assert far(model, made) < 1e-3


def test_from_python():
    result = edgeq.quantize(graphs.proto(NET, **WEIGHTS), scheme="fp16", threads=1)
    assert result.passed
    macs = result.report.to_dict()["coverage"]["macs"]
    assert macs["fp16"] > 0
    assert macs["float"] == 0
    with pytest.raises(RecipeError, match="no weights in blocks"):
        edgeq.quantize("missing.onnx", scheme="fp16", block_size=32)


def test_sums_of_what_meets_in_one_place_stay_float32():
    """onnxruntime's CPU provider has no float16 for them, and ends with an error while it runs."""
    model, made, decisions = halved(
        "n (float[6,4] x, int64[6,4] places) => (float[3,4] y) {"
        ' [s] t = ScatterElements<axis=0, reduction="add">(base, places, x) [m] y = Mul(t, t) }',
        base=np.zeros((3, 4), np.float32),
    )
    assert decisions["s"].form is NodeForm.FLOAT
    assert "adds up" in decisions["s"].reason
    assert decisions["m"].form is NodeForm.HALF
    places = np.arange(24).reshape(6, 4) % 3
    assert far(model, made, {"x": graphs.numbers(0, 6, 4), "places": places}) < 2e-3


ACROSS = (
    "n (float[5,3,64] x) => (float[3,5,64] y) {"
    " [r] a = Relu(x) [t] b = Transpose<perm=[1,0,2]>(a) [m] y = MatMul(b, w) }"
)
"""What an RNN or an attention with sequences first puts in front of a layer."""


def test_a_transpose_on_which_onnxruntime_crashes_stays_float32():
    model, made, decisions = halved(ACROSS, w=graphs.numbers(0, 64, 64))
    assert decisions["t"].form is NodeForm.FLOAT
    assert "crashes" in decisions["t"].reason
    assert decisions["m"].form is NodeForm.HALF
    assert not crashes(made)
    assert far(model, made) < 2e-3


@pytest.mark.parametrize(
    ("text", "opset", "why"),
    [
        ("n (float[4,8] x) => (int32[4,8] y) { [n] y = BitCast<to=6>(x) }", 26, "bits"),
        (
            "n (float[2,3,4,4] x) => (float[2,3,4,4] y) { [n] y = MeanVarianceNormalization(x) }",
            17,
            "adds up",
        ),
    ],
    ids=["bits", "normalization"],
)
def test_operators_that_onnxruntime_does_not_load_in_float16_stay_float32(text, opset, why):
    model, made, decisions = halved(text, opset=opset)
    assert why in decisions["n"].reason
    sample = graphs.feeds(model, 1)[0]
    assert np.array_equal(Session(model).run(sample)["y"], Session(made).run(sample)["y"])


def test_trees_stay_float32_and_the_model_needs_no_other_operators():
    """A threshold that float16 moves takes another branch."""
    scaler = ir.node(
        "Scaler",
        [ir.val("x", ir.DataType.FLOAT, [4, 2])],
        {"offset": [0.0, 0.0], "scale": [1.0, 2.0]},
        domain="ai.onnx.ml",
        name="s",
    )
    scaler.outputs[0].name, scaler.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        scaler.inputs, scaler.outputs, nodes=[scaler], opset_imports={"ai.onnx.ml": 3}, name="n"
    )
    model = ir.Model(graph, ir_version=8)
    (decision,) = convert_to_half(model, lambda _: "")
    assert decision.form is NodeForm.FLOAT
    assert len(model.graph) == 1
