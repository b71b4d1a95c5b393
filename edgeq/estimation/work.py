"""What a run of a model computes and moves, node by node."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.estimation.fusion import fuse
from edgeq.graph import constants, macs, shapes, walk
from edgeq.graph.split import tensors
from edgeq.runtime.kernels import INT8_COMPUTE, NBITS_COMPUTE
from edgeq.runtime.seeds import RANDOM_OPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.estimation.fusion import Fusion
    from edgeq.targets import TargetProfile

_VIEWS: Final = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Operators that give the same bytes another shape or name."""

_LOOKUPS: Final = frozenset({"Gather", "GatherElements", "GatherND", "GatherBlockQuantized"})
"""Operators that read of a constant only what they pick."""

_INT8_LEVEL: Final = 4
"""Of ``MatMulNBits``: its inputs are rounded to 8 bits (onnxruntime/docs/ContribOperators.md)."""

_FLOAT_BYTES: Final = 4

_PRECISIONS: Final = {"FLOAT": "float32", "DOUBLE": "float64"}
"""Types that ONNX calls otherwise."""


@dataclass(frozen=True, slots=True)
class Step:
    """A node, with what runs as one with it.

    Attributes:
        name: Of the node.
        op_type: Its operator.
        macs: Multiply-accumulates.
        precision: What they are computed in; empty where there are none.
        reads: Names of the buffers that it reads.
        writes: Names of the buffers that it writes.
        constant_bytes: Bytes of constants that it reads.
    """

    name: str
    op_type: str
    macs: int
    precision: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    constant_bytes: int


@dataclass(frozen=True, slots=True)
class Work:
    """A run of a model.

    Attributes:
        steps: In the order of the graph.
        sizes: Bytes of every buffer.
        inputs: Buffers that are filled before the first step.
        outputs: Buffers that are read behind the last one.
        constant_bytes: Bytes of all constants.
        notes: What could not be counted, sentences without a final period.
    """

    steps: tuple[Step, ...]
    sizes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constant_bytes: int
    notes: tuple[str, ...] = ()


def work_of(model: ir.Model, seen: Mapping[str, tuple[int, ...]], target: TargetProfile) -> Work:
    """Count what a run computes and moves.

    Args:
        model: Float or quantized; not changed but for types that inference finds.
        seen: Shapes of values in one run; of branches that did not run, (0,) or none.
        target: Which operators run in integers between Q/DQ pairs.
    """
    shapes.infer(model)
    nodes = list(_in_order(model.graph))
    count = _Count(seen, fuse(nodes, target))
    steps = [step for node in nodes if (step := count.step(node)) is not None]
    ports = [v for v in model.graph.inputs if not constants.is_constant(v)]
    inputs = tuple(dict.fromkeys(count.buffer(value) for value in ports))
    ends = [v for v in model.graph.outputs if not constants.is_constant(v)]
    outputs = tuple(dict.fromkeys(count.buffer(value) for value in ends))
    stored = sum(tensor.nbytes for tensor in tensors(model))
    return Work(tuple(steps), count.sizes, inputs, outputs, stored, tuple(count.notes()))


def _in_order(graph: ir.Graph) -> Iterator[ir.Node]:
    """Nodes as they run; branches of If before the If, which hands out what they made."""
    for node in graph:
        if walk.is_op(node, "If"):
            for _, branch in walk.subgraphs(node):
                yield from _in_order(branch)
        if not walk.is_op(node, "Constant"):
            yield node


def _all_in(body: ir.Graph) -> Iterator[ir.Node]:
    return iter(ir.traversal.RecursiveGraphIterator(body))


@dataclass(slots=True)
class _Count:
    """Counts step by step.

    Attributes:
        seen: Shapes of values in one run.
        fusion: What runs as one.
        sizes: Bytes of every buffer met so far.
        same: Values that share the bytes of another one.
        folded: Values that follow from constants: runtimes compute them once.
        unknown: Values of unknown size.
        untyped: Values of unknown type.
        bodies: Nodes whose bodies were not counted.
    """

    seen: Mapping[str, tuple[int, ...]]
    fusion: Fusion
    sizes: dict[str, int] = field(default_factory=dict)
    same: dict[ir.Value, ir.Value] = field(default_factory=dict)
    folded: set[ir.Value] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    untyped: set[str] = field(default_factory=set)
    bodies: list[str] = field(default_factory=list)

    def step(self, node: ir.Node) -> Step | None:
        """What a node does; None where another one does it, or nothing is to be done."""
        if node in self.fusion.taken:
            return None
        if walk.is_op(node, "DequantizeLinear") and self.fusion.vanishes(node):
            return None
        if walk.is_op(node, "If"):
            self._hand_out(node)
            return None
        if self._is_folded(node):
            self.folded.update(node.outputs)
            return None
        made = [self.fusion.lands(v) for v in node.outputs if v.uses() or v.is_graph_output()]
        source = node.inputs[0] if node.inputs else None
        if walk.is_op(node, *_VIEWS) and source is not None and not self._is_fixed(source):
            self.same.update(dict.fromkeys(made, self.fusion.reads(node, source)))
            return None
        if all(self._shape(value) == (0,) for value in made):
            return None
        if any(walk.subgraphs(node)):
            self.bodies.append(node.name or node.op_type)
        multiplied = self._macs(node)
        return Step(
            node.name or "",
            node.op_type,
            multiplied,
            self._precision(node) if multiplied else "",
            tuple(dict.fromkeys(self.buffer(value) for value in self._activations(node))),
            tuple(self.buffer(value) for value in made),
            self._constant_bytes(node, made),
        )

    def buffer(self, value: ir.Value) -> str:
        """The name of the bytes that a value lies in."""
        while value in self.same:
            value = self.same[value]
        name = walk.name_of(value)
        self.sizes.setdefault(name, self._bytes(value))
        return name

    def notes(self) -> Iterator[str]:
        """What could not be counted."""
        if self.bodies:
            yield f"Bodies of Loop and Scan are not counted: {', '.join(self.bodies)}"
        if self.unknown:
            yield f"Sizes of {len(self.unknown)} values are not known and count as nothing"
        if self.untyped:
            yield f"Types of {len(self.untyped)} values are not known, 4 bytes an element assumed"

    def _hand_out(self, node: ir.Node) -> None:
        """Let the outputs of an If be what the branch that ran has made."""
        branches = [branch for _, branch in walk.subgraphs(node)]
        for place, outer in enumerate(node.outputs):
            inner = [branch.outputs[place] for branch in branches]
            ran = [value for value in inner if self._shape(value) == self._shape(outer)]
            self.same[outer] = (ran or inner)[0]

    def _activations(self, node: ir.Node) -> Iterator[ir.Value]:
        """Values that a node reads and that are no constants; those its bodies read included."""
        inside = [n for _, body in walk.subgraphs(node) for n in _all_in(body)]
        own = {value for inner in inside for value in inner.outputs}
        own |= {value for _, body in walk.subgraphs(node) for value in body.inputs}
        for each in (node, *inside):
            for value in each.inputs:
                if value is not None and value not in own:
                    read = self.fusion.reads(node, value)
                    if not self._is_fixed(read):
                        yield read

    def _is_folded(self, node: ir.Node) -> bool:
        """Whether a node only computes what the next run computes again."""
        if not node.inputs or node.op_type in RANDOM_OPS or any(walk.subgraphs(node)):
            return False
        return all(value is None or self._is_fixed(value) for value in node.inputs)

    def _is_fixed(self, value: ir.Value) -> bool:
        return constants.is_constant(value) or value in self.folded

    def _constant_bytes(self, node: ir.Node, made: list[ir.Value]) -> int:
        """Bytes of the constants of a node, with scales and zero points of those in integers."""
        found = 0
        for value in node.inputs:
            if value is None:
                continue
            producer = value.producer()
            behind = self.fusion.reads(node, value)
            parts = [behind]
            if behind is not value and producer is not None:
                parts += [each for each in producer.inputs[1:] if each is not None]
            found += sum(self._bytes(part) for part in parts if self._is_fixed(part))
        if node.op_type in _LOOKUPS:
            return min(found, sum(self._bytes(value) for value in made))
        return found

    def _macs(self, node: ir.Node) -> int:
        if not macs.is_compute(node):
            return 0
        counted = macs.count(node, self._shape)
        if counted is None:
            self.unknown.add(node.outputs[0].name or "")
        return counted or 0

    def _precision(self, node: ir.Node) -> str:
        if node in self.fusion.integer or node.op_type in INT8_COMPUTE:
            return "int8"
        rounded = node.attributes.get_int("accuracy_level", 0) == _INT8_LEVEL
        if node.op_type in NBITS_COMPUTE and rounded:
            return "int8"
        kind = node.outputs[0].dtype
        name = "FLOAT" if kind is None else kind.name
        return _PRECISIONS.get(name, name.lower())

    def _shape(self, value: ir.Value) -> tuple[int, ...] | None:
        if constants.is_constant(value):
            tensor = constants.tensor(value)
            return None if tensor is None else tuple(int(d) for d in tensor.shape.numpy())
        return self.seen.get(value.name or "", shapes.static(value))

    def _bytes(self, value: ir.Value) -> int:
        shape = self._shape(value)
        if shape is None:
            self.unknown.add(value.name or "")
            return 0
        kind = value.dtype
        if kind is None or kind.name in ("UNDEFINED", "STRING"):
            self.untyped.add(value.name or "")
            return math.prod(shape) * _FLOAT_BYTES
        return math.ceil(math.prod(shape) * kind.bitwidth / 8)
