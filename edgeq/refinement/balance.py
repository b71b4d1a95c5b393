"""Chooses factors for channels so that quantization adds the least noise.

A value v of channels c is rounded to steps of its whole range, so with factors s its channels get
noise ``s_c^2 (A + B)^2 / (12 * 255^2)`` where ``A = max_c high_c / s_c`` and ``B = max_c low_c /
s_c``. A weight that reads it is rounded per output channel o, to steps of
``max_c |W_oc| s_c / 127``, and adds their square / 12, times what the channels then carry,
``E[x_c^2] / s_c^2``. What both add up to at the outputs of the reading layers, relative to their
power, is minimized.

In ``log s`` every term is a product of maxima and sums of exponentials, hence convex: this is a
geometric program. It starts from the best of a few ``s = range^a / weight^(1 - a)`` - a = 1 levels
activations (Meller et al., "Same, Same But Different", ICML 2019), a = 1/2 is the cross-layer
equalization of Nagel et al. (ICCV 2019, section 4.1) and SmoothQuant (Xiao et al., ICML 2023) -
and goes downhill from there with maxima softened to p-norms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.refinement.ties import BoolArray
    from edgeq.types import FloatArray, IntArray

_STEPS = 255.0
_WEIGHT_STEPS = 127.0
_NORM = 12
"""The p of the p-norm that softens maxima."""

_TINY = 1e-300
_ALPHAS = (1.0, 0.85, 0.7, 0.5, 0.3)
_ROUNDS = 48
_CHECK = 8
_RATE = 0.12
LARGEST = float(np.log(64.0))
"""Factors between channels beyond that would let a rare number of a quiet channel saturate."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueNoise:
    """A value that is rounded per tensor.

    Attributes:
        index: Which factor each channel carries, int64 [channels].
        low: Magnitude of the lowest number of each channel, 0 where none is negative.
        high: The highest number of each channel, 0 where none is positive.
        weight: Noise power at the layers that read it per noise power of the channel.
    """

    index: IntArray
    low: FloatArray
    high: FloatArray
    weight: FloatArray

    def exact(self, theta: FloatArray) -> float:
        """Noise at ``log s = theta``."""
        own = theta[self.index]
        ends = (self.high * np.exp(-own)).max() + (self.low * np.exp(-own)).max()
        return float((ends / _STEPS) ** 2 / 12 * (np.exp(2 * own) @ self.weight))

    def gradient(self, theta: FloatArray, into: FloatArray) -> None:
        """Add the softened noise's derivatives to ``into``."""
        own = theta[self.index]
        total, slope = 0.0, np.zeros(own.size)
        for side in (self.high, self.low):
            end, share = _soft_maximum(side * np.exp(-own))
            total += end
            slope -= end * share
        spread = np.exp(2 * own) * self.weight
        derivative = 2 * total * slope * spread.sum() + 2 * total**2 * spread
        np.add.at(into, self.index, derivative / (12 * _STEPS**2))


@dataclass(frozen=True, slots=True, eq=False)
class WeightNoise:
    """A weight that is rounded per output channel.

    Attributes:
        index: Which factor each input channel carries, int64 [groups, inputs].
        magnitude: Largest magnitude of the weights between two channels [groups, outputs, inputs].
        power: Mean square of each input channel times the taps, [groups, inputs].
        weight: What noise power of the output counts.
        raised: Magnitudes relative to the largest of their output, to the power of the norm.
    """

    index: IntArray
    magnitude: FloatArray
    power: FloatArray
    weight: float
    raised: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        rows = np.maximum(self.magnitude.max(axis=2, keepdims=True), _TINY)
        object.__setattr__(self, "raised", (self.magnitude / rows) ** _NORM)

    def exact(self, theta: FloatArray) -> float:
        """Noise at ``log s = theta``."""
        own = np.exp(theta[self.index])
        steps = (self.magnitude * own[:, None, :]).max(axis=2) / _WEIGHT_STEPS
        carried = (self.power / own**2).sum(axis=1)
        return float((steps**2).sum(axis=1) @ carried * self.weight / 12)

    def gradient(self, theta: FloatArray, into: FloatArray) -> None:
        """Add the softened noise's derivatives to ``into``."""
        own = np.exp(theta[self.index])
        factors = own**_NORM
        sums = np.maximum(np.matmul(self.raised, factors[:, :, None])[:, :, 0], _TINY)
        squares = (self.magnitude.max(axis=2) * sums ** (1 / _NORM)) ** 2 * self.weight
        carried = (self.power / own**2).sum(axis=1)
        pulled = factors * np.matmul((squares / sums)[:, None, :], self.raised)[:, 0, :]
        freed = squares.sum(axis=1)[:, None] * self.power / own**2
        slope = 2 * (pulled * carried[:, None] - freed)
        np.add.at(into, self.index, slope / (12 * _WEIGHT_STEPS**2))


Noise = ValueNoise | WeightNoise


def _soft_maximum(numbers: FloatArray) -> tuple[float, FloatArray]:
    """The p-norm of non-negative numbers, and how much each has to do with it."""
    largest = float(numbers.max(initial=0.0))
    if largest == 0.0:
        return 0.0, np.zeros(numbers.size)
    powers = (numbers / largest) ** _NORM
    total = float(powers.sum())
    return largest * total ** (1 / _NORM), powers / total


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """Factors that were found.

    Attributes:
        theta: Their logarithms.
        after: Relative noise with them.
        before: Relative noise without them.
    """

    theta: FloatArray
    after: float
    before: float


def balance(noises: Sequence[Noise], held: BoolArray) -> Balanced:
    """Factors of one connected problem.

    Args:
        noises: All that depends on them.
        held: Which have to be 1, bool [factors].

    Returns:
        The best that was met; no factors where nothing is better.
    """
    theta: FloatArray = np.zeros(held.size)
    before = best = _total(noises, theta)
    ranges, weights = _typical(noises, held.size)
    for alpha in _ALPHAS:
        start = _allowed(_start(ranges, weights, alpha, held), held)
        now = _total(noises, start)
        if now < best:
            best, theta = now, start
    return Balanced(*_downhill(noises, held, theta, best), before)


def _allowed(theta: FloatArray, held: BoolArray) -> FloatArray:
    """The nearest logarithms that factors may have."""
    return np.where(held, 0.0, np.minimum(np.maximum(theta, -LARGEST), LARGEST))


def _total(noises: Sequence[Noise], theta: FloatArray) -> float:
    return sum(noise.exact(theta) for noise in noises)


def _typical(noises: Sequence[Noise], count: int) -> tuple[FloatArray, FloatArray]:
    """Geometric means of the ranges and of the weights' magnitudes behind each factor."""
    logs, seen = np.zeros((2, count)), np.zeros((2, count))
    for noise in noises:
        if isinstance(noise, ValueNoise):
            kind, sizes = 0, np.maximum(noise.low, noise.high)
        else:
            kind, sizes = 1, noise.magnitude.max(axis=1)
        known = sizes > 0
        np.add.at(logs[kind], noise.index[known], np.log(sizes[known]))
        np.add.at(seen[kind], noise.index[known], 1)
    means = np.where(seen > 0, np.exp(logs / np.maximum(seen, 1)), 0.0)
    return means[0], means[1] if seen[1].any() else np.ones(count)


def _start(ranges: FloatArray, weights: FloatArray, alpha: float, held: BoolArray) -> FloatArray:
    """``range^alpha / weight^(1 - alpha)``, such that what stays as it is fits in."""
    known = (ranges > 0) & (weights > 0)
    theta = np.zeros(ranges.size)
    if known.any():
        wanted = alpha * np.log(ranges[known]) - (1 - alpha) * np.log(weights[known])
        fixed = held[known]
        theta[known] = wanted - np.max(wanted[fixed] if fixed.any() else wanted)
    return theta


def _downhill(
    noises: Sequence[Noise], held: BoolArray, theta: FloatArray, best: float
) -> tuple[FloatArray, float]:
    """Adam (Kingma and Ba, ICLR 2015) on the softened noise; what is met is judged exactly."""
    first, second = np.zeros(theta.size), np.zeros(theta.size)
    found = theta
    for count in range(1, _ROUNDS + 1):
        slope = np.zeros(theta.size)
        for noise in noises:
            noise.gradient(theta, slope)
        slope /= max(float(np.abs(slope).max()), _TINY)
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        step = (first / (1 - 0.9**count)) / (np.sqrt(second / (1 - 0.99**count)) + 1e-6)
        theta = _allowed(theta - _RATE * (1 - (count - 1) / _ROUNDS) * step, held)
        if count % _CHECK == 0:
            now = _total(noises, theta)
            if now < best:
                best, found = now, theta
    return found, best
