"""Side branches that read single values rounded, everything else being exact.

Beside each wanted value stands a QuantizeLinear / DequantizeLinear pair whose scale and zero point
are inputs of the model, and beside each of its readers a copy that reads the rounded value. All
values are tested in one run, none sees the error of another, and one session serves any numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.graph.rewire import Names
from edgeq.graph.walk import name_of, node_name, nodes, subgraphs, values

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

_Use = tuple[ir.Node, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value to round.

    Attributes:
        value: Its name.
        dtype: Integer type.
        readers: Node name and input number of each use that reads it rounded; None for all.
        source: Name of the value whose numbers it shares; its own name where it has its own.
    """

    value: str
    dtype: ir.DataType
    readers: tuple[tuple[str, int], ...] | None
    source: str


@dataclass(frozen=True, slots=True)
class Reader:
    """One output of a node that reads a rounded value.

    Attributes:
        node: Name of the node.
        reference: The output when everything is exact.
        other: The output of the copy that reads the rounded value.
    """

    node: str
    reference: ir.Value
    other: ir.Value


@dataclass(frozen=True, slots=True)
class Branches:
    """Everything that hangs on one rounded value.

    Attributes:
        scale: Input of the model: float32 scalar.
        zero_point: Input of the model: scalar of the integer type.
        reference: The value.
        rounded: The value behind Q/DQ.
        readers: What is computed from it, behind nodes that merely move elements.
    """

    scale: str
    zero_point: str
    reference: ir.Value
    rounded: ir.Value
    readers: tuple[Reader, ...]


def add_branches(
    model: ir.Model, wanted: Sequence[Wanted], dropped: Container[str] = ()
) -> dict[str, Branches]:
    """Put side branches beside the readers of some values.

    Args:
        model: Changed in place; its nodes are not in topological order afterwards, see
            :func:`edgeq.graph.beside.settle`.
        wanted: The values; those that share numbers follow their sources through the nodes
            between them and get no branches of their own.
        dropped: Relu and Clip nodes that rounding what is behind them makes redundant: readers are
            compared behind them.

    Returns:
        By the name of the value.
    """
    build = _Build(model, {each.value: each for each in wanted}, dropped)
    roots = [each for each in wanted if each.source == each.value]
    return {each.value: build.branches(each) for each in roots if each.value in build.known}


class _Build:
    def __init__(
        self, model: ir.Model, wanted: Mapping[str, Wanted], dropped: Container[str]
    ) -> None:
        self.known = values(model)
        self._model = model
        self._names = Names(model)
        self._wanted = wanted
        self._dropped = dropped
        everything = nodes(model)
        self._nodes = {node_name(node): node for node in everything}
        # As they are before anything is added.
        self._uses = {
            name: [(use.node, use.idx) for use in self.known[name].uses()] for name in self.known
        }

    def branches(self, root: Wanted) -> Branches:
        """The pair and the copies of one value."""
        value = self.known[root.value]
        producer = value.producer()
        graph = producer.graph if producer is not None else value.graph
        if not isinstance(graph, ir.Graph):
            raise ValueError(f"{value!r} belongs to no graph")  # noqa: TRY004 - not a type
        scale = self._feed(f"{root.value}__scale", ir.DataType.FLOAT)
        zero_point = self._feed(f"{root.value}__zero_point", root.dtype)
        inputs = (scale, zero_point)
        base = f"{root.value}__rounded"
        integers = self._node(graph, "QuantizeLinear", [value, *inputs], f"{base}_q")
        integers.type = ir.TensorType(root.dtype)
        rounded = self._node(graph, "DequantizeLinear", [integers, *inputs], base)
        readers = tuple(self._readers(root, root, rounded))
        return Branches(name_of(scale), name_of(zero_point), value, rounded, readers)

    def _readers(self, root: Wanted, at: Wanted, rounded: ir.Value) -> Iterator[Reader]:
        """What reads ``at``, or what reads what was moved from there."""
        value = self.known[at.value]
        uses: dict[ir.Node, list[int]] = {}
        for node, index in self._uses_of(at):
            uses.setdefault(node, []).append(index)
        for node, indices in uses.items():
            # Bodies read their values themselves; a loop's state is another value every time.
            if any(True for _ in subgraphs(node)) or not isinstance(node.graph, ir.Graph):
                continue
            copy = self._copy(node, dict.fromkeys(indices, rounded), root.value)
            for old, new in zip(node.outputs, copy.outputs, strict=True):
                if not old.name or old.dtype != ir.DataType.FLOAT:
                    continue
                further = self._wanted.get(old.name)
                if further is not None and further.source == root.value and node.inputs[0] is value:
                    yield from self._readers(root, further, new)
                else:
                    yield Reader(node_name(node), *self._behind(old, new, root.value))

    def _uses_of(self, wanted: Wanted) -> list[_Use]:
        if wanted.readers is None:
            return self._uses[wanted.value]
        return [(self._nodes[name], index) for name, index in wanted.readers if name in self._nodes]

    def _behind(self, old: ir.Value, new: ir.Value, of: str) -> tuple[ir.Value, ir.Value]:
        """Both sides behind the dropped nodes that follow."""
        for node, index in self._uses.get(old.name or "", ()):
            if node.name in self._dropped:
                copy = self._copy(node, {index: new}, of)
                return self._behind(node.outputs[0], copy.outputs[0], of)
        return old, new

    def _copy(self, node: ir.Node, instead: Mapping[int, ir.Value], of: str) -> ir.Node:
        inputs = [instead.get(index, value) for index, value in enumerate(node.inputs)]
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
        )
        copy.name = self._names.node(f"{node.name}__reads_{of}")
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = self._names.value(f"{old.name}__of_{of}") if old.name else ""
            new.type, new.shape = old.type, old.shape
        node.graph.append(copy)  # type: ignore[union-attr]
        return copy

    def _feed(self, wanted: str, dtype: ir.DataType) -> ir.Value:
        name = self._names.value(wanted)
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([]))
        self._model.graph.inputs.append(value)
        return value

    def _node(
        self, graph: ir.Graph, op_type: str, inputs: Sequence[ir.Value], output: str
    ) -> ir.Value:
        node = ir.Node("", op_type, inputs)
        node.name = self._names.node(output)
        made = node.outputs[0]
        made.name = self._names.value(output)
        made.type, made.shape = ir.TensorType(ir.DataType.FLOAT), inputs[0].shape
        graph.append(node)
        return made
