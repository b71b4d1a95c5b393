"""The objective is the true error, and the search finds its optimum."""

import numpy as np
import pytest
from edgeq_calibrators.mse import MeanSquaredError, expected_error

from edgeq.types import QuantSpec, QuantType, TensorRange

RNG = np.random.default_rng(11)
DATA = {
    "normal": RNG.standard_normal(60_000),
    "laplace": RNG.laplace(size=60_000),
    "heavy-tailed": RNG.standard_t(3, 60_000),
    "relu": np.maximum(RNG.standard_normal(60_000), 0),
    "lognormal": RNG.lognormal(size=60_000),
    "shifted": RNG.laplace(size=60_000) + 1.5,
    "swish": (lambda x: x / (1 + np.exp(-x)))(2 * RNG.standard_normal(60_000)),
    "negative": -RNG.gamma(2.0, size=60_000),
    "bimodal": np.concatenate([RNG.standard_normal(50_000), 30 + RNG.standard_normal(50)]),
}
SPECS = {
    "int8 symmetric": QuantSpec(QuantType.INT8, symmetric=True),
    "uint8": QuantSpec(QuantType.UINT8),
    "uint8 reduced": QuantSpec(QuantType.UINT8, reduce_range=True),
}
CASES = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
VALUES = pytest.mark.parametrize("values", DATA.values(), ids=DATA)


def true_error(values, low, high, spec):
    """Quantize and dequantize each element."""
    low, high = min(low, 0.0), max(high, 0.0)
    if spec.symmetric:
        low, high = -max(-low, high), max(-low, high)
    scale = (high - low) / (spec.qmax - spec.qmin)
    zero = np.clip(np.rint(spec.qmin - low / scale), spec.qmin, spec.qmax)
    integers = np.clip(np.rint(values / scale) + zero, spec.qmin, spec.qmax)
    return float(np.mean((values - (integers - zero) * scale) ** 2))


def brute_force(values, spec):
    """Least true error over a dense grid of both ends."""
    values = values[:: max(values.size // 20_000, 1)] if not spec.symmetric else values
    least, most = min(values.min(), 0.0), max(values.max(), 0.0)
    fractions = np.geomspace(1.0, 1 / 64, 60)
    if spec.symmetric:
        reach = max(-least, most)
        ends = [(-reach * f, reach * f) for f in np.geomspace(1.0, 1 / 64, 400)]
    else:
        lows = [least * f for f in fractions] if least < 0 else [0.0]
        highs = [most * f for f in fractions] if most > 0 else [0.0]
        ends = [(low, high) for low in lows for high in highs]
    errors = [true_error(values[::5], *end, spec) for end in ends]
    best = np.argsort(errors)[:25]
    return min(true_error(values, *ends[k], spec) for k in best), values


@CASES
@VALUES
def test_the_objective_is_the_true_error(observe, values, spec):
    values = values.astype(np.float32).astype(np.float64)
    histogram = observe(values).histogram
    least, most = min(values.min(), 0.0), max(values.max(), 0.0)
    for fraction in (1.0, 0.6, 0.2):
        low, high = least * fraction, most * fraction
        if spec.symmetric:
            low, high = -max(-low, high), max(-low, high)
        found = expected_error(histogram, np.array([low]), np.array([high]), spec)[0]
        assert found == pytest.approx(true_error(values, low, high, spec), rel=0.02)


@CASES
@VALUES
def test_the_range_is_within_two_percent_of_the_optimum(observe, context, values, spec):
    values = values.astype(np.float32).astype(np.float64)
    optimum, values = brute_force(values, spec)
    found = MeanSquaredError().range(observe(values), spec, context)
    assert true_error(values, found.low, found.high, spec) <= 1.02 * optimum


@VALUES
def test_never_worse_than_the_extrema_at_16_bits(observe, context, values):
    spec = QuantSpec(QuantType.INT16, symmetric=True)
    values = values.astype(np.float32).astype(np.float64)
    found = MeanSquaredError().range(observe(values), spec, context)
    assert true_error(values, found.low, found.high, spec) <= 1.02 * true_error(
        values, values.min(), values.max(), spec
    )


def test_normal_data_is_clipped_where_theory_puts_it(observe, int8, context):
    """The optimum of clip and round for a normal density at 8 bits is 3.92 standard deviations."""
    statistics = observe(np.random.default_rng(0).standard_normal(4_000_000))
    found = MeanSquaredError().range(statistics, int8, context)
    assert found.high == pytest.approx(3.92, abs=0.12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_range_scales_with_the_data(observe, int8, context, scale):
    values = np.random.default_rng(0).standard_normal(50_000)
    one = MeanSquaredError().range(observe(values), int8, context)
    found = MeanSquaredError().range(observe(values * scale), int8, context)
    assert found.high == pytest.approx(one.high * scale, rel=0.02)


def test_a_relu_starts_at_zero(observe, uint8, context):
    values = np.maximum(np.random.default_rng(0).standard_normal(50_000), 0)
    assert MeanSquaredError().range(observe(values), uint8, context).low == 0.0


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_a_constant_is_its_own_range(observe, uint8, context, value):
    assert MeanSquaredError().range(observe([value] * 5), uint8, context) == TensorRange(
        value, value
    )


def test_steps_meet_the_grid_of_a_picture(observe, uint8, context):
    pixels = (np.random.default_rng(3).integers(0, 256, 50_000) - 100) / 128
    bounds = MeanSquaredError().range(observe(pixels), uint8, context)
    assert true_error(pixels, bounds.low, bounds.high, uint8) < 1e-10


def test_steps_meet_a_peak(observe, uint8, context):
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.standard_normal(50_000), np.full(10_000, -1.2345)])
    least, values = brute_force(rng.permutation(values), uint8)
    bounds = MeanSquaredError().range(observe(values), uint8, context)
    assert true_error(values, bounds.low, bounds.high, uint8) < 1.02 * least
