"""How much of the noise at the outputs each single rounding makes: measured, one at a time."""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph.expose import expose
from edgeq.graph.parts import MOVING, unlike_operands
from edgeq.graph.walk import is_op, name_of
from edgeq.quantization.switched import Kind, with_switches
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.quantization.switched import Switched
    from edgeq.types import Array, Ref, Sample

_NORMALIZING = ("Softmax", "LogSoftmax")
_SATURATING = (*_NORMALIZING, "Sigmoid", "HardSigmoid", "Tanh", "Clip", "ArgMax")

_NEGLIGIBLE = 1e-20
_SMALL = 0.02
"""Share of the noise below which it does not matter who makes it."""

_SECONDS = 60.0
"""How long is looked for who makes it, about; what is not told apart by then stays together."""

_LEAST_NOISES = 64
"""Groups of roundings that there should be time to measure: rather than fewer, fewer samples."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """Noise relative to the signal, as ratios of energies, of the worst output.

    Attributes:
        alone: By rounding: with this one on and all others off. Roundings that make little are
            measured several at a time.
        together: With all weights rounded, and with all activations, added up: roundings err
            independently of each other.
    """

    alone: Mapping[Ref, float]
    together: float

    def share(self, refs: Iterable[Ref]) -> float:
        """The part, 0 to 1, that some of the roundings have in the sum of all."""
        total = sum(self.alone.values())
        return sum(self.alone.get(ref, 0.0) for ref in set(refs)) / max(total, _NEGLIGIBLE)


def measure_contributions(
    base: ir.Model,
    adjusted: ir.Model,
    plan: QuantPlan,
    samples: Sequence[Sample],
    *,
    threads: int = 0,
) -> Contributions:
    """Run the model on the samples again and again, each time with other roundings.

    Weights and activations have a model each: constant weights run faster.

    The noisiest are told apart first, for a minute at most.

    Where an output saturates (Softmax, Sigmoid...) the noise is taken in front of that: behind it,
    all depends on whether one of the few samples happens to tip over. In front of a Softmax errors
    count as far as they change probabilities: twice the Kullback-Leibler divergence to second
    order, the variance of the errors under those.

    Args:
        base: The float model.
        adjusted: The same with the weights and biases that are rounded.
        plan: The roundings.
        samples: A few.
        threads: Threads of the session; 0 lets onnxruntime choose.
    """
    decisive = dict(found for output in base.graph.outputs for found in _decisive(output))
    benches: list[_Bench] = []
    for kind in Kind:
        switched = with_switches(base, adjusted, plan, (kind,))
        watched = [switched.behind.get(name, name) for name in decisive]
        exposed = expose(switched.model, watched, keep_outputs=False)
        if exposed.outputs and switched.switches:
            session = Session(exposed.model, SessionConfig(threads))
            axes = {switched.behind.get(name, name): axis for name, axis in decisive.items()}
            benches.append(_Bench(session, switched, samples, axes))
            samples = benches[0].samples
    start = time.perf_counter()
    groups = [_Group(bench, bench.refs, bench.noise(bench.refs)) for bench in benches]
    together = sum(group.noise for group in groups)
    alone = _divide(groups, _SMALL * together, lambda: time.perf_counter() - start < _SECONDS)
    return Contributions(alone, together)


@dataclass(frozen=True, slots=True)
class _Group:
    """Roundings that were measured together."""

    bench: _Bench
    refs: tuple[Ref, ...]
    noise: float

    def halves(self) -> Iterator[_Group]:
        """Both halves, measured."""
        middle = len(self.refs) // 2
        for half in (self.refs[:middle], self.refs[middle:]):
            yield _Group(self.bench, half, self.bench.noise(half))


def _divide(
    groups: Iterable[_Group], small: float, goes_on: Callable[[], bool]
) -> dict[Ref, float]:
    """Find the noisy ones by halving: what little a quiet group makes is shared out evenly.

    The noisiest comes next, so that most is known when time is up.
    """
    count = itertools.count()
    alone: dict[Ref, float] = {}
    heap = [(-group.noise, next(count), group) for group in groups]
    heapq.heapify(heap)
    while heap:
        _, _, group = heapq.heappop(heap)
        if len(group.refs) > 1 and group.noise > small and goes_on():
            for half in group.halves():
                heapq.heappush(heap, (-half.noise, next(count), half))
        else:
            alone |= dict.fromkeys(group.refs, group.noise / max(len(group.refs), 1))
    return alone


def _decisive(output: ir.Value) -> Iterator[tuple[str, int | None]]:
    """Names of the values in front of what only squashes or moves them on the way to an output.

    Each with the axis over which a Softmax makes probabilities of it, None in front of all else.
    Probabilities and other numbers that are put side by side are two values.
    """
    value = output
    while (node := value.producer()) is not None and is_op(node, *_SATURATING, *MOVING, "Concat"):
        if is_op(node, "Concat"):
            if not unlike_operands(node):
                break
            for operand in node.inputs:
                yield from () if operand is None else _decisive(operand)
            return
        source = node.inputs[0]
        if source is None or source.is_graph_input() or source.is_initializer():
            break
        if is_op(node, *_NORMALIZING):
            yield name_of(source), node.attributes.get_int("axis", -1)
            return
        value = source
    yield name_of(value), None


class _Bench:
    """Runs the switched model and compares it with itself, all roundings off.

    Attributes:
        refs: What can be switched.
        samples: Those that it runs on: of slow models fewer than were given.
    """

    def __init__(
        self,
        session: Session,
        switched: Switched,
        samples: Sequence[Sample],
        axes: Mapping[str, int | None],
    ) -> None:
        self._axes = axes
        self.refs = tuple(switched.switches)
        self._session = session
        self._switched = switched
        self._exact: list[dict[str, Array]] = []
        start = time.perf_counter()
        for sample in samples:
            spent = time.perf_counter() - start
            if self._exact and _LEAST_NOISES * (spent + spent / len(self._exact)) > _SECONDS:
                break
            self._exact.append(self._run(sample, ()))
        self.samples = samples[: len(self._exact)]

    def noise(self, on: Iterable[Ref]) -> float:
        """Mean over the samples of the noise of the worst output."""
        chosen = tuple(on)
        found = []
        for sample, exact in zip(self.samples, self._exact, strict=True):
            got = self._run(sample, chosen)
            ratios = [_noise(exact[name], got[name], self._axes.get(name)) for name in exact]
            found.append(max(ratios, default=0.0))
        return float(np.mean(found)) if found else 0.0

    def _run(self, sample: Sample, on: Iterable[Ref]) -> dict[str, Array]:
        found = self._session.run({**sample, **self._switched.feed(on)})
        # An output may also be a sequence.
        return {n: a for n, a in found.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}


def _noise(exact: Array, got: Array, axis: int | None) -> float:
    """Energy of the errors by that of the signal; of probabilities, their divergence a row."""
    if exact.shape != got.shape:
        return 1.0
    want, error = exact.astype(np.float64), got.astype(np.float64) - exact.astype(np.float64)
    known = np.isfinite(want) & np.isfinite(error)
    if axis is not None and known.all() and want.size:
        return _variance(want, error, axis)
    signal, noise = float(np.sum(want[known] ** 2)), float(np.sum(error[known] ** 2))
    return noise / signal if signal > 0.0 else float(noise > 0.0)


def _variance(logits: Array, errors: Array, axis: int) -> float:
    """Mean over the rows of the variance of errors under the probabilities of the logits."""
    odds = np.exp(logits - logits.max(axis, keepdims=True))
    odds /= odds.sum(axis, keepdims=True)
    mean = (odds * errors).sum(axis, keepdims=True)
    return float((odds * (errors - mean) ** 2).sum(axis).mean())
