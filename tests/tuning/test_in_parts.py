"""Boxes and scores in one output are judged each by itself."""

import graphs
import numpy as np
import pytest

from edgeq.graph.parts import Part
from edgeq.runtime.paired import References
from edgeq.runtime.session import Session
from edgeq.tuning.in_parts import InParts


def detector(error):
    """Boxes of some hundred pixels beside scores, which the error is added to."""
    return Session(
        graphs.build(
            """n (float[1,2,3] x) => (float[1,4,3] z) {
          b = Mul(x, pixels) s = Sigmoid(x) t = Add(s, e) z = Concat<axis=1>(b, t) }""",
            pixels=np.float32(300),
            e=np.float32(error),
        )
    )


BOXES, SCORES = Part("z", 1, 0, 2, False), Part("z", 1, 2, 4, True)


def in_parts(level, error=0.1):
    """The closeness of a detector whose scores are Sigmoid(level)."""
    reference = InParts(detector(0.0), (BOXES, SCORES), found_only=True)
    feed = {"x": np.full((1, 2, 3), level, np.float32)}
    found = References(reference, [feed]).compare(InParts(detector(error), (BOXES, SCORES)))
    return found.result()


def test_parts_of_an_output_are_judged_each_by_itself():
    found = in_parts(1.0)
    score = 1 / (1 + np.exp(-1))
    assert found["z"].sqnr_db > 60
    assert found["z[0:2]"].sqnr_db == 200.0
    assert found["z[2:4]"].sqnr_db == pytest.approx(20 * np.log10(score / 0.1), abs=1e-3)


def test_scores_of_a_sample_with_nothing_to_find_are_not_judged():
    assert set(in_parts(-9.0)) == {"z", "z[0:2]"}
