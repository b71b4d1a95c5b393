"""Answers that are recorded first are compared as answers given side by side are."""

import graphs
import numpy as np
from graphs import OPTIMIZED

from edgeq.api import measuring
from edgeq.runtime.paired import compare
from edgeq.runtime.session import Session

TEXT = (
    "n (float[4,8] x) => (float[4,8] y, int64[4,1] place) {"
    " [mm] y = MatMul(x, w) [top] place = ArgMax<axis=1>(y) }"
)


def test_recorded_answers_compare_as_a_session_beside_does(monkeypatch):
    # Less than one answer: the others are spooled to disk.
    monkeypatch.setattr(measuring, "_RECORDED_BYTES", 200)
    one = graphs.build(TEXT, w=graphs.numbers(0, 8, 8))
    other = graphs.build(TEXT, w=graphs.numbers(0, 8, 8) + graphs.numbers(1, 8, 8, scale=0.01))
    samples = graphs.feeds(one, 70)
    answers = measuring.recorded(one, OPTIMIZED, samples)
    assert len(answers) == 70
    found = measuring.compared(answers, Session(other, OPTIMIZED), samples)
    wanted = compare(Session(one, OPTIMIZED), Session(other, OPTIMIZED), samples)
    assert found == wanted
    assert found.keys() == {"y"}
    assert np.isfinite(found["y"].sqnr_db)
