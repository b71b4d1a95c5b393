"""Reads what devices tell: documents of strangers, believed as far as they have the right form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.device.result import (
    DeviceResult,
    KernelCount,
    NodeMicroseconds,
    ReferenceResult,
    latency_of,
    outputs_of,
)
from edgeq.device.runner import kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.device.devices import Device


def result_of(device: Device, document: Mapping[str, Any]) -> DeviceResult:
    """A result as our runner tells it.

    Raises:
        KeyError: A key is missing.
        TypeError: A value is of another type.
        ValueError: A value is no number.
        AttributeError: A value is no object.
    """
    peak, reference = document["peak_memory_mb"], document["reference"]
    return DeviceResult(
        device=device.address.text,
        outputs=outputs_of(document["outputs"]),
        latency=latency_of(document["latency"]),
        emulated=device.emulated,
        runtime={str(key): str(each) for key, each in document["runtime"].items()},
        cpu=_processor(device, document["cpu"]),
        kernels=_kernels(document["kernels"]),
        nodes=_nodes(document["nodes"]),
        peak_memory_mb=None if peak is None else float(peak),
        reference=None if reference is None else _reference(reference),
    )


def _kernels(rows: Any) -> tuple[KernelCount, ...] | None:
    if rows is None:
        return None
    return tuple(
        KernelCount(str(row["op_type"]), str(row["provider"]), int(row["nodes"])) for row in rows
    )


def _nodes(rows: Any) -> tuple[NodeMicroseconds, ...] | None:
    if rows is None:
        return None
    return tuple(
        NodeMicroseconds(
            str(row["name"]), str(row["op_type"]), str(row["provider"]), float(row["microseconds"])
        )
        for row in rows
    )


def in_our_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a program tells of its runs, in the words of our runner; raises as :func:`result_of`."""
    times = sorted(1e3 * float(each) for each in document["seconds"])
    if not times:
        raise ValueError("no run was timed")
    return {
        "latency": {
            "median_ms": float(np.median(times)),
            "fastest_ms": times[0],
            "slowest_ms": times[-1],
            "runs": len(times),
        },
        "runtime": document["runtime"],
        "peak_memory_mb": document.get("peak_memory_mb"),
        "cpu": document.get("cpu") or {},
        "kernels": None if document.get("nodes") is None else kernels(document["nodes"]),
        "nodes": document.get("nodes"),
        "reference": None,
    }


def _processor(device: Device, told: dict[str, Any]) -> dict[str, Any]:
    emulated = {} if device.processor is None else {"emulated": device.processor}
    features = [str(each) for each in told.get("features") or []]
    return {
        "machine": str(told.get("machine", "")),
        "system": str(told.get("system", "")),
        "features": features,
        **emulated,
    }


def _reference(row: dict[str, Any]) -> ReferenceResult:
    closeness = {
        str(each["name"]): None if each["sqnr_db"] is None else float(each["sqnr_db"])
        for each in row["outputs"]
    }
    return ReferenceResult(latency_of(row["latency"]), closeness)
