"""The arithmetic of affine quantization. Every scale, zero point and integer of edgeq is made here.

Definitions follow QuantizeLinear and DequantizeLinear of the ONNX operator specification:
``integer = saturate(round_half_even(real / scale) + zero_point)`` and
``real = scale * (integer - zero_point)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.quantization.weight_error import least_error_magnitudes
from edgeq.types import QuantParams, QuantType

if TYPE_CHECKING:
    from edgeq.types import Array, FloatArray, IntArray, QuantSpec, TensorRange

SMALLEST_SCALE = float(np.finfo(np.float32).smallest_normal)
"""Scales below this are subnormal in float32, and some chips flush them to zero."""

_FLOAT32_BITS = 24
"""Integers of so many bits are exact in float32."""

_LARGEST_SCALE = float(np.finfo(np.float32).max) / 2**8
"""Keeps a scale times any 8-bit integer finite."""

BIAS_LIMIT = 2**30
"""Largest magnitude of a quantized bias: half of int32, the other half is for the accumulator."""


def params_for_range(bounds: TensorRange, spec: QuantSpec) -> QuantParams:
    """Per-tensor numbers that cover ``bounds`` and represent zero exactly.

    Args:
        bounds: The reals to cover; extended to contain zero, which padding and ReLU need exact.
        spec: Integer type and symmetry. ``spec.axis`` must be None.

    Returns:
        Scale float32 of shape (), zero point int64 of shape ().
    """
    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)
    if spec.symmetric:
        return _symmetric(np.asarray(max(-low, high)), spec)
    least, most = spec.qmin, spec.qmax
    step = max((high - low) / (most - least), SMALLEST_SCALE)
    scale = np.float32(step) if high > low else np.float32(1)
    zero_point = min(max(round(least - low / float(scale)), least), most)
    return QuantParams(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), spec.dtype)


def params_for_weight(weight: Array, spec: QuantSpec, *, least_error: bool = False) -> QuantParams:
    """Symmetric numbers for a constant, per channel where ``spec.axis`` says so.

    Args:
        weight: Float array of any shape.
        spec: Integer type; must be symmetric.
        least_error: Take the scales of the least squared error, which may saturate the greatest
            weights; otherwise all are covered.

    Returns:
        Scale float32 and zero point int64 of shape () or [weight.shape[axis]]; a channel of zeros
        gets scale 1.
    """
    rows = np.asarray(weight)
    if spec.axis is None:
        rows = rows.reshape(1, -1)
    else:
        channels = rows.shape[spec.axis]
        rows = np.moveaxis(rows, spec.axis, 0).reshape(channels, rows.size // max(channels, 1))
    if least_error:
        middle = _middle(spec)
        limits = spec.dtype.qmin - middle, spec.dtype.qmax - middle
        magnitude = least_error_magnitudes(
            rows, spec.qmax - middle, limits, saturate=not spec.reduce_range
        )
    else:
        magnitude = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    return _symmetric(magnitude[0] if spec.axis is None else magnitude, spec)


def _middle(spec: QuantSpec) -> int:
    """The zero point of a symmetric type."""
    return 0 if spec.dtype.signed else (spec.qmax + 1) // 2


def _symmetric(magnitude: FloatArray, spec: QuantSpec) -> QuantParams:
    middle = _middle(spec)
    steps = spec.qmax - middle
    scale = np.where(magnitude > 0, np.maximum(magnitude / steps, SMALLEST_SCALE), 1.0)
    return QuantParams(
        scale.astype(np.float32), np.full(scale.shape, middle, np.int64), spec.dtype, spec.axis
    )


def quantize(real: Array, params: QuantParams) -> IntArray:
    """The integers that QuantizeLinear makes of ``real``, in the type of ``params``.

    Args:
        real: Float array; with ``params.axis`` set, its length along that axis is the scale's.
        params: The affine map.

    Returns:
        An array of ``real``'s shape in ``params.dtype``.
    """
    scale, zero_point = aligned(params, real.ndim)
    limits = params.dtype
    # float32 divides as the operator does, but cannot hold the ends of int32.
    wide = np.float64 if limits.bits > _FLOAT32_BITS else np.float32
    rounded = np.rint(real.astype(wide) / scale.astype(wide))
    if np.any(zero_point):
        rounded = rounded + zero_point
    return np.asarray(np.clip(rounded, limits.qmin, limits.qmax).astype(limits.numpy))


def dequantize(integers: IntArray, params: QuantParams) -> FloatArray:
    """The reals that DequantizeLinear makes of ``integers``: float32 of the same shape."""
    scale, zero_point = aligned(params, integers.ndim)
    return ((integers.astype(np.int64) - zero_point).astype(np.float32) * scale).astype(np.float32)


def aligned(params: QuantParams, ndim: int) -> tuple[FloatArray, IntArray]:
    """Scale and zero point shaped to broadcast against an array of ``ndim`` dimensions."""
    if params.axis is None:
        return params.scale, params.zero_point
    shape = [1] * ndim
    shape[params.axis] = -1
    return params.scale.reshape(shape), params.zero_point.reshape(shape)


def bias_params(input_scale: FloatArray, weight: QuantParams) -> QuantParams:
    """Numbers of a bias: int32, scale = input scale x weight scale, zero point 0.

    Args:
        input_scale: float32, shape (): integer kernels add the bias to the int32 accumulator.
        weight: Numbers of the weight, per tensor or per output channel.

    Returns:
        Numbers of shape () or [channels]; the axis of a bias vector is 0.
    """
    scale = (input_scale.astype(np.float32) * weight.scale.astype(np.float32)).astype(np.float32)
    axis = None if scale.ndim == 0 else 0
    return QuantParams(scale, np.zeros(scale.shape, np.int64), QuantType.INT32, axis)


def weight_scale_for_bias(
    params: QuantParams, weight: Array, bias: Array, input_scale: FloatArray
) -> QuantParams:
    """Raise weight scales so far that no bias overflows int32 at input scale x weight scale.

    A channel of tiny weights with an ordinary bias would otherwise saturate it and shift the
    channel (onnxruntime issue 21000). Its weights get coarser instead; they were negligible
    against the bias. A channel of zero weights gets the finest scale that its bias allows. The
    product of the scales stays a normal float32: a bias over a scale of zero is no number.

    Args:
        params: Numbers of the weight, per tensor or per output channel.
        weight: The weight, in float.
        bias: Float array [channels].
        input_scale: float32, shape ().

    Returns:
        The same numbers, or a copy with some scales changed.
    """
    magnitude = np.abs(bias.astype(np.float64))
    used = np.abs(weight.astype(np.float64))
    if params.axis is None:
        magnitude, used = magnitude.max(initial=0.0), used.max(initial=0.0)
    else:
        others = tuple(i for i in range(weight.ndim) if i != params.axis % weight.ndim)
        used = used.max(axis=others, initial=0.0)
    # Twice the smallest scale, so that rounding the product leaves it a normal number.
    step = np.maximum(magnitude / BIAS_LIMIT, 2 * SMALLEST_SCALE)
    needed = np.clip(step / float(input_scale), SMALLEST_SCALE, _LARGEST_SCALE)
    floor = np.nextafter(needed.astype(np.float32), np.float32(np.inf))
    silent = (used == 0) & (magnitude > 0)
    scale = np.where(silent, floor, np.maximum(params.scale, floor))
    return QuantParams(np.asarray(scale, np.float32), params.zero_point, params.dtype, params.axis)


def covers_clip(params: QuantParams, low: float, high: float) -> bool:
    """Whether quantization alone keeps values inside [low, high].

    True when the representable reals end within half a step of both bounds, so that saturating
    does what Relu or Clip would do, to within the rounding that happens anyway.

    Args:
        params: Per-tensor numbers of the clipped value.
        low: Lower bound; -inf for none.
        high: Upper bound; inf for none.
    """
    scale, zero = float(params.scale), int(params.zero_point)
    # A scale rounded to float32 moves the far end by up to 2**-16 steps.
    half = scale * (0.5 + 2**-15)
    smallest = scale * (params.dtype.qmin - zero)
    largest = scale * (params.dtype.qmax - zero)
    return smallest >= low - half and largest <= high + half
