import numpy as np
import pytest
from edgeq_calibrators.moving_average import MovingAverage

from edgeq.errors import RecipeError
from edgeq.types import TensorRange


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_equals_the_recursion(observe, int8, context, momentum):
    samples = np.random.default_rng(0).standard_normal((40, 100)).astype(np.float32)
    low, high = float(samples[0].min()), float(samples[0].max())
    for sample in samples[1:]:
        low = momentum * low + (1 - momentum) * float(sample.min())
        high = momentum * high + (1 - momentum) * float(sample.max())
    found = MovingAverage(momentum=momentum).range(observe(*samples), int8, context)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_one_unusual_sample_weighs_little(observe, int8, context):
    samples = [np.linspace(-1, 1, 50)] * 30
    samples[15] = np.linspace(-100, 100, 50)
    found = MovingAverage(momentum=0.9).range(observe(*samples), int8, context)
    assert 2.0 < found.high < 4.0


def test_a_constant_stays_exactly_itself(observe, int8, context):
    found = MovingAverage(momentum=0.7).range(observe(*[[0.3]] * 17), int8, context)
    assert found == TensorRange(float(np.float32(0.3)), float(np.float32(0.3)))


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_refuses_other_momenta(momentum):
    with pytest.raises(RecipeError, match="momentum"):
        MovingAverage(momentum=momentum)
