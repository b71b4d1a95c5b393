"""Everything that is to say about where a quantized model loses accuracy, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.graph import constants
from edgeq.graph.walk import is_op, name_of, node_name, nodes
from edgeq.quantization.padding import without_padding
from edgeq.validation.advice import steepest_falls
from edgeq.validation.causes import (
    INHERITED,
    Symptoms,
    explain,
    explain_alone,
    explain_value,
)
from edgeq.validation.figures import look_at_values, look_at_weight
from edgeq.validation.parting import PARTED_DB, describe_parting, first_parted
from edgeq.validation.sensitivity import measure_sensitivity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Sample
    from edgeq.validation.causes import Cause
    from edgeq.validation.figures import ValueFigures, WeightFigures
    from edgeq.validation.layers import LayerFidelity
    from edgeq.validation.parting import Parting
    from edgeq.validation.sensitivity import Sensitivity, ValueFidelity

WORST = 10
"""So many layers are looked at closely, and so many values."""

CLOSE_DB = 40.0
"""Layers that are closer than this by themselves need no explanation."""

_DRAWN = 4
"""Samples that histograms are drawn of."""

_HEALED_DB = 15.0
"""Layers do not take away errors, but for what evens out; a reader that is so much better than what
it reads does not read the same numbers."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        layers: In the order of the graph; the worst of them with causes.
        values: Rounded values that have numbers of their own.
        parting: The first layer where both models part; None where they stay together.
        note: What could not be compared, in a sentence; empty where everything was.
    """

    layers: tuple[LayerFidelity, ...]
    values: tuple[ValueFidelity, ...]
    parting: Parting | None
    note: str = ""


NOTHING_FOUND = Diagnosis((), (), None)
"""Of models that nobody compared."""


def diagnose(
    reference: ir.Model,
    candidate: ir.Model,
    samples: Sequence[Sample],
    config: SessionConfig | None = None,
) -> Diagnosis:
    """Measure layer by layer, look closely at the worst, and find the one where the models part.

    Args:
        reference: The float model that was quantized, as :func:`measure_sensitivity` takes it.
        candidate: The quantized one.
        samples: A few.
        config: How sessions are opened.
    """
    plain = without_padding(candidate)
    found = measure_sensitivity(reference, plain, samples, config)
    return _told(reference, plain, found, samples, config)


def diagnose_given(
    reference: ir.Model,
    candidate: ir.Model,
    samples: Sequence[Sample],
    config: SessionConfig | None = None,
) -> Diagnosis:
    """The same for a candidate that somebody made of the model, nobody knows how.

    Values whose names tell that they are the same may have been scaled in the candidate: those that
    are far off while everything that reads them is not are left out.

    Args:
        reference: The float model.
        candidate: The quantized one, of the same opset.
        samples: A few.
        config: How sessions are opened.

    Returns:
        What was found of the layers that the names of their outputs tell, and a note that says so.
    """
    plain = without_padding(candidate)
    found = measure_sensitivity(reference, plain, samples, config)
    layers = _without_rescaled(reference, found.layers)
    told = _told(reference, plain, replace(found, layers=layers), samples, config)
    return replace(told, note=_matched(plain, found, len(found.layers) - len(layers)))


def _without_rescaled(
    model: ir.Model, layers: Sequence[LayerFidelity]
) -> tuple[LayerFidelity, ...]:
    """Without the layers whose error everything that reads them heals."""
    ratios = {layer.name: layer.sqnr_db for layer in layers}
    readers: dict[str, list[float]] = {name: [] for name in ratios}
    behind: dict[ir.Value, set[str]] = {}
    for node in nodes(model):
        name = node_name(node)
        read = set().union(*(behind.get(v, set()) for v in node.inputs if v is not None))
        if name in ratios:
            for source in read:
                readers[source].append(ratios[name])
            read = {name}
        behind |= dict.fromkeys(node.outputs, read)
    return tuple(
        layer
        for layer in layers
        if not readers[layer.name]
        or min(readers[layer.name]) < max(PARTED_DB, layer.sqnr_db + _HEALED_DB)
    )


def _matched(candidate: ir.Model, found: Sensitivity, rescaled: int) -> str:
    """How much of the candidate could be compared."""
    pairs = sum(
        is_op(node, "QuantizeLinear") and not constants.is_constant(node.inputs[0])
        for node in nodes(candidate)
    )
    known = len(found.roundings)
    if not found.layers:
        return (
            "Layers were not compared: no quantized one has an output that both models name alike"
        )
    told = f"Layers were matched by the names of their outputs: {len(found.layers)} of them"
    if pairs:
        told += f", and {known} of {pairs} quantized values"
    return told + (f"; {rescaled} that have other scales were left out" if rescaled else "")


def _told(
    reference: ir.Model,
    candidate: ir.Model,
    found: Sensitivity,
    samples: Sequence[Sample],
    config: SessionConfig | None,
) -> Diagnosis:
    parted = first_parted(found.layers)
    wanted = {layer.name: explain_alone for layer in worst_layers(found.layers)}
    if parted is not None:
        wanted[parted.name] = explain
    makers = {node_name(node): node for node in nodes(reference)}
    reads = {name: _looked_at(makers[name], found) for name in wanted}
    ranked = worst_values(found.values)
    looked_at = {name for names in reads.values() for name in names} | {v.name for v in ranked}
    numbers = {name: _numbers(name, found) for name in sorted(looked_at)}
    figures = look_at_values(reference, numbers, samples, config)
    told = _explained(reference, candidate, found, wanted, reads, figures)
    layers = tuple(told.get(layer.name, layer) for layer in found.layers)
    parting = None
    if parted is not None:
        layer = told[parted.name]
        parting = describe_parting(reference, candidate, layer, samples[:_DRAWN], config)
    causes = {
        value.name: explain_value(
            figures[value.name], value.sqnr_db, value.readers_db, value.reader
        )
        for value in ranked
        if value.name in figures
    }
    values = tuple(
        replace(value, cause=causes[value.name].text, remedy=causes[value.name].remedy)
        if value.name in causes
        else value
        for value in found.values
    )
    return Diagnosis(layers, values, parting)


def worst_layers(layers: Sequence[LayerFidelity], count: int = WORST) -> list[LayerFidelity]:
    """The layers that lose most by themselves, the worst first."""
    off = [(layer.alone_db, layer) for layer in layers if layer.alone_db is not None]
    ranked = sorted(off, key=lambda pair: pair[0])
    return [layer for alone, layer in ranked[:count] if alone < CLOSE_DB]


def worst_values(values: Sequence[ValueFidelity], count: int = WORST) -> list[ValueFidelity]:
    """The values whose rounding costs their readers most, the worst first."""
    ranked = sorted(values, key=lambda value: value.cost_db)
    return [value for value in ranked[:count] if value.cost_db < CLOSE_DB]


def _explained(
    reference: ir.Model,
    candidate: ir.Model,
    found: Sensitivity,
    wanted: Mapping[str, Callable[[Symptoms], Cause]],
    reads: Mapping[str, Sequence[str]],
    values: Mapping[str, ValueFigures],
) -> dict[str, LayerFidelity]:
    told = {}
    for layer in found.layers:
        if layer.name in wanted:
            figures = {name: values[name] for name in reads[layer.name] if name in values}
            weight = look_at_weight(reference, candidate, layer.name)
            cause = wanted[layer.name](_symptoms(layer, found, figures, weight))
            text = cause.text
            if cause.kind == INHERITED:
                text += _falls_before(found.layers, layer)
            told[layer.name] = replace(layer, cause=text, remedy=cause.remedy)
    return told


def _falls_before(layers: Sequence[LayerFidelity], layer: LayerFidelity) -> str:
    """Where the errors arise that a layer inherits."""
    falls = steepest_falls(layers[: layers.index(layer)], count=2)
    named = ", ".join(f"{name} ({a:.0f} -> {b:.0f} dB)" for name, a, b in falls)
    return f"; quality falls most at {named}" if named else ""


def _looked_at(node: ir.Node, found: Sensitivity) -> list[str]:
    """The rounded values around a node; of a dynamic one what it reads."""
    parts = found.parts.get(node_name(node))
    names = [] if parts is None else list(parts.inputs)
    if parts is not None and parts.output is not None:
        names.append(parts.output[0])
    if not names and node.inputs and node.inputs[0] is not None:
        names.append(name_of(node.inputs[0]))
    return names


def _numbers(value: str, found: Sensitivity) -> tuple[float, float, float] | None:
    rounding = found.roundings.get(value)
    return None if rounding is None else (*rounding.bounds, float(rounding.scale.item()))


def _symptoms(
    layer: LayerFidelity,
    found: Sensitivity,
    values: Mapping[str, ValueFigures],
    weight: WeightFigures | None,
) -> Symptoms:
    parts = found.parts.get(layer.name)
    shares: dict[str, float] = {}
    if parts is not None and parts.total > 0.0:
        shares = {name: noise / parts.total for name, noise in parts.inputs.items()}
        if parts.output is not None:
            name, noise = parts.output
            shares[name] = shares.get(name, 0.0) + noise / parts.total
    return Symptoms(
        layer.op_type,
        layer.sqnr_db,
        layer.before_db,
        layer.alone_db,
        shares,
        max(0.0, 1.0 - sum(shares.values())),
        values,
        {value.name: value.sqnr_db for value in found.values},
        weight,
        dynamic=not shares,
    )
