"""What a model is made of, and what would run in integers, before any work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.graph import loader, macs, opset, shapes
from edgeq.graph.interface import Interface
from edgeq.graph.split import tensors
from edgeq.graph.walk import nodes
from edgeq.passes.prepare import prepare
from edgeq.quantization.annotate import annotate
from edgeq.recipe import Recipe
from edgeq.targets import target_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.quantization.plan import NodeDecision


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model at a glance.

    Attributes:
        path: Its file; None for a model in memory.
        sha256: Hash of the file and its external data.
        size_bytes: Size of both.
        opset: Opset version of the default domain.
        interface: Inputs and outputs.
        nodes: How many nodes there are of each operator, bodies included, most frequent first.
        parameters: Elements of all float weights.
        macs: Multiply-accumulates of one run; None where shapes are not static.
        target: Name of the target profile that was asked.
        decisions: What would become of every node that the target or edgeq knows, after
            preparation.
        notes: What loading and preparing changed.
    """

    path: Path | None
    sha256: str
    size_bytes: int
    opset: int
    interface: Interface
    nodes: Mapping[str, int]
    parameters: int
    macs: int | None
    target: str
    decisions: tuple[NodeDecision, ...]
    notes: tuple[str, ...]


def inspect(model: object, *, target: str = "cpu") -> Inspection:
    """Look at a model without data and without changing it.

    Args:
        model: Anything :func:`edgeq.quantize` takes.
        target: Name of the target profile to predict for.

    Raises:
        ModelError: The model cannot be read.
        RecipeError: There is no such target.
    """
    profile = target_named(target)
    loaded = loader.load(model)
    prepared = prepare(opset.upgrade(loaded.model, profile.minimum_opset))
    annotations = annotate(prepared.model, profile, Recipe())
    return Inspection(
        path=loaded.path,
        sha256=loaded.sha256,
        size_bytes=loaded.size_bytes,
        opset=opset.default_opset(loaded.model),
        interface=Interface.of(loaded.model),
        nodes=dict(Counter(node.op_type for node in nodes(loaded.model)).most_common()),
        parameters=sum(t.size for t in tensors(loaded.model) if t.dtype.is_floating_point()),
        macs=_macs(prepared.model),
        target=profile.name,
        decisions=tuple(annotations.decisions.values()),
        notes=(*loaded.notes, *prepared.notes),
    )


def _macs(model: ir.Model) -> int | None:
    """Multiply-accumulates where every shape is static."""
    shapes.infer(model)
    counts = [macs.count(node, shapes.static) for node in nodes(model) if macs.is_compute(node)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
