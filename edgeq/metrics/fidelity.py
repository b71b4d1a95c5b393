"""How close a candidate's output is to the reference's, accumulated sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.types import Array

MAX_DB = 200.0
"""What equal arrays score; float64 sums do not resolve more."""

CLOSE_DB = 30.0
"""A sample that is closer than this counts as being this close: better is not noticed."""

_MIN_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Closeness of one output over all samples.

    Of an output of integers or truth values the elements that differ are the noise: 10 dB are nine
    equal elements in ten. They may be classes already, so that agreement is the fraction of equal
    ones.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio over all elements,
            10 log10(sum(reference^2) / sum((reference - candidate)^2)), in dB, at most 200.
        cosine: Mean over samples of the cosine between the flattened outputs.
        max_abs_error: Largest absolute difference, in the unit of the output.
        top1_agreement: Fraction of rows whose largest element stands at the same place; None for
            outputs without a last axis of at least two elements.
        finite: Whether the candidate made finite numbers wherever the reference did.
        typical_db: Mean over samples of each sample's own SQNR, in dB. Where a few samples tip over
            (another class, another letter) they decide the SQNR over all; this one tells how close
            the others are.
    """

    sqnr_db: float
    cosine: float
    max_abs_error: float
    top1_agreement: float | None
    finite: bool
    typical_db: float = MAX_DB


class FidelityMeter:
    """Accumulates :class:`Fidelity` in constant memory."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._noise = 0.0
        self._cosines: list[float] = []
        self._ratios: list[float] = []
        self._max_error = 0.0
        self._rows = 0
        self._agreeing = 0
        self._finite = True

    def add(self, reference: Array, candidate: Array) -> None:
        """Compare one sample.

        Args:
            reference: Numbers of any shape.
            candidate: Numbers of the same shape; another shape counts as not finite.
        """
        if reference.shape != candidate.shape:
            self._finite = False
            return
        scores = reference.dtype.kind in "fc"
        if not scores:
            self._rows += reference.size
            self._agreeing += int(np.sum(reference == candidate))
            # The distance between two class numbers says nothing: they are equal or not.
            reference, candidate = np.ones(reference.shape), reference == candidate
        want, got = reference.astype(np.float64), candidate.astype(np.float64)
        known = np.isfinite(want)
        self._finite = self._finite and bool(np.isfinite(got[known]).all())
        want, got = np.where(known, want, 0.0), np.where(known & np.isfinite(got), got, 0.0)
        if not want.size:
            return
        error = want - got
        signal, noise = float(np.vdot(want, want)), float(np.vdot(error, error))
        self._signal += signal
        self._noise += noise
        self._ratios.append(min(sqnr_db(signal, noise), CLOSE_DB))
        self._max_error = max(self._max_error, float(np.abs(error).max()))
        norm = math.sqrt(signal * float(np.vdot(got, got)))
        if noise == 0.0:
            self._cosines.append(1.0)
        else:
            self._cosines.append(float(np.vdot(want, got)) / norm if norm else 0.0)
        if scores and want.ndim and want.shape[-1] >= _MIN_CLASSES:
            agree = want.argmax(-1) == got.argmax(-1)
            self._rows += agree.size
            self._agreeing += int(agree.sum())

    def result(self) -> Fidelity:
        """The closeness over everything added; of nothing, it is perfect."""
        return Fidelity(
            sqnr_db=sqnr_db(self._signal, self._noise),
            cosine=float(np.mean(self._cosines)) if self._cosines else 1.0,
            max_abs_error=self._max_error,
            top1_agreement=self._agreeing / self._rows if self._rows else None,
            finite=self._finite,
            typical_db=float(np.mean(self._ratios)) if self._ratios else MAX_DB,
        )


def sqnr_db(signal: float, noise: float) -> float:
    """Ratio of two energies in dB, within +-:data:`MAX_DB`."""
    if noise <= 0.0:
        return MAX_DB
    if signal <= 0.0:
        return -MAX_DB
    return min(max(10 * math.log10(signal / noise), -MAX_DB), MAX_DB)
