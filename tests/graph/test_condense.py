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
    return exposed.model, condense(exposed.model, list(exposed.model.graph.outputs))[name]


@pytest.mark.parametrize(("start", "step"), [(0, 1), (2, 7), (0, 2**40)])
def test_what_comes_out_is_what_numpy_finds(start, step):
    changed, found = condensed(model())
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    feeds = {"x": x, found.start: np.array([start]), found.step: np.array([step])}
    results = Session(changed).run(feeds)
    y = np.sin(x)
    assert results[found.minimum] == pytest.approx(y.min())
    assert results[found.maximum] == pytest.approx(y.max())
    assert results[found.total] == pytest.approx(y.sum(), rel=1e-5)
    assert results[found.size] == y.size
    np.testing.assert_allclose(results[found.part], y.ravel()[start::step], rtol=1e-6)


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
