"""Runs a model so that its inner values can be observed: small ones whole, large ones condensed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration.subsampling import (
    Tails,
    coprime_stride,
    counted_whole,
    is_divisible,
    stretches,
    stride_in,
)
from edgeq.errors import DataError
from edgeq.graph.condense import Condensed, condense, is_large
from edgeq.graph.expose import expose
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.types import Array, Sample

_WHAT = "the model with its inner values"
_AT_ONCE = 2**24
"""Elements of all large values together that may come out whole where their sizes are unknown."""

_REMEMBERED = 4096
"""Shapes of samples of which the sizes of the values are remembered."""

_ONE_ELEMENT = 2**40
"""A step that takes the first element alone."""


@dataclass(frozen=True, eq=False, slots=True)
class Summary:
    """A large value in one sample, as far as statistics need it.

    Attributes:
        size: Number of elements.
        minima: Elements of which the least is that of all.
        maxima: Elements of which the greatest is that of all.
        total: Sum as the runtime makes it, in float32; finite only if all elements are.
        part: The evenly spaced elements that enter the histogram.
        tails: The stretches with the extremes, which enter it, too.
        by_channel: Whether ``minima`` and ``maxima`` are those of the channels, [..., channels].
    """

    size: int
    minima: Array
    maxima: Array
    total: float
    part: Array
    tails: Tails
    by_channel: bool

    @property
    def extrema(self) -> tuple[float, float]:
        """Exact minimum and maximum."""
        return float(self.minima.min()), float(self.maxima.max())

    @property
    def channels(self) -> tuple[Array, Array] | None:
        """Minima and maxima of the channels, [..., channels]; None where the value has none."""
        return (self.minima, self.maxima) if self.by_channel else None


@dataclass(frozen=True, slots=True)
class Findings:
    """The inner values of one sample.

    Attributes:
        arrays: Whole values by name.
        summaries: Condensed ones by name.
    """

    arrays: Mapping[str, Array]
    summaries: Mapping[str, Summary]


class InnerValues:
    """A model whose inner values come out of every run.

    Args:
        model: Not changed.
        values: Names; inputs, constants and what is inside of loops are left out.
        limit: Elements of a value that enter the histogram at most.
        axes: By name of a value, the axis that counts its channels.
        threads: Threads of the session; 0 lets onnxruntime choose.
    """

    def __init__(
        self,
        model: ir.Model,
        values: Sequence[str],
        limit: int,
        *,
        axes: Mapping[str, int] | None = None,
        threads: int = 0,
    ) -> None:
        self._limit = limit
        # Planning the reuse of buffers takes longer than 32 samples gain by it.
        self._config = SessionConfig(threads, reuse=False)
        self._open_whole: Callable[[], Session] = lambda: Session(
            expose(model, values, keep_outputs=False).model, self._config, what=_WHAT
        )
        self._whole: Session | None = None
        exposed = expose(model, values, keep_outputs=False)
        self._outputs = exposed.outputs
        by_output = {output.name: output for output in exposed.model.graph.outputs}
        large = {
            name: by_output[output]
            for name, output in exposed.outputs.items()
            # What an If hands up may be empty, and the least of nothing is an error.
            if name == output and is_large(by_output[output], counted_whole(limit))
        }
        reduced = condense(
            exposed.model,
            list(large.values()),
            lambda size, within: stretches(size, limit, within),
            axes,
            is_divisible,
        )
        self._condensed, self._small = reduced.condensed, reduced.whole
        known = [one.elements for one in self._condensed.values()]
        self._fixed = tuple(size for size in known if size is not None)
        self._sizes: dict[object, tuple[int, ...]] = {}
        self._usual: int | None = None
        self._planned: tuple[int, ...] | None = None
        self._plan: dict[str, Array] = {}
        self._steps: list[tuple[Condensed, int]] = []
        self._session: Session | None = None
        if exposed.outputs:
            self._session = Session(exposed.model, self._config, what=_WHAT)

    def run(self, index: int, sample: Sample, unwanted: frozenset[str] | set[str]) -> Findings:
        """Run the model once.

        Args:
            index: Of the sample; moves the part of a large value that is looked at.
            sample: What the model is fed.
            unwanted: Names of values that may be left out.

        Raises:
            DataError: The model does not run on the sample.
        """
        if self._session is None:
            return Findings({}, {})
        try:
            results, summaries = self._run(self._session, index, sample)
        except DataError:
            if not self._condensed:
                raise
            # Reducing may fail where the model itself does not: on a value without elements.
            return Findings(self._run_whole(sample, list(self._outputs)), {})
        # NaN may pass the extrema unnoticed, but not the sum, which may also just be too large.
        doubtful = [name for name, found in summaries.items() if not math.isfinite(found.total)]
        arrays = {
            name: results[self._small[output]][0]
            for name, output in self._outputs.items()
            if output in self._small
        }
        if doubtful:
            summaries = {n: s for n, s in summaries.items() if n not in doubtful}
            arrays |= self._run_whole(sample, [name for name in doubtful if name not in unwanted])
        return Findings(arrays, summaries)

    def _run_whole(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        if not names:
            return {}
        if self._whole is None:
            self._whole = self._open_whole()
        results = self._whole.run(sample, [self._outputs[name] for name in names])
        return {name: results[self._outputs[name]] for name in names}

    def _run(
        self, session: Session, index: int, sample: Sample
    ) -> tuple[dict[str, Array], dict[str, Summary]]:
        if not self._condensed:
            return session.run(sample), {}
        key = tuple((name, np.shape(array)) for name, array in sorted(sample.items()))
        known = len(self._fixed) == len(self._condensed)
        sizes = self._fixed if known else self._sizes.get(key)
        if sizes is None and (self._usual is None or self._usual > _AT_ONCE):
            sizes = self._learn(key, self._sizes_in(self._run_by(session, sample, _ONE_ELEMENT)))
        if sizes is not None:
            results = self._run_foreseen(session, sample, sizes, index, sure=known)
            if results is not None and self._sizes_in(results) == sizes:
                return results, self._summaries(results, sizes, index)
        # Sizes that differ for inputs of one shape are not foreseen: everything comes out.
        results = self._run_by(session, sample, 1)
        sizes = self._learn(key, self._sizes_in(results))
        return results, self._summaries(results, sizes, index, whole=True)

    def _run_foreseen(
        self, session: Session, sample: Sample, sizes: Sequence[int], index: int, *, sure: bool
    ) -> dict[str, Array] | None:
        """A run for values of these sizes; None where it fails, and other sizes may be why."""
        feed = {**sample, **self._foreseen(tuple(sizes))}
        for one, size in self._steps:
            step = stride_in(index, max(size, 1), self._limit)
            feed[one.start] = np.array([index % step], np.int64)
            feed[one.step] = np.array([step], np.int64)
        try:
            return session.run(feed)
        except DataError:
            if sure:
                raise
            return None

    def _foreseen(self, sizes: tuple[int, ...]) -> dict[str, Array]:
        """What values of these sizes are condensed by in every sample; most samples are alike."""
        if self._planned == sizes:
            return self._plan
        self._planned, self._plan, self._steps = sizes, {}, []
        for one, size in zip(self._condensed.values(), sizes, strict=True):
            step = coprime_stride(max(size, 1), self._limit)
            length, top = stretches(size, self._limit, one.within)
            # One stretch of all where there is no other: the extrema are still asked for.
            cut = (length, max(top, 1)) if size > counted_whole(self._limit) else None
            self._feed(self._plan, one, 0, step, cut)
            self._steps.append((one, size))
        return self._plan

    def _run_by(self, session: Session, sample: Sample, step: int) -> dict[str, Array]:
        """A run for values of any size."""
        feed = dict(sample)
        for one in self._condensed.values():
            self._feed(feed, one, 0, step, None)
        return session.run(feed)

    @staticmethod
    def _feed(
        feed: dict[str, Array], one: Condensed, start: int, step: int, cut: tuple[int, int] | None
    ) -> None:
        """What one value is condensed by; without a cut its tails stay out."""
        feed[one.start] = np.array([start], np.int64)
        feed[one.step] = np.array([step], np.int64)
        if one.shape is not None and one.top is not None:
            length, top = cut or (one.within or 0, 0)
            feed[one.shape] = np.array([-1, length] if length else [1, -1], np.int64)
            feed[one.top] = np.array([top], np.int64)
            if one.split is not None and one.within is not None:
                feed[one.split] = np.array([-1, one.count, one.within // length], np.int64)

    def _sizes_in(self, results: Mapping[str, Array]) -> tuple[int, ...]:
        return tuple(_size(one, results) for one in self._condensed.values())

    def _learn(self, key: object, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(self._sizes) >= _REMEMBERED:
            self._sizes.clear()
        self._sizes[key] = sizes
        self._usual = sum(sizes)
        return sizes

    def _summaries(
        self,
        results: Mapping[str, Array],
        sizes: Sequence[int],
        index: int,
        *,
        whole: bool = False,
    ) -> dict[str, Summary]:
        """Of each condensed value; the part may still be the whole."""
        found = {}
        for (name, one), size in zip(self._condensed.items(), sizes, strict=True):
            part, stride = _floats(results[one.part]), stride_in(index, max(size, 1), self._limit)
            low, high = results[one.minimum], results[one.maximum]
            if whole or size <= counted_whole(self._limit):
                # What is at hand whole was not cut into stretches.
                tails = Tails.of(part, self._limit, one.within)
                low, high = (low, high) if one.channels else (part, part)
            else:
                tails = _tails(results, one)
            part = part[index % stride :: stride] if whole else part
            total = float(results[one.total])
            found[name] = Summary(size, low, high, total, part, tails, one.channels)
        return found


def _tails(results: Mapping[str, Array], one: Condensed) -> Tails:
    nothing = np.zeros(0, np.float32)
    outputs = (one.below, one.above, one.minima, one.maxima)
    return Tails(*(nothing if name is None else _floats(results[name]) for name in outputs))


def _floats(array: Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)


def _size(one: Condensed, results: Mapping[str, Array]) -> int:
    if one.elements is not None:
        return one.elements
    return int(results[one.size or ""])
