"""What quantization costs node by node and value by value, in two readings, from one pass.

Alone: everything else is exact, so that the error is the node's or the value's own. Accumulated:
as the quantized model runs, with the errors of everything before. The float model, the quantized
one and all side branches run as one graph that hands out nothing but sums.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration.inner_errors import NOTHING, InnerErrors
from edgeq.graph import constants, macs, shapes
from edgeq.graph.beside import add_segments, add_whole, settle
from edgeq.graph.meters import Meters
from edgeq.graph.rounded import Wanted, add_branches
from edgeq.graph.walk import is_op, name_of, node_name, nodes, values
from edgeq.ops import Constraint, rule_for
from edgeq.quantization.saturation import useful_bounds
from edgeq.types import QuantType
from edgeq.validation.layers import LayerFidelity, lowest_before, node_behind

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from edgeq.calibration.inner_errors import Energies
    from edgeq.graph.beside import Counterpart
    from edgeq.graph.rounded import Branches
    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Array, Sample


@dataclass(frozen=True, eq=False, slots=True)
class Rounding:
    """A Q/DQ pair of the quantized model and the float value that it stands on.

    Attributes:
        wanted: The value, who reads it rounded, and whose numbers it shares.
        scale: float32 scalar.
        zero_point: Scalar of the integer type.
    """

    wanted: Wanted
    scale: Array
    zero_point: Array

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest number that it can represent."""
        limits = QuantType(self.zero_point.dtype.name)
        scale, zero = float(self.scale.item()), int(self.zero_point.item())
        return scale * (limits.qmin - zero), scale * (limits.qmax - zero)


@dataclass(frozen=True, slots=True)
class ValueFidelity:
    """What rounding one value costs.

    Attributes:
        name: Name of the value.
        op_type: Operator that makes it; empty for an input of the model.
        sqnr_db: Of the rounded value against itself.
        readers_db: Of what its readers make of it when nothing else is rounded, the worst reader;
            None where no reader makes float numbers.
        reader: Name of that reader.
        accumulated_db: Of the value in the quantized model; None where it has no counterpart.
        cause: Why rounding it costs that much, where somebody looked; a sentence with a figure.
        remedy: What to do about it.
    """

    name: str
    op_type: str
    sqnr_db: float
    readers_db: float | None
    reader: str
    accumulated_db: float | None
    cause: str = ""
    remedy: str = ""

    @property
    def cost_db(self) -> float:
        """What values are ranked by: the worst that readers make of it, or else its own."""
        return self.sqnr_db if self.readers_db is None else self.readers_db


@dataclass(frozen=True, slots=True)
class Parts:
    """Where a node's own error comes from, as energies.

    Attributes:
        total: Of the node's own error, all parts together.
        inputs: Per rounded value that it reads: of the error at its output.
        output: The value it writes and the energy of that rounding; None where it is not rounded.
    """

    total: float
    inputs: Mapping[str, float] = field(default_factory=dict)
    output: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Both readings of everything.

    Attributes:
        layers: Nodes that compute or round, in the order of the graph.
        values: Rounded values that have numbers of their own, likewise.
        parts: By node, for those that round.
        roundings: By value.
    """

    layers: tuple[LayerFidelity, ...]
    values: tuple[ValueFidelity, ...]
    parts: Mapping[str, Parts]
    roundings: Mapping[str, Rounding]


def measure_sensitivity(
    reference: ir.Model,
    candidate: ir.Model,
    samples: Iterable[Sample],
    config: SessionConfig | None = None,
) -> Sensitivity:
    """Run both models on samples and tell what every node and value costs.

    Args:
        reference: The float model that was quantized, with values of the same names and scales as
            in the quantized one; of the same opset.
        candidate: The quantized model. One of another tool is compared as far as names agree.
        samples: A few; what they do not reach is left out.
        config: How the session is opened.

    Raises:
        DataError: A sample does not run.
    """
    built = _Built(reference, candidate)
    errors = InnerErrors(built.model, built.readings, config, built.fed)
    for sample in samples:
        errors.add(sample)
    return built.told(reference, errors.take())


class _Built:
    """The one graph, and what is measured in it."""

    def __init__(self, reference: ir.Model, candidate: ir.Model) -> None:
        self.model = reference.clone()
        shapes.infer(self.model)
        # Float values are told by their types.
        self.roundings = find_roundings(self.model, candidate)
        dropped = _dropped(reference, candidate)
        wanted = [each.wanted for each in self.roundings.values()]
        self._branches = add_branches(self.model, wanted, dropped)
        self.fed = _numbers(self._branches, self.roundings)
        self._makers = {node_name(node): node for node in nodes(reference)}
        whole, pieces = add_whole(self.model, candidate), add_segments(self.model, candidate)
        self._whole = {name: pair for name, pair in whole.items() if self._counts(name, pair)}
        self._pieces = {name: pair for name, pair in pieces.items() if self._counts(name, pair)}
        meters = Meters(self.model)
        known = values(reference)
        within = {name: useful_bounds(value) for name, value in known.items()}
        for name, pair in self._whole.items():
            shown = pair.read if pair.rounds else pair.made
            meters.compare(("whole", name), pair.reference, shown, within[name])
        for name, pair in self._pieces.items():
            meters.compare(("alone", name), pair.reference, pair.read, within[name])
        for name, branch in self._branches.items():
            meters.compare(("value", name), branch.reference, branch.rounded, within[name])
            for number, reader in enumerate(branch.readers):
                bounds = within[name_of(reader.reference)]
                meters.compare(("reader", name, number), reader.reference, reader.other, bounds)
        self.readings = meters.finish()
        settle(self.model)

    def told(self, reference: ir.Model, found: Mapping[Hashable, Energies]) -> Sensitivity:
        """From energies to ratios."""
        seen = {key: energies for key, energies in found.items() if energies.known}
        ratios = {
            self._node_of(pair): seen["whole", name].sqnr_db
            for name, pair in self._whole.items()
            if ("whole", name) in seen
        }
        alone = {
            self._node_of(pair): seen["alone", name].sqnr_db
            for name, pair in self._pieces.items()
            if ("alone", name) in seen
        }
        before = lowest_before(reference, ratios)
        layers = tuple(
            LayerFidelity(name, self._makers[name].op_type, ratios[name], low, alone.get(name))
            for name, low in before.items()
        )
        return Sensitivity(layers, self._values(seen), self._parts(seen), self.roundings)

    def _counts(self, name: str, pair: Counterpart) -> bool:
        """Whether the node behind a value is worth a row: it multiplies, or rounds by a rule."""
        node = self._makers[self._node_of(pair)]
        rule = rule_for(node)
        computes = rule is not None and rule.output is not Constraint.SAME_AS_INPUT
        rounds = pair.rounds or name in self.roundings
        return macs.is_compute(node) or (rounds and computes)

    def _node_of(self, pair: Counterpart) -> str:
        return node_behind(pair, self._makers)

    def _values(self, seen: Mapping[Hashable, Energies]) -> tuple[ValueFidelity, ...]:
        found = []
        for name, branch in self._branches.items():
            if ("value", name) not in seen:
                continue
            readers = {
                reader.node: seen["reader", name, number].sqnr_db
                for number, reader in enumerate(branch.readers)
                if ("reader", name, number) in seen
            }
            worst = min(readers, key=lambda reader: readers[reader], default="")
            producer = branch.reference.producer()
            whole = seen.get(("whole", name))
            found.append(
                ValueFidelity(
                    name,
                    "" if producer is None else producer.op_type,
                    seen["value", name].sqnr_db,
                    readers.get(worst),
                    worst,
                    None if whole is None else whole.sqnr_db,
                )
            )
        return tuple(found)

    def _parts(self, seen: Mapping[Hashable, Energies]) -> dict[str, Parts]:
        inputs: dict[str, dict[str, float]] = {}
        for name, branch in self._branches.items():
            for number, reader in enumerate(branch.readers):
                noise = seen.get(("reader", name, number), NOTHING).noise
                of = inputs.setdefault(reader.node, {})
                of[name] = of.get(name, 0.0) + noise
        found = {}
        for name, pair in self._pieces.items():
            if ("alone", name) in seen:
                node, written = self._node_of(pair), seen.get(("value", name))
                output = None if written is None else (name, written.noise)
                found[node] = Parts(seen["alone", name].noise, inputs.get(node, {}), output)
        return found


def find_roundings(reference: ir.Model, candidate: ir.Model) -> dict[str, Rounding]:
    """The Q/DQ pairs of a quantized model, by the float value that each stands on.

    Args:
        reference: The float model.
        candidate: The quantized one.

    Returns:
        In the order of the candidate's graph; pairs whose numbers are computed or differ by
        channel, and those on values that the float model lacks, are left out.
    """
    known, readers = values(reference), {node_name(node): node for node in nodes(reference)}
    found: dict[str, Rounding] = {}
    for node in nodes(candidate):
        if not is_op(node, "QuantizeLinear"):
            continue
        name = _stands_on(node, known)
        numbers = _scalars(node)
        if name is None or numbers is None or name in found:
            continue
        scale, zero_point = numbers
        dtype = ir.DataType.from_numpy(zero_point.dtype)
        source = _source(known[name], found, numbers)
        wanted = Wanted(name, dtype, _readers(node, name, known, readers), source)
        found[name] = Rounding(wanted, scale, zero_point)
    return found


def _stands_on(quantize: ir.Node, known: Mapping[str, ir.Value]) -> str | None:
    """Name of the float value; of a graph output it is the dequantized side that carries it."""
    names = [quantize.inputs[0]]
    names += [u.node.outputs[0] for u in quantize.outputs[0].uses() if u.node.outputs]
    for value in names:
        here = None if value is None else known.get(value.name or "")
        if here is not None and here.dtype == ir.DataType.FLOAT and not constants.is_constant(here):
            return name_of(here)
    return None


def _scalars(quantize: ir.Node) -> tuple[Array, Array] | None:
    scale = constants.array(quantize.inputs[1])
    zero_point = constants.array(quantize.inputs[2]) if len(quantize.inputs) > 2 else None
    if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
        return None
    return scale.reshape(()), zero_point.reshape(())


def _source(value: ir.Value, found: Mapping[str, Rounding], numbers: tuple[Array, Array]) -> str:
    """The value that was moved here with its numbers, or the value itself."""
    producer = value.producer()
    rule = None if producer is None else rule_for(producer)
    if producer is None or rule is None or rule.output is not Constraint.SAME_AS_INPUT:
        return name_of(value)
    before = found.get(producer.inputs[0].name or "") if producer.inputs[0] is not None else None
    if before is None or (before.scale, before.zero_point) != numbers:
        return name_of(value)
    return before.wanted.source


def _readers(
    quantize: ir.Node, name: str, known: Mapping[str, ir.Value], there: Mapping[str, ir.Node]
) -> tuple[tuple[str, int], ...] | None:
    """The uses of the float value that read it rounded; None for all."""
    back = [u.node for u in quantize.outputs[0].uses() if is_op(u.node, "DequantizeLinear")]
    uses = [use for node in back for use in node.outputs[0].uses()]
    named = {(use.node.name or "", use.idx) for use in uses}
    every = {(use.node.name or "", use.idx) for use in known[name].uses()}
    found = tuple(sorted(edge for edge in every if edge in named))
    return found if found and len(found) < len(every) and there else None


def _dropped(reference: ir.Model, candidate: ir.Model) -> set[str]:
    """Relu and Clip nodes that the quantized model has no more."""
    there = {node.name for node in nodes(candidate)}
    rectifiers = (node for node in nodes(reference) if is_op(node, "Relu", "Clip"))
    return {node_name(node) for node in rectifiers if node.name not in there}


def _numbers(
    branches: Mapping[str, Branches], roundings: Mapping[str, Rounding]
) -> dict[str, Array]:
    fed: dict[str, Array] = {}
    for name, branch in branches.items():
        fed[branch.scale] = np.asarray(roundings[name].scale)
        fed[branch.zero_point] = np.asarray(roundings[name].zero_point)
    return fed
