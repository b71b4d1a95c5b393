"""Frozen value types that travel between the stages of a quantization run."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
FloatArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
IntArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer]]
Sample: TypeAlias = "Mapping[str, Array]"
"""What the model is fed once: input name -> array, shaped exactly as the model takes it."""


_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32}


class QuantType(enum.Enum):
    """An integer storage type. Named as in the ONNX ``TensorProto`` data types."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"

    @property
    def bits(self) -> int:
        """Width in bits."""
        return _BITS[self.value]

    @property
    def signed(self) -> bool:
        """Whether negative numbers can be stored."""
        return self.value[0] != "u"

    @property
    def qmin(self) -> int:
        """Smallest storable integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest storable integer."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def numpy(self) -> np.dtype[np.integer]:
        """The NumPy dtype of the same width and sign."""
        return np.dtype(self.value)


@dataclass(frozen=True, slots=True, order=True)
class ValueRef:
    """A value (named edge) of the graph. Names are unique over the model, subgraphs included."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class EdgeRef:
    """One use of a value: input number ``input`` of the node called ``node``."""

    node: str
    input: int

    def __str__(self) -> str:
        return f"{self.node}#{self.input}"


Ref: TypeAlias = ValueRef | EdgeRef


@dataclass(frozen=True, slots=True)
class QuantSpec:
    """Observe the value (or read the constant) and choose numbers for it.

    Attributes:
        dtype: Integer type of the quantized value.
        symmetric: Zero maps to the middle of the integer range.
        axis: Channel axis for one scale per channel; None for one scale per tensor.
        reduce_range: Use one bit less than the type has (x86 without VNNI saturates otherwise).
    """

    dtype: QuantType
    symmetric: bool = False
    axis: int | None = None
    reduce_range: bool = False

    @property
    def qmin(self) -> int:
        """Smallest integer used. Symmetric signed types leave out the lowest one."""
        low, high = self._reduced()
        return -high if self.symmetric and self.dtype.signed else low

    @property
    def qmax(self) -> int:
        """Largest integer used."""
        return self._reduced()[1]

    def _reduced(self) -> tuple[int, int]:
        low, high = self.dtype.qmin, self.dtype.qmax
        if not self.reduce_range:
            return low, high
        return (low // 2, high // 2)


@dataclass(frozen=True, slots=True)
class SharedSpec:
    """Take the numbers of another value: the op moves data without computing on it."""

    source: Ref


@dataclass(frozen=True, slots=True)
class FixedSpec:
    """The range is known from the op's definition (Sigmoid, Softmax): nothing to observe."""

    dtype: QuantType
    low: float
    high: float
    symmetric: bool = False


@dataclass(frozen=True, slots=True)
class DerivedSpec:
    """A bias: int32 at scale ``input`` scale times ``weight`` scale, zero point 0."""

    input: Ref
    weight: Ref


Spec: TypeAlias = QuantSpec | SharedSpec | FixedSpec | DerivedSpec


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The real numbers that quantization should cover; outside of it values saturate.

    Attributes:
        low: Lower bound, in the unit of the value.
        high: Upper bound; never below ``low``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"not a range: [{self.low}, {self.high}]")

    def union(self, other: TensorRange) -> TensorRange:
        """The smallest range that covers both."""
        return TensorRange(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, eq=False, slots=True)
class QuantParams:
    """Numbers of the affine map ``real = scale * (integer - zero_point)``.

    Attributes:
        scale: float32, shape () per tensor or [channels] per channel.
        zero_point: int64 of the same shape, within the type's range.
        dtype: Integer type.
        axis: Channel axis of the quantized value; None per tensor.
    """

    scale: FloatArray
    zero_point: IntArray
    dtype: QuantType
    axis: int | None = None

    def same(self, other: QuantParams) -> bool:
        """Whether both map integers to the same reals, bit for bit."""
        return (
            self.dtype is other.dtype
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )
