"""Rewrites nodes to float16, with Casts, or Q/DQ with scales of float16, where it meets others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.opset import default_opset
from edgeq.graph.walk import is_op, name_of, nodes
from edgeq.quantization.half_range import scales_beyond_half

if TYPE_CHECKING:
    from collections.abc import Iterable

HALF_SCALES: Final = 19
"""Opset from which QuantizeLinear and DequantizeLinear have scales of float16 (ONNX operators)."""

_DIGITS: Final = 11
"""Bits of a float16 number."""


def compute_in_half(model: ir.Model, chosen: Iterable[ir.Node]) -> None:
    """Let nodes compute in float16.

    Args:
        model: Changed in place; its interface stays.
        chosen: Nodes whose operators take float16, and whose constants it holds.
    """
    members = dict.fromkeys(chosen)
    names = rewire.Names(model)
    if members:
        _with_pairs(model, members, names)
    _Converter(model, members, names).convert()


def float_scale(node: ir.Node, opset: int) -> str:
    """Why QuantizeLinear or DequantizeLinear keeps its float32 scale; empty where it need not."""
    scale = constants.array(node.inputs[1])
    if opset < HALF_SCALES:
        return f"integers around it have no scales of float16 before opset {HALF_SCALES}"
    if scale is None:
        return "integers around it have a scale that is computed"
    whole = node.outputs[0] if is_op(node, "QuantizeLinear") else node.inputs[0]
    if whole is None or whole.dtype is None or _DIGITS < whole.dtype.bitwidth < 32:
        return "integers around it have more digits than float16"
    if scales_beyond_half(scale):
        return f"the scales of {name_of(whole)!r} are lost in float16"
    return ""


def _with_pairs(model: ir.Model, members: dict[ir.Node, None], names: rewire.Names) -> None:
    """Add the Q/DQ around members to them; what others read, too, is dequantized once more."""
    opset = default_opset(model)
    for node in list(nodes(model)):
        if is_op(node, "DequantizeLinear"):
            members |= dict.fromkeys(_dequantizing(node, members, names))
    for node in nodes(model):
        source = node.inputs[0] if node.inputs else None
        maker = None if source is None else source.producer()
        if is_op(node, "QuantizeLinear") and maker in members and not float_scale(node, opset):
            members[node] = None


def _dequantizing(
    node: ir.Node, members: dict[ir.Node, None], names: rewire.Names
) -> tuple[ir.Node, ...]:
    """What dequantizes for members, and for nobody else."""
    value = node.outputs[0]
    uses = list(value.uses())
    mine = [(use.node, use.idx) for use in uses if use.node in members]
    if not mine:
        return ()
    if len(mine) == len(uses) and not value.is_graph_output():
        return (node,)
    twin = ir.Node("", "DequantizeLinear", list(node.inputs), attributes=node.attributes.values())
    made = twin.outputs[0]
    made.name, twin.name = names.value(name_of(value)), names.node(f"{name_of(value)}_twin")
    made.type, made.shape = value.type, value.shape
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"{name_of(value)!r} belongs to no graph")
    rewire.insert_after(value, [twin], node.graph)
    rewire.redirect(mine, made)
    return (twin,)


class _Converter:
    """Rewrites the chosen nodes and puts Casts where float32 and float16 meet."""

    def __init__(self, model: ir.Model, members: dict[ir.Node, None], names: rewire.Names) -> None:
        self._names = names
        self._model = model
        self._members = members
        self._halves: dict[ir.Value, ir.Value] = {}

    def convert(self) -> None:
        for node in self._members:
            for value in node.outputs:
                if value.dtype is ir.DataType.FLOAT:
                    self._widen(value)
        for node in self._members:
            for place, read in enumerate(node.inputs):
                if read is not None and read.dtype is ir.DataType.FLOAT:
                    node.replace_input_with(place, self._half(read))
            if node.op_type == "Cast":
                to = node.attributes.get_int("to", 0)
                if to == ir.DataType.FLOAT.value:
                    node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16.value)
        rewire.drop_unused_initializers(self._model)

    def _widen(self, value: ir.Value) -> None:
        """Make an output float16, with a Cast for whoever wants float32."""
        readers = [(u.node, u.idx) for u in value.uses() if u.node not in self._members]
        is_output = value.is_graph_output()
        kind, shape = value.type, value.shape
        value.type = ir.TensorType(ir.DataType.FLOAT16)
        if not readers and not is_output:
            return
        back = self._cast(value, ir.DataType.FLOAT, f"{name_of(value)}_float")
        back.type, back.shape = kind, shape
        rewire.redirect(readers, back)
        if is_output:
            rewire.hand_over_output(value, back)
            value.type = ir.TensorType(ir.DataType.FLOAT16)
            back.type = kind

    def _half(self, value: ir.Value) -> ir.Value:
        """The float16 form of a float32 value."""
        if value not in self._halves:
            data = constants.array(value)
            name = f"{name_of(value)}_half"
            if data is None:
                self._halves[value] = self._cast(value, ir.DataType.FLOAT16, name)
            else:
                graph = value.graph if isinstance(value.graph, ir.Graph) else self._model.graph
                made = data.astype(np.float16)
                self._halves[value] = rewire.add_initializer(graph, self._names.value(name), made)
        return self._halves[value]

    def _cast(self, value: ir.Value, to: ir.DataType, name: str) -> ir.Value:
        node = ir.node("Cast", [value], {"to": to.value})
        made = node.outputs[0]
        made.name = self._names.value(name)
        made.type, made.shape = ir.TensorType(to), value.shape
        node.name = self._names.node(f"{made.name}_Cast")
        producer = value.producer()
        graph = value.graph if producer is None else producer.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError(f"{name_of(value)!r} belongs to no graph")
        rewire.insert_after(value, [node], graph)
        return made
