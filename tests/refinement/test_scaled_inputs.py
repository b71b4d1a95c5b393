"""What products read is scaled where that costs nothing, and only there."""

import graphs
import numpy as np
import pytest

from edgeq.graph import check, constants
from edgeq.graph.walk import is_op, node_name
from edgeq.refinement.scaled_inputs import scale_inputs
from edgeq.runtime.session import Session

FACTORS = np.exp(np.linspace(-2, 2, 8))


def scaled(model, choose=lambda nodes: FACTORS):
    """A copy that is scaled, what was told, and what it is asked about together."""
    copy, asked = model.clone(), []

    def chosen(nodes):
        asked.append([node_name(node) for node in nodes])
        return choose(nodes)

    found = scale_inputs(copy, lambda node: is_op(node, "MatMul"), chosen)
    check.check(copy)
    return copy, found, asked


def assert_same(model, copy):
    assert [n.op_type for n in copy.graph] == [n.op_type for n in model.graph]
    for sample in graphs.feeds(model, 2):
        want, got = Session(model).run(sample), Session(copy).run(sample)
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


def weights(model, name):
    node = next(n for n in model.graph if node_name(n) == name)
    return constants.array(node.inputs[1])


MAKERS = {
    "normalization": "y = LayerNormalization<axis=-1>(x, s)",
    "a constant factor": "e = Tanh(x) y = Mul(e, s)",
    "a product": "e = Tanh(x) [before] y = MatMul(e, w)",
    "a product times a gate": (
        "e = Tanh(x) [gate] g = MatMul(e, v) i = Sigmoid(g) h = Mul(g, i)"
        " [before] u = MatMul(e, w) y = Mul(h, u)"
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_all_that_read_a_value_are_scaled_and_its_maker_takes_the_inverse_up(name):
    text = MAKERS[name]
    used = {"s": (8,), "w": (8, 8), "v": (8, 8)}
    given = {n: graphs.numbers(i, *shape) for i, (n, shape) in enumerate(used.items())}
    model = graphs.build(
        f"n (float[1,7,8] x) => (float[1,7,5] z, float[1,7,6] t)"
        f"{{ {text} [one] z = MatMul(y, a) [two] t = MatMul(y, b) }}",
        a=graphs.numbers(5, 8, 5),
        b=graphs.numbers(6, 8, 6),
        **{n: array for n, array in given.items() if f" {n})" in text},
    )
    copy, found, asked = scaled(model, lambda nodes: FACTORS if len(nodes) == 2 else None)
    assert ["one", "two"] in asked
    assert found.nodes == {"one", "two"}
    assert_same(model, copy)
    for each in ("one", "two"):
        np.testing.assert_allclose(
            weights(copy, each), weights(model, each) * FACTORS[:, None], rtol=1e-5
        )
    if "before" in text:
        np.testing.assert_allclose(
            weights(copy, "before"), weights(model, "before") / FACTORS, rtol=1e-5
        )


REFUSED = {
    "Softmax needs": "y = LayerNormalization<axis=-1>(x, s) t = Softmax(y)",
    "leaves the graph": "y = LayerNormalization<axis=-1>(x, s) t = Identity(y)",
    "Tanh hands it over": "k = Mul(x, s) t = Identity(k) y = Tanh(k)",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_where_something_else_wants_the_value_nothing_is_scaled(reason):
    model = graphs.build(
        f"n (float[1,7,8] x) => (float[1,7,5] z, float[1,7,8] t)"
        f"{{ {REFUSED[reason]} [one] z = MatMul(y, a) }}",
        s=graphs.numbers(1, 8),
        a=graphs.numbers(5, 8, 5),
    )
    copy, found, asked = scaled(model)
    assert not asked
    assert not found.nodes
    assert reason in found.declined["one"]
    np.testing.assert_array_equal(weights(copy, "one"), weights(model, "one"))


def test_nothing_changes_where_no_factors_are_chosen():
    model = graphs.build(
        "n (float[1,7,8] x) => (float[1,7,5] z)"
        "{ y = LayerNormalization<axis=-1>(x, s) [one] z = MatMul(y, a) }",
        s=graphs.numbers(1, 8),
        a=graphs.numbers(5, 8, 5),
    )
    copy, found, asked = scaled(model, lambda nodes: None)
    assert asked == [["one"]]
    assert not found.nodes
    np.testing.assert_array_equal(weights(copy, "one"), weights(model, "one"))
