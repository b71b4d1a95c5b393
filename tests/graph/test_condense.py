"""Large outputs come out as extrema, sum and an evenly spaced part."""

import graphs
import numpy as np
import pytest

from edgeq.graph.condense import condense, is_large
from edgeq.graph.expose import expose
from edgeq.runtime.session import Session


def model(shape="N,3,H,W"):
    return graphs.build(f"n (float[{shape}] x) => (float[{shape}] z) {{ y = Sin(x) z = Neg(y) }}")


def condensed(built, name="y"):
    exposed = expose(built, [name], keep_outputs=False)
    outputs = list(exposed.model.graph.outputs)
    return exposed.model, condense(exposed.model, outputs, lambda size: (size // 4, 3))[name]


@pytest.mark.parametrize(("start", "step"), [(0, 1), (2, 7), (0, 2**40)])
def test_what_comes_out_is_what_numpy_finds(start, step):
    changed, found = condensed(model())
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    feeds = {"x": x, found.start: np.array([start]), found.step: np.array([step])}
    feeds |= {found.shape: np.array([-1, 15]), found.top: np.array([2])}
    results = Session(changed).run(feeds)
    y = np.sin(x)
    assert results[found.minimum].min() == pytest.approx(y.min())
    assert results[found.maximum].max() == pytest.approx(y.max())
    assert results[found.total] == pytest.approx(y.sum(), rel=1e-5)
    assert results[found.size] == y.size
    np.testing.assert_allclose(results[found.part], y.ravel()[start::step], rtol=1e-6)
    rows = y.reshape(-1, 15)
    by_maximum, by_minimum = np.argsort(rows.max(axis=1)), np.argsort(rows.min(axis=1))
    assert_same_rows(results[found.above], rows[by_maximum[-2:]])
    assert_same_rows(results[found.below], rows[by_minimum[:2]])


def assert_same_rows(found, wanted):
    order = [np.argsort(rows[:, 0]) for rows in (found, wanted)]
    np.testing.assert_allclose(found[order[0]], wanted[order[1]], rtol=1e-6)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("line", "signed"), [("Sin(x)", True), ("Relu(x)", False), ("Clip(x, least)", False)])
def test_stretches_of_a_known_size_need_no_feeds(opset, line, signed):
    built = graphs.build(
        f"n (float[4,6] x) => (float[4,6] y) <float least = {{0}}> {{ y = {line} }}", opset=opset
    )
    changed, found = condensed(built)
    assert (found.shape, found.top) == (None, None)
    assert (found.below is not None) is signed
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    results = Session(changed).run({"x": x, found.start: np.array([0]), found.step: np.array([1])})
    whole = results[found.part].reshape(4, 6)
    assert_same_rows(results[found.above], whole[np.argsort(whole.max(axis=1))[1:]])
    assert results[found.maximum].max() == whole.max()
    assert results[found.minimum].min() == whole.min()


def test_a_known_size_is_told_and_not_computed():
    _, found = condensed(model("2,3,4,5"))
    assert (found.elements, found.size) == (120, None)


def test_the_model_that_was_given_stays():
    built = model()
    expose(built, ["y"])
    assert [o.name for o in built.graph.outputs] == ["z"]


@pytest.mark.parametrize(
    ("shape", "large"),
    [("4,4", False), ("40,40", True), ("N,40", False), ("N,4,H,W", True), ("N", False)],
)
def test_size_goes_by_the_model_alone(shape, large):
    built = model(shape)
    value = next(node for node in built.graph).outputs[0]
    value.shape = built.graph.inputs[0].shape
    value.type = built.graph.inputs[0].type
    assert is_large(value, 1000) is large


def test_only_floats_that_nodes_make_are_large():
    built = graphs.build("n (float[90,90] x) => (double[90,90] z) { z = Cast<to: int = 11>(x) }")
    assert not is_large(built.graph.inputs[0], 1000)
    assert not is_large(built.graph.outputs[0], 1000)
