"""Large outputs come out as extrema, sum and an evenly spaced part."""

import json
from itertools import pairwise

import graphs
import numpy as np
import pytest

from edgeq.graph.condense import condense, is_large
from edgeq.graph.expose import expose
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.runtime.session import Session


def model(shape="N,3,H,W"):
    return graphs.build(f"n (float[{shape}] x) => (float[{shape}] z) {{ y = Sin(x) z = Neg(y) }}")


def condensed(built, name="y", axis=None):
    exposed = expose(built, [name], keep_outputs=False)
    outputs = list(exposed.model.graph.outputs)
    channels = {} if axis is None else {name: axis}
    reduced = condense(exposed.model, outputs, lambda size, _: (size // 4, 3), channels)
    return exposed.model, reduced.condensed[name]


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
@pytest.mark.parametrize(
    ("line", "signed"), [("Sin(x)", True), ("Relu(x)", False), ("Clip(x, least)", False)]
)
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


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("axis", "over"), [(0, (1, 2)), (1, 2), (2, (0, 1))])
def test_extrema_of_channels(opset, axis, over):
    built = graphs.build("n (float[N,6,40] x) => (float[N,6,40] y) { y = Sin(x) }", opset=opset)
    infer_shapes(built)
    changed, found = condensed(built, axis=axis)
    assert found.channels
    x = np.random.default_rng(0).standard_normal((2, 6, 40)).astype(np.float32)
    feeds = {"x": x, found.start: np.array([0]), found.step: np.array([1])}
    feeds |= {found.shape: np.array([-1, 40]), found.top: np.array([2])}
    results = Session(changed).run(feeds)
    whole = results[found.part].reshape(x.shape)
    np.testing.assert_array_equal(results[found.minimum], whole.min(axis=over))
    np.testing.assert_array_equal(results[found.maximum], whole.max(axis=over))
    np.testing.assert_array_equal(
        np.sort(results[found.maxima]), np.sort(whole.reshape(-1, 40).max(axis=1))[-2:]
    )


def test_each_value_is_reduced_right_behind_its_node(tmp_path):
    """So it is still in the cache, and freed before the next one."""
    lines = " ".join(f"v{n} = Sin(v{n - 1})" for n in range(1, 9))
    built = graphs.build(f"n (float[1,4,64,64] v0) => (float[1,4,64,64] v8) {{ {lines} }}")
    infer_shapes(built)
    names = [f"v{number}" for number in range(1, 9)]
    exposed = expose(built, names, keep_outputs=False)
    large = [value for value in exposed.model.graph.outputs if value.name != "v4"]
    reduced = condense(exposed.model, large, lambda *_: (64, 3), dict.fromkeys(names, 1))
    assert list(reduced.condensed) == [name for name in names if name != "v4"]
    assert list(reduced.whole) == ["v4"]
    session = Session(exposed.model, profile_prefix=tmp_path / "p")
    one = [np.array([1])] * 14
    feeds = [name for each in reduced.condensed.values() for name in (each.start, each.step)]
    session.run({"v0": np.ones((1, 4, 64, 64), np.float32), **dict(zip(feeds, one, strict=True))})
    events = json.loads(session.end_profiling().read_text())
    ran = [
        (event["ts"], event["args"]["op_name"])
        for event in events
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    ]
    ordered = [name for _, name in sorted(ran)]
    made = [place for place, name in enumerate(ordered) if name == "Sin"]
    between = [ordered[a + 1 : b] for a, b in pairwise([*made, len(ordered)])]
    assert [("ReduceMax" in each, "Slice" in each) for each in between] == [
        (name != "v4", name != "v4") for name in names
    ]


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
