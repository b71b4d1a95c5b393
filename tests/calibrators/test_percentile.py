import numpy as np
import pytest
from edgeq_calibrators.percentile import Percentile

from edgeq.errors import RecipeError
from edgeq.types import TensorRange


@pytest.mark.parametrize("level", [99.9, 99.0, 75.0])
def test_cuts_each_tail(observe, uint8, context, level):
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    found = Percentile(level=level).range(observe(values), uint8, context)
    low, high = np.percentile(values, [100 - level, level])
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)


def test_level_100_is_everything(observe, uint8, context):
    found = Percentile(level=100.0).range(observe([-7.0, 0.0, 1.0, 1e6]), uint8, context)
    assert found == TensorRange(-7.0, 1e6)


def test_a_relu_keeps_its_zero(observe, uint8, context):
    values = np.maximum(np.random.default_rng(0).standard_normal(10_000), 0)
    found = Percentile().range(observe(values), uint8, context)
    assert found.low == 0.0
    assert 3.0 < found.high < 4.5


def test_a_sparse_value_is_not_cut_to_nothing(observe, uint8, context):
    values = np.zeros(100_000)
    values[:3] = 2.0
    assert Percentile().range(observe(values), uint8, context) == TensorRange(0.0, 2.0)
    values[3] = -1.0
    assert Percentile().range(observe(values), uint8, context) == TensorRange(-1.0, 2.0)


@pytest.mark.parametrize("level", [50.0, 100.1, float("nan")])
def test_refuses_other_levels(level):
    with pytest.raises(RecipeError, match="level"):
        Percentile(level=level)


def test_the_level_can_be_chosen_for_each_value(observe, uint8, context):
    rng = np.random.default_rng(0)
    heavy, even = rng.standard_t(3, 300_000), rng.uniform(-1.0, 1.0, 300_000)
    chosen = [Percentile(level=0.0).range(observe(v), uint8, context) for v in (heavy, even)]
    assert chosen[0].high < 0.9 * heavy.max()
    assert chosen[1].high > 0.97


def test_the_chosen_level_has_the_least_error_of_all(observe, uint8, context):
    values = np.random.default_rng(1).laplace(size=200_000).astype(np.float32)
    statistics = observe(values)

    def error(found):
        step = (found.high - found.low) / 255
        clipped = np.clip(values, found.low, found.high)
        return np.mean((np.rint(clipped / step) * step - values) ** 2)

    levels = (99.0, 99.9, 99.99, 99.999, 99.9999, 100.0)
    each = [error(Percentile(level=n).range(statistics, uint8, context)) for n in levels]
    assert error(Percentile(level=0.0).range(statistics, uint8, context)) <= 1.05 * min(each)
