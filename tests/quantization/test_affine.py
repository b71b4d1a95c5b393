"""The arithmetic agrees with the ONNX operators bit for bit, and never overflows."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from edgeq.quantization import affine
from edgeq.runtime.session import Session
from edgeq.types import QuantParams, QuantSpec, QuantType, TensorRange

TYPES = (QuantType.UINT8, QuantType.INT8)
BOUND = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=True)
SPECS = st.builds(
    QuantSpec, st.sampled_from(TYPES), symmetric=st.booleans(), reduce_range=st.booleans()
)
SCALES = st.floats(affine.SMALLEST_SCALE, 1e6, width=32, allow_subnormal=False)
MODEST = st.floats(-1e6, 1e6, width=32, allow_subnormal=True)


@st.composite
def ranges(draw):
    low, high = sorted((draw(BOUND), draw(BOUND)))
    return TensorRange(low, high)


@given(ranges(), SPECS)
def test_zero_is_exact(bounds, spec):
    params = affine.params_for_range(bounds, spec)
    zero = affine.quantize(np.zeros(1, np.float32), params)
    assert affine.dequantize(zero, params)[0] == 0.0
    assert spec.qmin <= int(params.zero_point) <= spec.qmax


@given(ranges(), SPECS, st.floats(0, 1))
def test_what_lies_inside_the_range_comes_back_within_half_a_step(bounds, spec, where):
    params = affine.params_for_range(bounds, spec)
    real = np.float32(bounds.low + where * (bounds.high - bounds.low))
    back = affine.dequantize(affine.quantize(real.reshape(1), params), params)[0]
    # Half a step, and what rounding the scale to float32 moves the ends of the range by.
    assert abs(float(back) - float(real)) <= float(params.scale) * (0.5 + 1e-4)


@given(ranges(), SPECS)
def test_scales_are_positive_normal_numbers(bounds, spec):
    scale = float(affine.params_for_range(bounds, spec).scale)
    assert affine.SMALLEST_SCALE <= scale < np.inf


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (1e-30, 2e-30), (-1e-45, 0.0), (-3e38, 3e38)])
@pytest.mark.parametrize("spec", [QuantSpec(QuantType.UINT8), QuantSpec(QuantType.INT8, True)])
def test_degenerate_ranges_have_usable_numbers(bounds, spec):
    params = affine.params_for_range(TensorRange(*bounds), spec)
    assert affine.SMALLEST_SCALE <= float(params.scale) < np.inf
    back = affine.dequantize(affine.quantize(np.array([0.0, *bounds], np.float32), params), params)
    assert np.isfinite(back).all()


def test_a_range_without_zero_is_stretched_to_it():
    params = affine.params_for_range(TensorRange(5.0, 10.0), QuantSpec(QuantType.UINT8))
    assert int(params.zero_point) == 0
    assert float(params.scale) == pytest.approx(10 / 255)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 5)), elements=MODEST),
    st.sampled_from([None, 0, 1, -1]),
)
def test_weights_are_covered_channel_by_channel(weight, axis):
    spec = QuantSpec(QuantType.INT8, symmetric=True, axis=axis)
    params = affine.params_for_weight(weight, spec)
    assert params.scale.shape == (() if axis is None else (weight.shape[axis],))
    assert not np.any(params.zero_point)
    back = affine.dequantize(affine.quantize(weight, params), params)
    steps, _ = affine.aligned(params, weight.ndim)
    assert np.all(np.abs(back - weight) <= steps * (0.5 + 1e-4))


def test_a_channel_of_zeros_gets_scale_one():
    weight = np.array([[0.0, 0.0], [1.0, -2.0]], np.float32)
    params = affine.params_for_weight(weight, QuantSpec(QuantType.INT8, symmetric=True, axis=0))
    np.testing.assert_allclose(params.scale, [1.0, 2 / 127])


def session(kind, params, ndim):
    """QuantizeLinear or DequantizeLinear with these numbers, in onnxruntime."""
    integer = helper.np_dtype_to_tensor_dtype(params.dtype.numpy)
    source, result = (
        (TensorProto.FLOAT, integer) if kind == "QuantizeLinear" else (integer, TensorProto.FLOAT)
    )
    shape = [f"d{i}" for i in range(ndim)]
    attributes = {} if params.axis is None else {"axis": params.axis}
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "s", "z"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", source, shape)],
        [helper.make_tensor_value_info("y", result, shape)],
        [
            onnx.numpy_helper.from_array(params.scale, "s"),
            onnx.numpy_helper.from_array(params.zero_point.astype(params.dtype.numpy), "z"),
        ],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return Session(ir.from_proto(model))


@st.composite
def numbers_and_reals(draw):
    dtype, axis = draw(st.sampled_from(TYPES)), draw(st.sampled_from([None, 0, 1, -1]))
    real = draw(
        arrays.arrays(
            np.float32,
            st.tuples(st.integers(1, 3), st.integers(1, 40)),
            elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
        )
    )
    shape = () if axis is None else (real.shape[axis],)
    scale = draw(arrays.arrays(np.float32, shape, elements=st.floats(2**-10, 2**10, width=32)))
    zero = draw(arrays.arrays(np.int64, shape, elements=st.integers(dtype.qmin, dtype.qmax)))
    if draw(st.booleans()):
        # Halves between two integers: where rounding modes differ.
        real = (np.rint(real % 300) + 0.5).astype(np.float32) * np.float32(scale.flat[0])
    return QuantParams(scale, zero, dtype, axis), real


@settings(max_examples=60, deadline=None)
@given(numbers_and_reals())
def test_both_directions_agree_with_onnxruntime_bit_for_bit(case):
    params, real = case
    integers = affine.quantize(real, params)
    theirs = session("QuantizeLinear", params, real.ndim).run({"x": real})["y"]
    np.testing.assert_array_equal(integers, theirs)
    back = session("DequantizeLinear", params, real.ndim).run({"x": integers})["y"]
    assert affine.dequantize(integers, params).tobytes() == back.tobytes()


def test_int32_saturates_at_its_ends():
    params = QuantParams(np.array(1e-6, np.float32), np.array(0), QuantType.INT32)
    found = affine.quantize(np.array([1e9, -1e9, 1.0], np.float32), params)
    assert found.tolist() == [2**31 - 1, -(2**31), 1_000_000]


@st.composite
def layers(draw):
    channels = draw(st.integers(1, 4))
    weight = draw(
        arrays.arrays(
            np.float32, (channels, 3), elements=st.one_of(st.just(0.0), MODEST, st.just(1e-38))
        )
    )
    bias = draw(arrays.arrays(np.float32, (channels,), elements=st.one_of(st.just(0.0), MODEST)))
    axis = draw(st.sampled_from([0, None]))
    spec = QuantSpec(QuantType.INT8, symmetric=True, axis=axis)
    return weight, bias, spec, np.asarray(draw(SCALES), np.float32)


@given(layers())
def test_no_bias_overflows_int32_whatever_the_scales(layer):
    weight, bias, spec, input_scale = layer
    before = affine.params_for_weight(weight, spec)
    params = affine.weight_scale_for_bias(before, weight, bias, input_scale)
    derived = affine.bias_params(input_scale, params)
    assert np.all(derived.scale >= affine.SMALLEST_SCALE)
    assert np.isfinite(derived.scale).all()
    integers = affine.quantize(bias, derived).astype(np.int64)
    assert np.all(np.abs(integers) <= affine.BIAS_LIMIT + 128)
    error = np.abs(affine.dequantize(integers.astype(np.int32), derived) - bias)
    steps = np.broadcast_to(derived.scale, bias.shape)
    assert np.all(error <= steps * 0.5 + np.abs(bias) * 1e-6)


@given(layers())
def test_scales_are_only_raised_where_a_weight_is_heard(layer):
    weight, bias, spec, input_scale = layer
    before = affine.params_for_weight(weight, spec)
    after = affine.weight_scale_for_bias(before, weight, bias, input_scale)
    heard = np.abs(weight).max(axis=1) > 0 if spec.axis == 0 else np.any(weight)
    assert np.all(np.where(heard, after.scale >= before.scale, True))
    assert after.dtype is before.dtype
    assert after.axis == before.axis


def test_an_ordinary_layer_keeps_its_scales():
    weight, bias = np.ones((2, 3), np.float32), np.array([0.5, -1.0], np.float32)
    before = affine.params_for_weight(weight, QuantSpec(QuantType.INT8, symmetric=True, axis=0))
    after = affine.weight_scale_for_bias(before, weight, bias, np.array(0.02, np.float32))
    assert after.same(before)


def test_a_silent_channel_gets_the_finest_scale_its_bias_allows():
    weight, bias = np.zeros((1, 3), np.float32), np.array([3.0], np.float32)
    before = affine.params_for_weight(weight, QuantSpec(QuantType.INT8, symmetric=True, axis=0))
    after = affine.weight_scale_for_bias(before, weight, bias, np.array(0.5, np.float32))
    derived = affine.bias_params(np.array(0.5, np.float32), after)
    assert affine.dequantize(affine.quantize(bias, derived), derived)[0] == pytest.approx(3.0)
    assert float(derived.scale[0]) < 1e-8


@pytest.mark.parametrize(
    ("bounds", "clip", "covered"),
    [
        ((0.0, 6.0), (0.0, 6.0), True),
        ((-1.0, 1.0), (-1.0, 1.0), True),
        ((-0.7, 1.3), (-0.7, 1.3), True),
        ((0.0, 3.0), (0.0, np.inf), True),
        ((-0.5, 3.0), (0.0, np.inf), False),
        ((0.0, 7.0), (0.0, 6.0), False),
        ((-2.0, 2.0), (-np.inf, 2.0), True),
        ((0.0, 0.0), (0.0, 0.5), False),
    ],
)
def test_covers_clip_tells_whether_saturating_is_clipping(bounds, clip, covered):
    params = affine.params_for_range(TensorRange(*bounds), QuantSpec(QuantType.UINT8))
    assert affine.covers_clip(params, *clip) is covered


@given(st.floats(-100, 0, width=32), st.floats(2**-7, 100, width=32))
def test_a_range_chosen_inside_a_clip_is_covered_by_it(low, high):
    params = affine.params_for_range(TensorRange(low, high), QuantSpec(QuantType.UINT8))
    assert affine.covers_clip(params, low, high)
