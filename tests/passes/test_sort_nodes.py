from pass_graphs import apply, listing, model

from edgeq.passes.sort_nodes import sort_nodes

TEXT = """
g (bool c, float[2] x) => (float[2] y) {
  a = Abs(x)
  b = Neg(a)
  y = If(c) <
    then_branch = p () => (float[2] r) { r = Exp(b) },
    else_branch = q () => (float[2] s) { s = Neg(b) }
  >
}
"""


def test_nodes_move_behind_what_they_read():
    found = model(TEXT)
    order = listing(found)
    first = found.graph[0]
    found.graph.remove(first)
    found.graph.append(first)
    assert sort_nodes(found).changes  # onnx-ir cannot clone a graph out of order
    assert listing(found) == order
    assert sort_nodes(found).changes == 0


def test_an_ordered_graph_stays():
    assert apply(sort_nodes, model(TEXT))[1].changes == 0
