"""Half precision: weights and arithmetic in float16, inputs and outputs of the model in float32.

A node computes in float16 where its operator's definition allows that, its numbers fit, and it is
none of those that add up or multiply what float16 cannot hold. Casts stand between the two kinds,
one for each value. Whoever has no float16 kernel computes as before: onnxruntime's CPU provider on
x86 puts Casts around most nodes, and gains size only; GPUs and NPUs gain time as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import onnx_ir as ir

from edgeq.graph import constants, rewire
from edgeq.graph.walk import name_of, node_name, nodes, subgraphs
from edgeq.quantization.plan import NodeDecision, NodeForm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.recipe import Recipe

LARGEST: Final = float(np.finfo(np.float16).max)
_SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)


@dataclass(frozen=True, slots=True)
class _Blocked:
    """Operators that stay in float32, and why."""

    operators: frozenset[str]
    reason: str


_BLOCKED: Final = (
    _Blocked(
        frozenset({"Pow", "Exp", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd"}),
        "its results soon pass 65504, the largest number of float16",
    ),
    _Blocked(
        frozenset(
            {
                "ReduceMean",
                "ReduceSum",
                "ReduceL1",
                "CumSum",
                "GlobalAveragePool",
                "LayerNormalization",
                "InstanceNormalization",
                "BatchNormalization",
                "GroupNormalization",
                "RMSNormalization",
                "LpNormalization",
            }
        ),
        "it adds up many numbers, and float16 has 11 bits to do so",
    ),
    _Blocked(
        frozenset({"Range", "NonMaxSuppression", "RoiAlign", "Resize", "Upsample", "GridSample"}),
        "it computes places, which float16 rounds to whole numbers from 2048 on",
    ),
    _Blocked(
        frozenset(
            {
                "Constant",
                "ConstantOfShape",
                "EyeLike",
                "RandomNormal",
                "RandomUniform",
                "RandomNormalLike",
                "RandomUniformLike",
                "Multinomial",
                "Bernoulli",
            }
        ),
        "it makes numbers and computes none",
    ),
    _Blocked(
        frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}),
        "its scale is float32",
    ),
)
"""Sources: the ranges of IEEE 754 binary16; onnxruntime's converter leaves a like list alone
(onnxruntime/python/tools/transformers/float16.py, DEFAULT_OP_BLOCK_LIST)."""


def convert_to_half(model: ir.Model, recipe: Recipe) -> tuple[NodeDecision, ...]:
    """Let a model compute in float16 wherever it can.

    Args:
        model: A prepared model of known types; changed in place. Its interface stays.
        recipe: Names what stays float32.

    Returns:
        What became of every node that reads or makes float32.
    """
    decisions = []
    chosen: list[ir.Node] = []
    for node in nodes(model):
        if not _computes_floats(node):
            continue
        why = _obstacle(node, model, recipe)
        decisions.append(
            NodeDecision(
                node_name(node), node.op_type, NodeForm.FLOAT if why else NodeForm.HALF, why
            )
        )
        if not why:
            chosen.append(node)
    _Converter(model, chosen).convert()
    return tuple(decisions)


def _computes_floats(node: ir.Node) -> bool:
    return any(
        value is not None and value.dtype is ir.DataType.FLOAT
        for value in (*node.inputs, *node.outputs)
    )


def _obstacle(node: ir.Node, model: ir.Model, recipe: Recipe) -> str:
    """Why a node stays float32; empty where it need not."""
    if recipe.excludes(node_name(node), node.op_type):
        return "excluded by the user"
    for row in _BLOCKED:
        if node.op_type in row.operators:
            return row.reason
    if next(subgraphs(node), None) is not None:
        return "its bodies hand over float32; the nodes in them are decided one by one"
    around = [v for v in (*node.inputs, *node.outputs) if v is not None and v.name]
    if any(value.dtype is None for value in around):
        return "the type of something that it reads or makes is not known"
    if not _defined_for_half(node, model):
        return f"{node.op_type} is not defined for float16"
    return next(filter(None, (_unfit(value) for value in node.inputs)), "")


def _defined_for_half(node: ir.Node, model: ir.Model) -> bool:
    """Whether the operator takes and makes float16 wherever the node has float32."""
    version = model.opset_imports.get(node.domain, 0)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return False
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    pairs = [*_formal(node.inputs, schema.inputs), *_formal(node.outputs, schema.outputs)]
    return all(
        "tensor(float16)" in allowed.get(kind, {kind})
        for value, kind in pairs
        if value.dtype is ir.DataType.FLOAT
    )


def _formal(
    values: Iterable[ir.Value | None], parameters: Sequence[onnx.defs.OpSchema.FormalParameter]
) -> list[tuple[ir.Value, str]]:
    """Every value with the type parameter that it is declared by; the last one may repeat."""
    return [
        (value, str(parameters[min(place, len(parameters) - 1)].type_str))
        for place, value in enumerate(values)
        if value is not None and parameters
    ]


def _unfit(value: ir.Value | None) -> str:
    """What about a constant does not fit into float16; empty for everything else."""
    if value is None or value.dtype is not ir.DataType.FLOAT:
        return ""
    data = constants.array(value)
    if data is None or not data.size:
        return ""
    size = np.abs(data)
    if float(size.max()) > LARGEST or not np.isfinite(size).all():
        return f"its constant {name_of(value)!r} passes 65504, the largest number of float16"
    few = data.size == 1
    if few and 0.0 < float(size.max()) < _SMALLEST:
        return f"its constant {float(data.reshape(())):.3g} is zero in float16"
    return ""


class _Converter:
    """Rewrites the chosen nodes and puts Casts where float32 and float16 meet."""

    def __init__(self, model: ir.Model, chosen: list[ir.Node]) -> None:
        self._names = rewire.Names(model)
        self._model = model
        self._chosen = chosen
        self._halves: dict[ir.Value, ir.Value] = {}

    def convert(self) -> None:
        members = set(self._chosen)
        for node in self._chosen:
            for value in node.outputs:
                if value.dtype is ir.DataType.FLOAT:
                    self._widen(value, members)
        for node in self._chosen:
            for place, read in enumerate(node.inputs):
                if read is not None and read.dtype is ir.DataType.FLOAT:
                    node.replace_input_with(place, self._half(read))
            if node.op_type == "Cast":
                to = node.attributes.get_int("to", 0)
                if to == ir.DataType.FLOAT.value:
                    node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16.value)
        rewire.drop_unused_initializers(self._model)

    def _widen(self, value: ir.Value, members: set[ir.Node]) -> None:
        """Make an output float16, with a Cast for whoever wants float32."""
        readers = [(u.node, u.idx) for u in value.uses() if u.node not in members]
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
