"""What running a pack on a device showed. One type, whatever the device."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeq.device.runner import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA: Final = 1
"""Version of the JSON document; raised when a key changes its meaning."""


@dataclass(frozen=True, slots=True)
class Worst:
    """Where an output differs most.

    Attributes:
        difference: Absolute, in the unit of the output; infinite where one of both is no number.
        sample: Number of the sample in the pack.
        index: Of the element.
        expected: What it should be.
        got: What it was.
    """

    difference: float
    sample: int
    index: tuple[int, ...]
    expected: float
    got: float


@dataclass(frozen=True, slots=True)
class OutputResult:
    """One output on a device.

    Attributes:
        name: Its name in the model.
        passed: Whether it is within its tolerance.
        kind: Of the tolerance: exact, step, float or flips.
        allowed: How far an element may be off.
        outliers: Fraction of the elements that may be further off.
        beyond: Elements that are.
        worst: The largest difference; None without elements.
        unequal: Elements that are not exactly what was expected.
        elements: All elements, over all samples.
        problem: What is wrong beside numbers: shape or type.
    """

    name: str
    passed: bool
    kind: str
    allowed: float
    worst: Worst | None
    unequal: int
    elements: int
    problem: str | None
    outliers: float = 0.0
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of a run in milliseconds."""

    median_ms: float
    fastest_ms: float
    slowest_ms: float
    runs: int


@dataclass(frozen=True, slots=True)
class KernelCount:
    """How many nodes of an operator ran, and on which provider."""

    op_type: str
    provider: str
    nodes: int


@dataclass(frozen=True, slots=True)
class NodeMicroseconds:
    """Time of a node in one run."""

    name: str
    op_type: str
    provider: str
    microseconds: float


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """The float original on the same device.

    Attributes:
        latency: Its times.
        sqnr_db: Closeness of the model to it per output; None where it says nothing.
    """

    latency: Latency
    sqnr_db: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class DeviceResult:
    """What running a pack on a device showed.

    Attributes:
        device: Its address.
        outputs: One each.
        latency: Times of the model.
        emulated: Whether times and memory say nothing about the real device.
        runtime: Name and version of what ran the model.
        cpu: Machine, system and features of the processor.
        kernels: Operators of the optimized graph that ran; None where the runtime does not tell.
        nodes: Time of every node; None unless asked for, or where the runtime does not tell.
        peak_memory_mb: Largest resident size in MB; None where nobody tells.
        reference: The float original, where it is in the pack.
        notes: What else to know, sentences without a final period.
        model_sha256: Of the model as it was packed, its external data included.
    """

    device: str
    outputs: tuple[OutputResult, ...]
    latency: Latency
    emulated: bool
    runtime: Mapping[str, str]
    cpu: Mapping[str, Any]
    kernels: tuple[KernelCount, ...] | None = None
    nodes: tuple[NodeMicroseconds, ...] | None = None
    peak_memory_mb: float | None = None
    reference: ReferenceResult | None = None
    notes: tuple[str, ...] = field(default=())
    model_sha256: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance."""
        return all(output.passed for output in self.outputs)

    @property
    def failures(self) -> tuple[str, ...]:
        """What is off, one phrase an output."""
        return tuple(_failure(output) for output in self.outputs if not output.passed)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data, ready for JSON."""
        document = {
            "schema": SCHEMA,
            "device": self.device,
            "verdict": "pass" if self.passed else "fail",
            "failures": list(self.failures),
            "outputs": [_output_row(output) for output in self.outputs],
            "latency": {**_latency_row(self.latency), "meaningful": not self.emulated},
            "peak_memory_mb": self.peak_memory_mb,
            "emulated": self.emulated,
            "runtime": dict(self.runtime),
            "cpu": dict(self.cpu),
            "kernels": None
            if self.kernels is None
            else [
                {"op_type": each.op_type, "provider": each.provider, "nodes": each.nodes}
                for each in self.kernels
            ],
            "reference": None if self.reference is None else _reference_row(self.reference),
            "notes": list(self.notes),
        }
        found: dict[str, Any] = plain(document)
        return found

    def profile(self) -> dict[str, Any]:
        """Times of all nodes as plain data: ``edgeq run --profile``."""
        nodes = self.nodes or ()
        return {
            "schema": SCHEMA,
            **({} if self.model_sha256 is None else {"model": {"sha256": self.model_sha256}}),
            "device": self.device,
            "emulated": self.emulated,
            "runtime": dict(self.runtime),
            "cpu": plain(dict(self.cpu)),
            "nodes": [
                {
                    "name": each.name,
                    "op_type": each.op_type,
                    "provider": each.provider,
                    "microseconds": each.microseconds,
                }
                for each in nodes
            ],
        }

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=2)


def outputs_of(rows: Sequence[Mapping[str, Any]]) -> tuple[OutputResult, ...]:
    """Outputs as the runner tells them.

    Raises:
        KeyError: A key is missing.
        TypeError: A value is of another type.
        ValueError: A value is no number.
    """
    return tuple(
        OutputResult(
            name=str(row["name"]),
            passed=row["passed"] is True,
            kind=str(row["tolerance"]["kind"]),
            allowed=float(row["tolerance"]["absolute"]),
            worst=_worst(row["worst"]),
            unequal=int(row["unequal"]),
            elements=int(row["elements"]),
            problem=None if row["problem"] is None else str(row["problem"]),
            outliers=float(row["tolerance"]["outliers"]),
            beyond=int(row["beyond"]),
        )
        for row in rows
    )


def latency_of(row: Mapping[str, Any]) -> Latency:
    """Times as the runner tells them; raises as :func:`outputs_of`."""
    return Latency(
        float(row["median_ms"]),
        float(row["fastest_ms"]),
        float(row["slowest_ms"]),
        int(row["runs"]),
    )


def _worst(row: Mapping[str, Any] | None) -> Worst | None:
    if row is None:
        return None
    return Worst(
        float(row["difference"]),
        int(row["sample"]),
        tuple(int(each) for each in row["index"]),
        float(row["expected"]),
        float(row["got"]),
    )


def _failure(output: OutputResult) -> str:
    if output.problem is not None or output.worst is None:
        return f"{output.name}: {output.problem or 'nothing was compared'}"
    worst = output.worst
    place = "".join(f"[{each}]" for each in worst.index)
    if math.isfinite(worst.difference):
        off = f"off by {worst.difference:.4g} where {output.allowed:.4g} is allowed"
    else:
        off = "not a number"
    told = (
        f"{output.name}{place} of sample {worst.sample} is {worst.got:.6g} instead of "
        f"{worst.expected:.6g}, {off}"
    )
    if not output.outliers:
        return told
    return (
        f"{told}; {output.beyond} of {output.elements} elements are, {output.outliers:.1%} may be"
    )


def _output_row(output: OutputResult) -> dict[str, Any]:
    worst = output.worst
    return {
        "name": output.name,
        "verdict": "pass" if output.passed else "fail",
        "tolerance": {
            "kind": output.kind,
            "absolute": output.allowed,
            "outliers": output.outliers,
        },
        "unequal": output.unequal,
        "beyond": output.beyond,
        "elements": output.elements,
        "problem": output.problem,
        "worst": None
        if worst is None
        else {
            "difference": worst.difference,
            "sample": worst.sample,
            "index": list(worst.index),
            "expected": worst.expected,
            "got": worst.got,
        },
    }


def _latency_row(latency: Latency) -> dict[str, Any]:
    return {
        "median_ms": round(latency.median_ms, 4),
        "fastest_ms": round(latency.fastest_ms, 4),
        "slowest_ms": round(latency.slowest_ms, 4),
        "runs": latency.runs,
    }


def _reference_row(reference: ReferenceResult) -> dict[str, Any]:
    return {
        "latency": _latency_row(reference.latency),
        "outputs": [
            {"name": name, "sqnr_db": decibels} for name, decibels in reference.sqnr_db.items()
        ],
    }
