"""Values change hands; the interface stays."""

import graphs
import numpy as np
import onnx_ir as ir
import pytest

from edgeq.graph import rewire
from edgeq.graph.walk import values


def net(text):
    return graphs.build(text)


def test_new_names_are_free_over_all_bodies():
    model = net("""n (float[2] x, bool c) => (float[2] z) { [i] z = If(c) <
        then_branch = a () => (float[2] t) { [one] t = Sin(x) },
        else_branch = b () => (float[2] e) { [two] e = Cos(x) }> }""")
    names = rewire.Names(model)
    assert [names.value(w) for w in ("t", "t", "x", "new", "new")] == [
        "t_1", "t_2", "x_1", "new", "new_1"
    ]  # fmt: skip
    assert [names.node(w) for w in ("two", "three")] == ["two_1", "three"]


@pytest.mark.parametrize("data", [np.float32(3.5), np.zeros((0, 2)), np.arange(6).reshape(2, 3).T])
def test_a_constant_keeps_its_shape_and_type(data):
    model = net("n (float[2] x) => (float[2] z) { z = Sin(x) }")
    value = rewire.add_initializer(model.graph, "k", np.asarray(data))
    np.testing.assert_array_equal(value.const_value.numpy(), data)
    assert tuple(value.shape) == np.shape(data)
    assert model.graph.initializers["k"] is value


def test_taking_the_place_of_an_inner_value_moves_its_readers():
    model = net("n (float[2] x) => (float[2] z) { y = Sin(x) z = Neg(y) }")
    known = values(model)
    rewire.take_place(known["y"], known["x"])
    assert graphs.show(model) == "y = Sin(x)\nz = Neg(x)"


def test_taking_the_place_of_an_output_takes_its_name_too():
    model = net("n (float[2] x) => (float[2] z) { y = Sin(x) z = Neg(y) }")
    known = values(model)
    rewire.take_place(known["z"], known["y"])
    assert [output.name for output in model.graph.outputs] == ["z"]
    assert graphs.show(model) == "z = Sin(x)\nz__y = Neg(z)"


def test_an_output_that_becomes_an_input_goes_through_an_identity():
    model = net("n (float[2] x) => (float[2] z) { z = Neg(x) }")
    known = values(model)
    rewire.take_place(known["z"], known["x"])
    assert [port.name for port in (*model.graph.inputs, *model.graph.outputs)] == ["x", "z"]
    assert graphs.show(model).splitlines()[-1] == "z = Identity(x)"


def test_handing_over_an_output_leaves_other_readers():
    model = net("n (float[2] x) => (float[2] y, float[2] z) { y = Sin(x) z = Neg(y) w = Cos(y) }")
    known = values(model)
    rewire.hand_over_output(known["y"], known["w"])
    assert [output.name for output in model.graph.outputs] == ["y", "z"]
    assert graphs.show(model) == "y__w = Sin(x)\nz = Neg(y__w)\ny = Cos(y__w)"


def test_two_outputs_that_become_one_value_stay_two():
    model = net("n (float[2] x) => (float[2] y, float[2] z) { y = Sin(x) z = Sin(x) }")
    known = values(model)
    rewire.take_place(known["z"], known["y"])
    assert [output.name for output in model.graph.outputs] == ["y", "z"]
    assert graphs.show(model).splitlines()[-1] == "z = Identity(y)"


def test_only_nodes_that_nobody_reads_are_removed():
    model = net("n (float[2] x) => (float[2] z) { y = Sin(x) z = Neg(y) w = Cos(y) }")
    rewire.remove(model.graph[2])
    with pytest.raises(ValueError, match="still"):
        rewire.remove(model.graph[0])
    assert graphs.show(model) == "y = Sin(x)\nz = Neg(y)"


def test_a_removed_if_reads_nothing_any_more():
    model = net("""n (float[2] x, bool c) => (float[2] z) { z = Neg(x) [i] u = If(c) <
        then_branch = a () => (float[2] t) { t = Sin(x) },
        else_branch = b () => (float[2] e) { e = Cos(x) }> }""")
    rewire.remove(model.graph[1])
    assert {use.node.op_type for use in values(model)["x"].uses()} == {"Neg"}


def test_unused_constants_go_but_defaults_of_inputs_stay():
    text = "n (float[2] x) => (float[2] z) { z = Add(x, a) }"
    model = graphs.build(text, a=np.float32(1), b=np.float32(2), c=np.float32(3))
    model.graph.inputs.append(model.graph.initializers["c"])
    assert rewire.drop_unused_initializers(model) == 1
    assert set(model.graph.initializers) == {"a", "c"}


def test_nodes_go_behind_what_they_read():
    model = net("n (float[2] x) => (float[2] z) { y = Sin(x) z = Neg(y) }")
    for anchor, name in (("y", "behind"), ("x", "first")):
        node = ir.node("Cos", [values(model)[anchor]], name=name)
        node.outputs[0].name = name
        rewire.insert_after(values(model)[anchor], [node], model.graph)
    assert [node.outputs[0].name for node in model.graph] == ["first", "y", "behind", "z"]
