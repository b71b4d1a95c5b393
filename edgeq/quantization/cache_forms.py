"""The nodes between float caches and the integers that they are stored as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import rewire
from edgeq.graph.walk import name_of

if TYPE_CHECKING:
    from edgeq.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class StoredCache:
    """What became of a cache.

    Attributes:
        past: The name of the input.
        present: The name of the output.
        scale: float32 [heads, channels].
        bits: Its width.
        fused: Whether GroupQueryAttention reads it.
    """

    past: str
    present: str
    scale: FloatArray
    bits: int
    fused: bool

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token takes in it."""
        return self.scale.size * self.bits // 8


def _number(value: float) -> FloatArray:
    return np.asarray(value, np.float32)


class Conversions:
    """Makes the nodes between float caches and integers.

    Args:
        graph: Takes the constants; the nodes are the caller's to insert.
        names: Gives names.
    """

    def __init__(self, graph: ir.Graph, names: rewire.Names) -> None:
        self._graph = graph
        self._names = names

    def to_integers(self, value: ir.Value, made: StoredCache) -> tuple[ir.Value, list[ir.Node]]:
        """int8 [..., channels], or uint8 [..., channels / 2] where two share a byte."""
        steps = _Steps(self._graph, self._names, f"{name_of(value)}__stored")
        found = steps.add("Mul", value, (1.0 / made.scale)[None, :, None, :])
        found = steps.add("Round", found)
        lowest, highest = -(2.0 ** (made.bits - 1)), 2.0 ** (made.bits - 1) - 1
        found = steps.add("Clip", found, _number(lowest), _number(highest))
        kind = ir.DataType.INT8
        if made.bits == 4:
            found = steps.add("Add", found, _number(8.0))
            low, high = (steps.slice(found, start) for start in (0, 1))
            found = steps.add("Add", low, steps.add("Mul", high, _number(16.0)))
            kind = ir.DataType.UINT8
        return steps.add("Cast", found, to=int(kind)), steps.nodes

    def to_floats(self, value: ir.Value, made: StoredCache) -> tuple[ir.Value, list[ir.Node]]:
        """The inverse: float32 [batch, heads, tokens, channels]."""
        steps = _Steps(self._graph, self._names, f"{name_of(value)}__floats")
        found = steps.add("Cast", value, to=int(ir.DataType.FLOAT))
        if made.bits == 4:
            high = steps.add("Floor", steps.add("Mul", found, _number(1 / 16)))
            low = steps.add("Sub", found, steps.add("Mul", high, _number(16.0)))
            pair = [steps.add("Unsqueeze", half, np.array([4])) for half in (low, high)]
            both = steps.add("Concat", *pair, axis=4)
            whole = steps.add("Reshape", both, np.array([0, 0, 0, made.scale.shape[-1]]))
            found = steps.add("Sub", whole, _number(8.0))
        found = steps.add("Mul", found, made.scale[None, :, None, :])
        found.type = ir.TensorType(ir.DataType.FLOAT)
        return found, steps.nodes


class _Steps:
    """Nodes, each in front of the next."""

    def __init__(self, graph: ir.Graph, names: rewire.Names, base: str) -> None:
        self._graph = graph
        self._names = names
        self._base = base
        self.nodes: list[ir.Node] = []

    def add(self, op_type: str, *inputs: ir.Value | Array, **attributes: int) -> ir.Value:
        """Add a node; arrays become constants."""
        base = f"{self._base}_{op_type.lower()}"
        read = [each if isinstance(each, ir.Value) else self._constant(each) for each in inputs]
        node = ir.node(op_type, read, attributes)
        node.name, node.outputs[0].name = self._names.node(base), self._names.value(base)
        self.nodes.append(node)
        return node.outputs[0]

    def slice(self, value: ir.Value, start: int) -> ir.Value:
        """Every second channel."""
        ends = np.array([np.iinfo(np.int64).max])
        return self.add("Slice", value, np.array([start]), ends, np.array([3]), np.array([2]))

    def _constant(self, data: Array) -> ir.Value:
        name = self._names.value(f"{self._base}_constant")
        return rewire.add_initializer(self._graph, name, np.asarray(data))
