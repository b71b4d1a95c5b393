"""Adds a few nodes in front of one, as fusions need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.passes import edits

if TYPE_CHECKING:
    from edgeq.graph.rewire import Names
    from edgeq.types import Array

_BY_HEADS: Final = (0, 2, 1, 3)


@dataclass(frozen=True, slots=True)
class Builder:
    """Adds nodes in front of one."""

    anchor: ir.Node
    names: Names

    def node(
        self,
        op_type: str,
        inputs: list[ir.Value],
        attributes: dict[str, int | float | str | tuple[int, ...]] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Add a node; its output, of the type of the first input or that of a Cast."""
        base = f"{self.anchor.name}__{op_type.lower()}"
        made = edits.add_node(
            self.anchor, op_type, inputs, self.names, base, attributes, domain=domain
        )
        kind = inputs[0].dtype if op_type != "Shape" else ir.DataType.INT64
        cast = (attributes or {}).get("to")
        kind = ir.DataType(cast) if isinstance(cast, int) else kind
        made.type = None if kind is None else ir.TensorType(kind)
        return made

    def constant(self, data: Array) -> ir.Value:
        """Add a constant."""
        return edits.constant(self.anchor, data, self.names, f"{self.anchor.name}__constant")

    def integers(self, *numbers: int) -> ir.Value:
        """Add a constant vector of int64."""
        return self.constant(np.array(numbers, np.int64))

    def flat(self, value: ir.Value, width: int) -> ir.Value:
        """[batch, heads, tokens, channels] -> [batch, tokens, heads * channels]."""
        turned = self.node("Transpose", [value], {"perm": _BY_HEADS})
        return self.node("Reshape", [turned, self.integers(0, 0, width)])

    def by_heads(self, value: ir.Value, heads: int, channels: int) -> ir.Value:
        """[batch, tokens, heads * channels] -> [batch, heads, tokens, channels]."""
        shape = self.integers(0, 0, heads, channels)
        split = self.node("Reshape", [value, shape])
        return self.node("Transpose", [split], {"perm": _BY_HEADS})
