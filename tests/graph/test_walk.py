"""Walking models with bodies."""

import graphs
import onnx_ir as ir
import pytest

from edgeq.graph import walk

TEXT = """
n (float[2] x, bool c, int64 times) => (float[2] z) {
  [i] z = If(c) <
    then_branch = a () => (float[2] t) {
      [loop] t = Loop(times, c, x) <
        body = l (int64 k, bool on, float[2] s) => (bool more, float[2] next) {
          [same] more = Identity(on) [sin] next = Sin(s) }>
    },
    else_branch = b () => (float[2] e) { [cos] e = Cos(x) }
  >
}"""


@pytest.fixture
def model():
    return graphs.build(TEXT)


def test_every_node_comes_before_those_of_its_bodies(model):
    assert [n.name for n in walk.nodes(model)] == ["i", "loop", "same", "sin", "cos"]


def test_bodies_know_their_owners_and_the_way_up(model):
    owners = walk.bodies(model)
    assert sorted((b.node.name, b.attribute) for b in owners.values()) == [
        ("i", "else_branch"), ("i", "then_branch"), ("loop", "body")
    ]  # fmt: skip
    sin = next(node for node in walk.nodes(model) if node.name == "sin")
    assert [body.node.name for body in walk.path_to(sin.graph, owners)] == ["loop", "i"]
    assert walk.path_to(model.graph, owners) == []


def test_values_of_all_bodies_are_found_by_name(model):
    assert set(walk.values(model)) == {"x", "c", "times", "z", "t", "k", "on", "s", "more",
                                       "next", "e"}  # fmt: skip


def test_names_that_are_missing_are_an_error():
    with pytest.raises(ValueError, match="unnamed value"):
        walk.name_of(ir.Value())
    with pytest.raises(ValueError, match="unnamed node"):
        walk.node_name(ir.Node("", "Sin", []))


@pytest.mark.parametrize(
    ("domain", "op_types", "answer"),
    [("", ("Sin", "Cos"), True), ("ai.onnx", ("Sin",), True), ("mine", ("Sin",), False),
     ("", ("Cos",), False)],
)  # fmt: skip
def test_operators_of_other_domains_are_others(domain, op_types, answer):
    assert walk.is_op(ir.Node(domain, "Sin", []), *op_types) is answer
