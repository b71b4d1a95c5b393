"""The largest magnitudes of values, over samples of whatever shapes."""

import graphs
import numpy as np
import pytest

from edgeq.quantization.magnitudes import magnitudes

NET = "n (float[a] x, float[a] z) => (float[a] y) { u = Neg(x) v = Log(z) y = Add(u, v) }"


def test_inputs_and_inner_values_are_watched_and_infinite_ones_are_missing():
    samples = [
        {"x": np.array([1.0, -7.0], np.float32), "z": np.array([1.0, 0.0], np.float32)},
        {"x": np.array([3.0, 5.0, 6.0], np.float32), "z": np.ones(3, np.float32)},
    ]
    found = magnitudes(graphs.build(NET), ["x", "u", "v"], samples)
    assert found == {"x": pytest.approx(7.0), "u": pytest.approx(7.0)}
