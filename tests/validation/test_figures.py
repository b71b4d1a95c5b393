"""Figures of values and weights are those of the arrays."""

import graphs
import numpy as np
import pytest

from edgeq.validation.figures import look_at_values, look_at_weight

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def test_extrema_channels_and_rows():
    model = graphs.build(f"{IO} {{ y = Neg(x) z = Abs(y) }}")
    array = graphs.numbers(5, 1, 3, 4, 4)
    array[:, 1] *= 100
    array[0, 2, 0] = 1e-3
    found = look_at_values(model, {"x": None, "y": None}, [{"x": array}, {"x": array / 2}])
    assert found["y"].low == -found["x"].high == pytest.approx(-array.max())
    assert found["x"].reach == pytest.approx(np.abs(array).max())
    reach = np.abs(array).max(axis=(0, 2, 3))
    assert found["x"].channels == pytest.approx((reach[1], np.median(reach)))
    rows = np.abs(array).max(axis=-1).ravel()
    assert found["x"].rows == pytest.approx((rows.max(), np.median(rows)))
    both = np.concatenate([array.ravel(), array.ravel() / 2])
    assert found["x"].rms == pytest.approx(np.sqrt(np.square(both).mean()))
    assert found["x"].bounds is None


def test_what_lies_beyond_the_range():
    model = graphs.build(f"{IO} {{ y = Neg(x) z = Abs(y) }}")
    array = np.full((1, 3, 4, 4), 0.26, np.float32)
    array[0, 0, 0, :3] = 3.0
    (figures,) = look_at_values(model, {"x": (-1.0, 1.0, 0.5)}, [{"x": array}]).values()
    assert figures.beyond == pytest.approx(3 / 48)
    cut, rounded = 3 * 2.0**2, 45 * 0.24**2
    assert figures.cut == pytest.approx(cut / (cut + rounded), rel=1e-3)


def test_what_readers_cannot_tell_apart_does_not_count():
    model = graphs.build(f"{IO} {{ y = Neg(x) z = HardSwish(y) }}")
    samples = [{"x": np.linspace(-9, 9, 48, dtype=np.float32).reshape(1, 3, 4, 4)}]
    assert look_at_values(model, {"y": None}, samples)["y"].low == -3.0


def test_values_that_are_not_computed_or_not_finite_are_missing():
    text = """n (float[1,4] x, bool c) => (float[1,4] z) {
        [choose] z = If (c) <
            then_branch = t () => (float[1,4] a) { a = Neg(x) },
            else_branch = e () => (float[1,4] d) { d = Log(x) }
        >
    }"""
    samples = [{"x": -np.ones((1, 4), np.float32), "c": np.array(i > 0)} for i in range(2)]
    wanted = {"a": None, "d": None}
    assert look_at_values(graphs.build(text), wanted, samples).keys() == {"a"}


def test_weights():
    found = graphs.quantize(
        graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W), target=graphs.UNPADDED
    )
    figures = look_at_weight(found.original, found.model, "c")
    assert figures.name == "w"
    assert 35 < figures.sqnr_db < 60
    rows = W.reshape(3, 3)
    spread = np.abs(rows).max(axis=1) / np.sqrt(np.square(rows).mean(axis=1))
    assert figures.spread == pytest.approx(spread.max(), rel=1e-5)
    assert look_at_weight(found.original, found.original, "c") is None
    assert look_at_weight(found.original, found.model, "nobody") is None
