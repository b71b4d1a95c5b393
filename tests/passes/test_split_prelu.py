import numpy as np
import pytest
from pass_graphs import apply, model, ops

from edgeq.passes.split_prelu import split_prelu

TEXT = "g (float[2,3,4] x, float[3,1] s) => (float[2,3,4] y) { y = PRelu(x, s) }"


@pytest.mark.parametrize("slopes", [(0.1, 0.5, 1.0), (-0.5, 0.0, 0.3)])
def test_slopes_up_to_one_become_a_product_and_a_maximum(slopes):
    found, _ = apply(split_prelu, model(TEXT, s=np.array(slopes, np.float32).reshape(3, 1)))
    assert ops(found) == ["Mul", "Max"]


def test_a_steeper_slope_stays():
    steep = np.array([[0.1], [2.0], [0.3]], np.float32)
    _, outcome = apply(split_prelu, model(TEXT, s=steep))
    assert outcome.declined == ("PRelu prelu_0: a slope is above 1",)


def test_a_computed_slope_stays():
    assert apply(split_prelu, model(TEXT))[1].changes == 0
