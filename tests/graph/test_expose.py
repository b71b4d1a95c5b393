"""Inner values come out; the model that was given stays as it is."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.graph.expose import expose, expose_shapes
from edgeq.runtime.session import Session

NESTED = """
n (float[2] x, bool c, bool d) => (float[2] z) {
  y = Sin(x)
  z = If(c) <
    then_branch = a () => (float[2] t) {
      u = Neg(y)
      t = If(d) <
        then_branch = aa () => (float[2] tt) { v = Cos(u) tt = Neg(v) },
        else_branch = ab () => (float[2] te) { te = Identity(u) }
      >
    },
    else_branch = b () => (float[2] e) { e = Cos(x) }
  >
}"""
X = np.float32([0.25, 0.5])


def run(names, *, c, d=False, keep_outputs=True, model=None):
    exposed = expose(model or graphs.build(NESTED), names, keep_outputs=keep_outputs)
    feed = {"x": X, "c": np.array(c), "d": np.array(d)}
    results = Session(exposed.model).run(feed)
    return {name: results[output] for name, output in exposed.outputs.items()}, results


def test_values_of_the_main_graph_and_outputs_come_out():
    found, results = run(["y", "z"], c=False)
    np.testing.assert_allclose(found["y"], np.sin(X), rtol=1e-6)
    assert found["z"] is results["z"]


def test_values_of_branches_come_out_when_they_are_taken():
    found, _ = run(["u", "v", "t", "e", "tt"], c=True, d=True)
    np.testing.assert_allclose(found["v"], np.cos(-np.sin(X)), rtol=1e-6)
    np.testing.assert_allclose(found["tt"], -found["v"])
    np.testing.assert_allclose(found["t"], found["tt"])
    assert found["e"].size == 0


@pytest.mark.parametrize(("c", "d", "there"), [(True, False, {"u"}), (False, False, {"e"})])
def test_values_of_other_branches_are_empty(c, d, there):
    found, _ = run(["u", "v", "e"], c=c, d=d)
    assert {name for name, array in found.items() if array.size} == there


def test_inputs_constants_and_unknown_names_are_skipped():
    model = graphs.build("n (float[2] x) => (float[2] z) { z = Add(x, k) }", k=np.float32(1))
    exposed = expose(model, ["x", "k", "nobody", "z"])
    assert exposed.outputs == {"z": "z"}


def test_values_inside_loops_are_skipped():
    text = """n (float[2] x, int64 times, bool go) => (float[2] z) { z = Loop(times, go, x) <
      body = b (int64 i, bool on, float[2] s) => (bool more, float[2] next) {
        more = Identity(on) next = Sin(s) }> }"""
    assert expose(graphs.build(text), ["next"]).outputs == {}


def test_without_the_outputs_only_what_was_asked_for_is_there():
    exposed = expose(graphs.build(NESTED), ["y"], keep_outputs=False)
    assert [output.name for output in exposed.model.graph.outputs] == ["y"]
    exposed = expose(graphs.build(NESTED), ["y"])
    assert [output.name for output in exposed.model.graph.outputs] == ["z", "y"]


def test_the_model_is_left_as_it_was():
    model = graphs.build(NESTED)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    expose(model, ["y", "u", "v", "tt"])
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_shapes_come_out_in_place_of_values_those_of_branches_too():
    exposed = expose_shapes(graphs.build(NESTED), ["y", "u", "v", "z"])
    results = Session(exposed.model).run({"x": X, "c": np.array(True), "d": np.array(False)})
    shapes = {name: results[output].tolist() for name, output in exposed.outputs.items()}
    assert shapes == {"y": [2], "u": [2], "v": [0], "z": [2]}
    assert set(results) == set(exposed.outputs.values())


def test_a_sequence_has_no_shape_to_come_out():
    model = graphs.build(
        """n (float[4,2] x) => (float[4,2] z) {
          s = SplitToSequence(x)
          z = ConcatFromSequence<axis=0>(s)
        }"""
    )
    model.graph[0].outputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    exposed = expose_shapes(model, ["s", "z"])
    assert set(exposed.outputs) == {"z"}
    found = Session(exposed.model).run({"x": np.zeros((4, 2), np.float32)})
    assert found[exposed.outputs["z"]].tolist() == [4, 2]
