"""Scales of weights of the least squared error, channel by channel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeq.quantization import affine
from edgeq.quantization.weight_error import least_error_magnitudes
from edgeq.types import QuantSpec, QuantType

SIGNED = QuantSpec(QuantType.INT8, symmetric=True, axis=0)
REDUCED = QuantSpec(QuantType.INT8, symmetric=True, axis=0, reduce_range=True)
UNSIGNED = QuantSpec(QuantType.UINT8, symmetric=True, axis=0)
SPECS = (SIGNED, REDUCED, UNSIGNED)
FINITE = st.floats(-1e3, 1e3, width=32)


def errors(weight, params):
    back = affine.dequantize(affine.quantize(weight, params), params).astype(np.float64)
    return ((back - weight) ** 2).sum(axis=tuple(range(1, weight.ndim)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 40)), elements=FINITE),
    st.sampled_from(SPECS),
)
def test_never_worse_than_covering_everything(weight, spec):
    covering = errors(weight, affine.params_for_weight(weight, spec))
    found = errors(weight, affine.params_for_weight(weight, spec, least_error=True))
    assert np.all(found <= covering * (1 + 1e-3) + 1e-10 * (weight**2).sum(axis=1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [9, 300, 5000])
def test_within_two_percent_of_a_dense_search(seed, size):
    weight = np.random.default_rng(seed).standard_t(4, (6, size)).astype(np.float32)
    found = errors(weight, affine.params_for_weight(weight, SIGNED, least_error=True))
    greatest = np.abs(weight).max(axis=1)
    scales = [greatest / 127 * part for part in np.linspace(0.3, 1.003, 4000)]
    integers = [np.clip(np.rint(weight / s[:, None]), -128, 127) for s in scales]
    dense = [
        ((weight - q * s[:, None]) ** 2).sum(axis=1) for q, s in zip(integers, scales, strict=True)
    ]
    assert np.all(found <= 1.02 * np.min(dense, axis=0))


def test_reduced_types_are_not_used_beyond_their_ends():
    weight = np.random.default_rng(0).standard_t(3, (16, 500)).astype(np.float32)
    params = affine.params_for_weight(weight, REDUCED, least_error=True)
    assert np.abs(affine.quantize(weight, params)).max() <= REDUCED.qmax


def test_outliers_of_one_channel_are_clipped_and_others_are_not_touched():
    weight = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 100_000)).astype(np.float32)
    weight[0, 0] = 1.2
    magnitudes = least_error_magnitudes(weight, 127, (-128, 127))
    assert magnitudes[0] < 1.1
    assert magnitudes[1] == pytest.approx(1.0, rel=0.01)


def test_axes_zeros_and_whole_tensors():
    weight = np.zeros((3, 2, 5), np.float32)
    weight[:, 1] = np.linspace(-1, 1, 15).reshape(3, 5)
    spec = QuantSpec(QuantType.INT8, symmetric=True, axis=1)
    params = affine.params_for_weight(weight, spec, least_error=True)
    assert params.scale.shape == (2,)
    assert params.scale[0] == 1.0
    whole = QuantSpec(QuantType.INT8, symmetric=True)
    assert affine.params_for_weight(weight, whole, least_error=True).scale.shape == ()
