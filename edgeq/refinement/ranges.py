"""Choosing ranges by what the readers of a value make of it.

Expected error of a value alone does not know what becomes of it: a reader may ignore what lies
beyond some bound, multiply large elements by small weights, or subtract what is almost equal. So
the squared error at the outputs of the readers decides here, each relative to the energy of that
output, with everything but the one value exact. One graph with a side branch for every value, whose
scales and zero points are inputs, tests one candidate of all values at once.

Minimizing the error of a layer's output instead of that of its input is common for weights (Nagel
et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, section 3) and
known for activations (Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient
Inference", ICCVW 2019).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration.inner_errors import InnerErrors
from edgeq.graph import shapes
from edgeq.graph.beside import settle
from edgeq.graph.meters import Meters
from edgeq.graph.rounded import Wanted, add_branches
from edgeq.graph.walk import name_of, nodes, values
from edgeq.quantization import affine
from edgeq.quantization.ranges import choose_ranges
from edgeq.quantization.regions import clip_bounds
from edgeq.quantization.saturation import useful_bounds
from edgeq.types import QuantSpec, SharedSpec, TensorRange, ValueRef

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from edgeq.calibration.contract import Calibrator
    from edgeq.calibration.inner_errors import Energies
    from edgeq.calibration.statistics import Statistics
    from edgeq.graph.rounded import Branches
    from edgeq.quantization.annotate import Annotations
    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Array, QuantParams, Sample

SHRINKING = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Parts of the observed range that are tried beside what calibrators choose."""

NOTICEABLE = 0.02
"""A range has to make the readers' error smaller by this fraction to replace the one there is."""


def candidate_ranges(
    model: ir.Model,
    annotations: Annotations,
    statistics: Mapping[str, Statistics],
    calibrators: Mapping[str, Calibrator],
    shrinking: Sequence[float] = SHRINKING,
) -> dict[str, list[TensorRange]]:
    """What the calibrators choose, each by itself, and parts of the observed range.

    Args:
        model: The annotated model.
        annotations: What is wanted.
        statistics: What was observed, by value name.
        calibrators: Those to ask.
        shrinking: Fractions of the observed range.

    Returns:
        Per observed value, without repetitions.
    """
    known = values(model)
    found: dict[str, list[TensorRange]] = {}
    for name, calibrator in calibrators.items():
        for value, chosen in choose_ranges(
            model, annotations, statistics, {name: calibrator}
        ).items():
            found.setdefault(value, []).append(chosen.bounds)
    for value, ranges in found.items():
        low, high = useful_bounds(known[value])
        low, high = max(statistics[value].minimum, low), min(statistics[value].maximum, high)
        if low < high:
            ranges += [TensorRange(low * part, high * part) for part in shrinking]
    return {value: list(dict.fromkeys(ranges)) for value, ranges in found.items()}


def refine_ranges(
    prepared: ir.Model,
    annotations: Annotations,
    ranges: Mapping[str, TensorRange],
    candidates: Mapping[str, Sequence[TensorRange]],
    samples: Sequence[Sample],
    config: SessionConfig | None = None,
) -> dict[str, TensorRange]:
    """For each observed value the candidate that harms its readers least.

    Args:
        prepared: The float model; not changed.
        annotations: What is wanted. Values with fixed numbers have nothing to choose; those that
            share numbers follow their source, and count among its readers with what reads them.
        ranges: The range that each value has now.
        candidates: What to choose from, by value. A candidate that reaches beyond what an absorbed
            Relu or Clip lets through is passed over.
        samples: What to measure on, all of them for every candidate: few are enough.
        config: How the session is opened.

    Returns:
        ``ranges``, with those replaced for which something noticeably better was found.
    """
    allowed = _allowed(prepared, annotations, ranges, candidates)
    bench = _Bench(prepared, annotations, allowed, config)
    errors: dict[str, list[float]] = {value: [] for value in bench.branches}
    for turn in range(max((len(allowed[value]) for value in errors), default=0)):
        chosen = {value: allowed[value][min(turn, len(allowed[value]) - 1)] for value in errors}
        for value, error in bench.measure(chosen, samples).items():
            errors[value].append(error)
    refined = dict(ranges)
    for value, found in errors.items():
        best = min(range(len(found)), key=lambda turn, found=found: found[turn])  # type: ignore[misc]
        # The first is the one that the value has.
        if found[best] < (1.0 - NOTICEABLE) * found[0]:
            refined[value] = allowed[value][min(best, len(allowed[value]) - 1)]
    return refined


def _allowed(
    model: ir.Model,
    annotations: Annotations,
    ranges: Mapping[str, TensorRange],
    candidates: Mapping[str, Sequence[TensorRange]],
) -> dict[str, list[TensorRange]]:
    """Per value the range that it has, then those candidates that saturate as it must."""
    absorbed = [node for node in nodes(model) if node.name in annotations.absorbed]
    clips = {node.outputs[0].name or "": clip_bounds(node) for node in absorbed}
    found = {}
    for value, now in ranges.items():
        spec, clip = annotations.specs.get(ValueRef(value)), clips.get(value)
        if not isinstance(spec, QuantSpec):
            continue
        fitting = [
            each
            for each in candidates.get(value, ())
            if each != now
            and (clip is None or affine.covers_clip(affine.params_for_range(each, spec), *clip))
        ]
        if fitting:
            found[value] = [now, *fitting]
    return found


class _Bench:
    """The side branches of all values, and one session for all candidates."""

    def __init__(
        self,
        prepared: ir.Model,
        annotations: Annotations,
        wanted: Mapping[str, object],
        config: SessionConfig | None,
    ) -> None:
        model = prepared.clone()
        shapes.infer(model)
        self._specs = annotations.specs
        self.branches = add_branches(model, _wanted(annotations, wanted), annotations.absorbed)
        meters, known = Meters(model), values(prepared)
        for value, branch in self.branches.items():
            if not branch.readers:
                meters.compare((value, 0), branch.reference, branch.rounded)
            for number, reader in enumerate(branch.readers):
                # What the next ones cannot tell apart does not count either.
                within = useful_bounds(known[name_of(reader.reference)])
                meters.compare((value, number), reader.reference, reader.other, within)
        readings = meters.finish()
        settle(model)
        self._errors = InnerErrors(model, readings, config)

    def measure(
        self, ranges: Mapping[str, TensorRange], samples: Sequence[Sample]
    ) -> dict[str, float]:
        """Sum over the readers of the relative squared error; infinite where it is no number."""
        fed: dict[str, Array] = {}
        for value, branch in self.branches.items():
            fed |= _numbers(branch, self._params(value, ranges[value]))
        for sample in samples:
            self._errors.add(sample, fed)
        found = self._errors.take()
        return {value: _relative(value, branch, found) for value, branch in self.branches.items()}

    def _params(self, value: str, bounds: TensorRange) -> QuantParams:
        spec = self._specs[ValueRef(value)]
        if not isinstance(spec, QuantSpec):
            raise ValueError(f"{value} has no numbers of its own")  # noqa: TRY004 - a defect
        return affine.params_for_range(bounds, spec)


def _wanted(annotations: Annotations, observed: Mapping[str, object]) -> list[Wanted]:
    """The observed values and those that share their numbers."""
    found = []
    for ref, spec in annotations.specs.items():
        if not isinstance(ref, ValueRef):
            continue
        source, own = ref, spec
        while isinstance(own, SharedSpec) and isinstance(own.source, ValueRef):
            source, own = own.source, annotations.specs[own.source]
        if source.name not in observed or not isinstance(own, QuantSpec):
            continue
        edges = annotations.readers.get(ref)
        readers = None if edges is None else tuple((edge.node, edge.input) for edge in edges)
        dtype = ir.DataType.from_numpy(own.dtype.numpy)
        found.append(Wanted(ref.name, dtype, readers, source.name))
    return found


def _numbers(branch: Branches, params: QuantParams) -> dict[str, Array]:
    return {
        branch.scale: np.asarray(params.scale, np.float32),
        branch.zero_point: np.asarray(params.zero_point).astype(params.dtype.numpy),
    }


def _relative(value: str, branch: Branches, found: Mapping[Hashable, Energies]) -> float:
    total = 0.0
    for number in range(max(len(branch.readers), 1)):
        error = found[value, number]
        if not math.isfinite(error.noise):
            return math.inf
        if error.signal > 0.0:
            total += error.noise / error.signal
    return total
