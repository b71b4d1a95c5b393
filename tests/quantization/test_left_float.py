"""What is left float beside integers, in float16."""

from collections import Counter
from dataclasses import replace

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.graph import check
from edgeq.graph.interface import Interface
from edgeq.graph.walk import nodes
from edgeq.quantization.left_float import float_notes, left_in_half
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets import TARGETS, target_named

TENSORRT = target_named("tensorrt").with_half_floats()
CPU = target_named("cpu").with_half_floats()

INT8 = """n (float[2,16] x) => (float[2,16] y) {
  [q] i = QuantizeLinear(x, s, z) [d] a = DequantizeLinear(i, s, z)
  [dw] v = DequantizeLinear<axis=1>(w, ws, wz) [m] h = MatMul(a, v) [r] t = Sigmoid(h)
  [f] o = MatMul(t, u) [q2] j = QuantizeLinear(o, s, z) [d2] b = DequantizeLinear(j, s, z)
  [n] y = Add(b, a) }"""
DECISIONS = (
    NodeDecision("m", "MatMul", NodeForm.STATIC),
    NodeDecision("f", "MatMul", NodeForm.FLOAT, "excluded by the recipe"),
)


def constants(**others):
    rng = np.random.default_rng(5)
    return {
        "w": rng.integers(-127, 128, (16, 16)).astype(np.int8),
        "ws": np.full(16, 0.004, np.float32),
        "wz": np.zeros(16, np.int8),
        "s": np.float32(0.03),
        "z": np.int8(0),
        "u": graphs.numbers(1, 16, 16),
        **others,
    }


def narrowed(target, text=INT8, decisions=DECISIONS, opset=19, **others):
    model = graphs.build(text, opset=opset, **constants(**others))
    copy = model.clone()
    found = left_in_half(copy, decisions, target)
    check.check(copy)
    assert Interface.of(copy) == Interface.of(model)
    return model, copy, {d.node: d for d in found}


def error_db(model, made, target):
    config = SessionConfig(1, entries=target.session_entries)
    sample = {"x": graphs.numbers(7, 2, 16)}
    want, got = Session(model, config).run(sample)["y"], Session(made, config).run(sample)["y"]
    return 10 * np.log10(np.sum(want**2) / max(np.sum((want - got) ** 2), 1e-30))


def kinds(model):
    """The type that each node makes, by its name."""
    return {node.name: node.outputs[0].dtype for node in nodes(model)}


HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT


def test_no_cast_parts_a_layer_from_its_pairs():
    model, made, found = narrowed(TENSORRT)
    named = kinds(made)
    assert [named[name] for name in ("d", "dw", "m", "r", "f", "d2")] == [HALF] * 6
    # One for the output of the model; its input is rounded to integers as it is.
    assert Counter(n.op_type for n in nodes(made))["Cast"] == 1
    assert found["m"] == DECISIONS[0]
    assert found["f"].form is NodeForm.HALF
    assert found["f"].reason == "excluded by the recipe; it computes in float16"
    assert error_db(model, made, TENSORRT) > 45


def test_what_floats_read_as_well_is_dequantized_twice():
    model, made, found = narrowed(TENSORRT, u=graphs.numbers(1, 16, 16) * 1e6)
    assert found["f"].form is NodeForm.FLOAT
    assert "float32, not float16: its constant 'u' passes 65504" in found["f"].reason
    twice = narrowed(TENSORRT, text=INT8.replace("Add(b, a)", "Pow(b, a)"))[1]
    readers = {
        node.name: {use.node.name for use in node.outputs[0].uses()}
        for node in nodes(twice)
        if node.op_type == "DequantizeLinear" and node.inputs[0].name == "i"
    }
    assert sorted(map(sorted, readers.values())) == [["m"], ["n"]]
    named = kinds(twice)
    assert {named[name] for name, read in readers.items() if "m" in read} == {HALF}
    assert {named[name] for name, read in readers.items() if "n" in read} == {FLOAT}
    assert error_db(model, made, TENSORRT) > 45


@pytest.mark.parametrize(
    ("others", "opset"),
    [({"ws": np.full(16, 1e-7, np.float32)}, 19), ({"s": np.float32(1e-7)}, 19), ({}, 18)],
)
def test_scales_that_float16_does_not_hold_keep_their_layer_in_float32(others, opset):
    _, made, _ = narrowed(TENSORRT, opset=opset, **others)
    named = kinds(made)
    assert named["m"] is FLOAT
    assert named["dw"] is FLOAT


def test_integers_of_16_bits_keep_float32_around_them():
    wide = {"z": np.uint16(32768), "s": np.float32(0.001)}
    _, made, _ = narrowed(TENSORRT, opset=21, **wide)
    named = kinds(made)
    assert named["d"] is FLOAT
    assert named["q2"] is ir.DataType.UINT16
    assert named["f"] is HALF


def test_what_a_fallback_runs_stays_float32():
    target = replace(TENSORRT, float_operators=frozenset({"Sigmoid"}))
    _, made, found = narrowed(target)
    assert "leaves it to a fallback" in found["f"].reason
    assert kinds(made)["r"] is HALF


def test_where_nothing_computes_float16_weights_of_float_layers_are_stored_in_it():
    model, made, found = narrowed(CPU)
    stored = {name: v.const_value.dtype for name, v in made.graph.initializers.items()}
    assert stored["u_float16"] is HALF
    assert "u" not in stored
    assert stored["ws"] is FLOAT
    assert found["m"] == DECISIONS[0]
    assert found["f"].form is NodeForm.STORED
    assert "its weights are float16, its arithmetic is float32" in found["f"].reason
    assert error_db(model, made, CPU) > 45


@pytest.mark.parametrize("factor", [1e6, 1e-7])
def test_weights_that_float16_does_not_hold_are_stored_as_they_were(factor):
    _, made, found = narrowed(CPU, u=graphs.numbers(1, 16, 16) * np.float32(factor))
    assert "u" in made.graph.initializers
    assert found["f"].form is NodeForm.FLOAT
    assert "float32, not float16: " in found["f"].reason


def test_weights_that_are_a_scale_as_well_stay_float32_as_a_scale():
    text = """n (float[2,256] x) => (float[2,256] y) { [e] g = Gather(ws, k)
      [dw] v = DequantizeLinear<axis=1>(w, ws, wz) [a] b = Add(v, x) [c] y = Mul(b, g) }"""
    model = graphs.build(
        text, opset=19, k=np.zeros(1, np.int64), w=np.ones((2, 256), np.int8),
        ws=np.full(256, 0.004, np.float32), wz=np.zeros(256, np.int8),
    )  # fmt: skip
    left_in_half(model, (), CPU)
    check.check(model)
    scale = next(n for n in nodes(model) if n.name == "dw").inputs[1]
    assert scale.name == "ws"
    assert next(n for n in nodes(model) if n.name == "e").inputs[0].dtype is FLOAT


def test_constants_that_are_no_weights_stay_float32():
    text = "n (float[2,16] x) => (float[2,16] y) { [m] h = MatMul(x, u) [a] y = Add(h, grid) }"
    grid = np.arange(32, dtype=np.float32).reshape(2, 16) * np.ones((8, 1, 1), np.float32)
    model = graphs.build(
        text.replace("float[2,16] y", "float[8,2,16] y"), u=graphs.numbers(1, 16, 16), grid=grid
    )
    left_in_half(model, (), CPU)
    assert model.graph.initializers["grid"].dtype is FLOAT


def test_which_targets_have_a_use_for_it():
    able = {each.name for each in TARGETS if each.with_half_floats() is not None}
    assert {"cpu", "arm64", "wasm", "xnnpack", "tensorrt", "coreml"} <= able
    assert not able & {"qnn-htp", "nnapi", "edge-generic"}


def test_it_is_told():
    found = narrowed(CPU)[2].values()
    assert float_notes(tuple(found)) == (
        "The weights of 1 nodes that are left float are stored as float16",
    )
