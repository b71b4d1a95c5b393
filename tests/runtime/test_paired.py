"""Two models, the same samples."""

import graphs
import numpy as np
import pytest

from edgeq.errors import ModelError
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session

HEAD = "n (float[2,3] x) => (float[2,3] y, float[2,3] z)"


def session(text, **constants):
    return Session(graphs.build(text, **constants))


def plain():
    return session(f"{HEAD} {{ y = Sin(x) z = Neg(y) }}")


def noisy():
    return session(f"{HEAD} {{ y = Sin(x) n = Neg(y) z = Add(n, k) }}", k=np.float32(0.1))


def samples(count=3):
    return [{"x": graphs.numbers(i, 2, 3)} for i in range(count)]


def test_equal_models_are_perfectly_close():
    found = compare(plain(), plain(), samples())
    assert {name: each.sqnr_db for name, each in found.items()} == {"y": 200.0, "z": 200.0}


def test_each_output_is_judged_over_all_samples():
    found = compare(plain(), noisy(), samples())
    signal = sum(float(np.sum(np.sin(s["x"].astype(np.float64)) ** 2)) for s in samples())
    assert found["y"].sqnr_db == 200.0
    assert found["z"].sqnr_db == pytest.approx(10 * np.log10(signal / (18 * 0.01)), abs=1e-3)
    assert found["z"].max_abs_error == pytest.approx(0.1, abs=1e-6)


def test_samples_are_read_once():
    assert compare(plain(), noisy(), iter(samples()))["z"].sqnr_db < 200


def test_outputs_may_be_paired_by_hand():
    found = compare(plain(), noisy(), samples(), {"both": ("z", "y")})
    assert list(found) == ["both"]
    assert found["both"].cosine == pytest.approx(-1.0)


def test_a_missing_output_is_told():
    other = session("n (float[2,3] x) => (float[2,3] y) { y = Sin(x) }")
    with pytest.raises(ModelError, match=r"no output 'z'.*It has y"):
        compare(plain(), other, samples())


def test_outputs_that_are_no_numbers_are_left_out():
    text = (
        "n (float[2] x, string[1] t) => (float[2] y, string[2] s)"
        " { y = Sin(x) s = Concat<axis=0>(t, t) }"
    )
    sample = {"x": np.ones(2, np.float32), "t": np.array(["a"], object)}
    assert list(compare(session(text), session(text), [sample, sample])) == ["y"]


def classes(head, lines):
    return session(f"n (float[2,3] x) => ({head}) {{ y = Sin(x) {lines} }}")


def test_classes_are_not_judged_by_their_distance_beside_scores():
    head, far = "float[2,3] y, int64[2] i", "n = Neg(y) i = ArgMax<axis=1, keepdims=0>(n)"
    left = classes(head, "i = ArgMax<axis=1, keepdims=0>(y)")
    assert list(compare(left, classes(head, far), samples())) == ["y"]


def test_a_model_that_gives_classes_only_is_judged_by_them():
    left = classes("int64[2] i", "i = ArgMax<axis=1, keepdims=0>(y)")
    assert list(compare(left, left, samples())) == ["i"]
