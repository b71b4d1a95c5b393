"""What is foretold from weights is what storing them loses."""

import graphs
import numpy as np
import pytest

import edgeq
from edgeq.weight_only.blocks import BlockSpec
from edgeq.weight_only.methods import quantize_rows, relative_error
from edgeq.weight_only.scheme import DEFAULT_SIZES

TEXT = """n (float[2,96] x) => (float[2,600] y) {
  [first] y = MatMul(x, w)
}"""


def outlook(weights):
    (found,) = edgeq.inspect(graphs.proto(TEXT, w=weights), weights=True).weights
    return found


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_some_rows_tell_of_all(bits):
    weights = graphs.numbers(3, 96, 600) * np.linspace(0.2, 3.0, 600, dtype=np.float32)
    spec = BlockSpec(bits, DEFAULT_SIZES[bits])
    rows = np.ascontiguousarray(weights.T)
    error = relative_error(rows, quantize_rows(rows, spec, "rtn"))
    assert outlook(weights).sqnr_db[f"w{bits}"] == pytest.approx(-10 * np.log10(error), abs=0.3)


def test_normal_weights_stand_out_nowhere_and_zeros_are_exact():
    found = outlook(graphs.numbers(4, 96, 600, scale=0.01))
    assert found.suffers == ()
    assert abs(found.kurtosis) < 0.3
    assert outlook(np.zeros((96, 600), np.float32)).sqnr_db["w4"] == 200.0
