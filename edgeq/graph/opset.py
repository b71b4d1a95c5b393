"""Raises the opset of a model to one that int8 needs, and changes nothing that need not change.

``onnx.version_converter`` rewrites whole models: it would lose tensors over 2 GB, value names that
sibling subgraphs share, and shapes. So only the nodes whose operator changed its form go through
it, side by side in one small model without weights, and what comes back takes their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

import onnx
import onnx_ir as ir
from onnx import version_converter

from edgeq.errors import UnsupportedError
from edgeq.graph.naming import graphs, unique_names
from edgeq.graph.rewire import Names
from edgeq.graph.shapes import infer
from edgeq.graph.split import root_cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeq.graph.naming import Tensor

Types: TypeAlias = "Mapping[str, onnx.TypeProto]"

NEWEST: Final = 21
"""Highest opset to ask for. Beyond it the IR version leaves what installed runtimes load."""

_REFUSED: Final = (
    ("Scan", 9, "its batch axis is gone", "Export the model with opset 9 or newer"),
    ("PRelu", 7, "its slope broadcasts otherwise", "Export the model with opset 7 or newer"),
    ("GroupNormalization", 21, "its scale is per channel there", "Stay at opset 20 or lower"),
)
"""Operators that the converter passes on unchanged although their meaning changed."""


def default_opset(model: ir.Model) -> int:
    """The version of the default domain that the model imports; 0 where it imports none."""
    return model.opset_imports.get("", 0)


def upgrade(model: ir.Model, minimum: int) -> ir.Model:
    """Raise the default-domain opset to ``minimum`` if it is lower, bodies and functions included.

    Args:
        model: Left as it is. Names must be unique, as the loader makes them.
        minimum: From 7 to 21.

    Returns:
        ``model`` itself if nothing had to be done, else a new model of the same interface that
        shares its tensors. The IR version rises only as far as the opset demands.

    Raises:
        ValueError: If ``minimum`` is out of range.
        UnsupportedError: If an operator cannot be converted.
    """
    if not 7 <= minimum <= NEWEST:
        raise ValueError(f"opset {minimum} is not between 7 and {NEWEST}")
    if all(version >= minimum for version in _versions(model)):
        return model
    raised = model.clone()
    types = _types(model)
    names = Names(raised)
    for graph in (raised.graph, *(function.graph for function in raised.functions.values())):
        source = graph.opset_imports.get("", minimum)
        if source < minimum:
            _convert(graph, _Step(source, minimum), types, names)
            graph.opset_imports[""] = minimum
    raised.opset_imports.setdefault("", minimum)
    raised.ir_version = max(raised.ir_version, _ir_version(minimum))
    unique_names(raised)
    return raised


@dataclass(frozen=True, slots=True)
class _Step:
    source: int
    target: int

    def crosses(self, version: int) -> bool:
        return self.source < version <= self.target


def _versions(model: ir.Model) -> list[int]:
    imports = [f.opset_imports.get("") for f in model.functions.values()]
    return [default_opset(model), *(version for version in imports if version is not None)]


def _ir_version(opset: int) -> int:
    imports = [onnx.helper.make_opsetid("", opset)]
    return int(onnx.helper.find_min_ir_version_for(imports))


def _types(model: ir.Model) -> Types:
    # Inference adds its findings to outputs too, hence on a model that is thrown away.
    typed = model.clone()
    infer(typed)
    found: dict[str, onnx.TypeProto] = {}
    for graph in graphs(typed):
        produced = (value for node in graph for value in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *produced):
            if value.name and value.type is not None:
                found[value.name] = ir.to_proto(value).type
    return found


def _convert(graph: ir.Graph, step: _Step, types: Types, names: Names) -> None:
    """Convert the nodes of ``graph`` and its bodies that need it. In place."""
    nodes = [node for node in graph.all_nodes() if _affected(node, step)]
    for node in nodes:
        _refuse(node, step)
    if not nodes:
        return
    try:
        pieces = _through_converter(nodes, step, types)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise _guilty(nodes, step, types, error) from error
    for number, (node, piece) in enumerate(zip(nodes, pieces, strict=True)):
        scales = _scales(node)
        added = _splice(node, number, piece, names)
        if step.crosses(11) and node.op_type == "Resize":
            _keep_resize(node, scales)
        _match_constants(node, added, types)


def _affected(node: ir.Node, step: _Step) -> bool:
    if node.domain != "":
        return False
    return any(node.op_type == op and step.crosses(version) for op, version, *_ in _REFUSED) or (
        _form(node.op_type, step.source) != _form(node.op_type, step.target)
        and not any(_holds_graph(attribute) for attribute in node.attributes.values())
    )


def _holds_graph(attribute: ir.Attr) -> bool:
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@cache
def _form(op_type: str, opset: int) -> object:
    """What a node of this operator looks like; element types are left out, they only grew."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    attributes = sorted(
        (name, str(entry.type), entry.required, entry.default_value.SerializeToString())
        for name, entry in schema.attributes.items()
    )
    sides = [[(str(p.option), p.name) for p in side] for side in (schema.inputs, schema.outputs)]
    return schema.deprecated, attributes, sides


def _refuse(node: ir.Node, step: _Step) -> None:
    for op, version, reason, remedy in _REFUSED:
        if node.op_type == op and step.crosses(version):
            raise UnsupportedError(
                f"{op} cannot be converted from opset {step.source} to {step.target}: {reason}",
                where=node.name,
                remedy=remedy,
            )
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise UnsupportedError(
            f"{node.op_type} takes attributes of the function it is in, so that its form in opset "
            f"{step.target} is open",
            where=node.name,
            remedy="Inline the model's functions before quantizing",
        )


def _guilty(
    nodes: Sequence[ir.Node], step: _Step, types: Types, error: Exception
) -> UnsupportedError:
    """The error of the first node that cannot be converted on its own."""
    where, op_type = None, "The model"
    for node in nodes:
        try:
            _through_converter([node], step, types)
        except (RuntimeError, version_converter.ConvertError) as own:
            where, op_type, error = node.name, node.op_type, own
            break
    reason = root_cause(error).rpartition("failed: ")[2]
    return UnsupportedError(
        f"{op_type} cannot be converted from opset {step.source} to {step.target}: {reason}",
        where=where,
        remedy=f"Export the model with opset {step.target} or newer",
    )


def _through_converter(
    nodes: Sequence[ir.Node], step: _Step, types: Types
) -> list[list[onnx.NodeProto]]:
    """What each node becomes: nodes in order, the last one giving all outputs.

    Inputs are called ``i<node>_<input>`` and outputs ``o<node>_<output>``.
    """
    batch = onnx.ModelProto(ir_version=8)
    batch.opset_import.add(domain="", version=step.source)
    batch.graph.name = "batch"
    for number, node in enumerate(nodes):
        _add_to_batch(batch.graph, number, node, types)
    graph = version_converter.convert_version(batch, step.target).graph
    constants = [_constant_node(tensor) for tensor in graph.initializer]
    producers = {name: n for n in (*constants, *graph.node) for name in n.output if name}
    pieces = []
    for number, node in enumerate(nodes):
        last = next(
            (producers[f"o{number}_{i}"] for i, o in enumerate(node.outputs) if o.name), None
        )
        piece = [] if last is None else _ancestry(last, producers)
        for proto in piece:
            if node.op_type == "Hardmax" and proto.op_type == "Softmax":
                proto.op_type = "Hardmax"
        pieces.append(piece)
    return pieces


def _add_to_batch(graph: onnx.GraphProto, number: int, node: ir.Node, types: Types) -> None:
    proto = ir.to_proto(node)
    proto.name = f"n{number}"
    if proto.op_type == "Hardmax":
        # The converter forgot it; opset 13 changed it exactly as it changed Softmax.
        proto.op_type = "Softmax"
    del proto.input[:], proto.output[:]
    for index, value in enumerate(node.inputs):
        name = "" if value is None else f"i{number}_{index}"
        proto.input.append(name)
        if value is not None:
            entry = graph.input.add(name=name)
            known = types.get(value.name or "")
            if known is None:
                entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            else:
                entry.type.CopyFrom(known)
    for index, value in enumerate(node.outputs):
        proto.output.append(f"o{number}_{index}" if value.name else "")
        if value.name:
            graph.output.add(name=f"o{number}_{index}")
    graph.node.append(proto)


def _constant_node(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)


def _ancestry(
    last: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    """``last`` and everything that it is computed from, in order of execution."""
    ordered: list[onnx.NodeProto] = []
    for name in last.input:
        for node in _ancestry(producers[name], producers) if name in producers else ():
            if node not in ordered:
                ordered.append(node)
    return [*ordered, last]


def _splice(
    node: ir.Node, number: int, piece: Sequence[onnx.NodeProto], names: Names
) -> list[ir.Node]:
    """Turn ``node`` into the last node of ``piece``, and put the others before it.

    Returns:
        The nodes that were added.
    """
    if not piece:
        return []
    base, op_type = node.name or node.op_type, node.op_type
    values: dict[str, ir.Value | None] = {"": None}
    values.update({f"i{number}_{index}": value for index, value in enumerate(node.inputs)})
    added = [_built(proto, base, values, names) for proto in piece[:-1]]
    node.op_type = piece[-1].op_type
    node.resize_inputs(len(piece[-1].input))
    for index, name in enumerate(piece[-1].input):
        node.replace_input_with(index, values[name])
    node.attributes.clear()
    for attribute in piece[-1].attribute:
        node.attributes[attribute.name] = ir.from_proto(attribute)
    if isinstance(node.graph, ir.Graph):
        node.graph.insert_before(node, added)
    twin = next((other for other in added if other.op_type == op_type), None)
    if twin is not None and node.op_type != op_type:
        # Softmax between Flatten and Reshape: whoever looks for its name wants the Softmax.
        node.name, twin.name = names.node(f"{base}_{node.op_type}"), base
    return added


def _built(
    proto: onnx.NodeProto, base: str, values: dict[str, ir.Value | None], names: Names
) -> ir.Node:
    name = names.node(f"{base}_{proto.op_type}")
    outputs = [ir.Value(name=names.value(f"{name}_output")) for _ in proto.output]
    values.update(zip(proto.output, outputs, strict=True))
    return ir.Node(
        "",
        proto.op_type,
        [values[key] for key in proto.input],
        [ir.from_proto(attribute) for attribute in proto.attribute],
        outputs=outputs,
        name=name,
    )


def _scales(node: ir.Node) -> tuple[float, ...]:
    """The factors of a Resize or Upsample of opset 10 or lower; empty if they are not constant."""
    if "scales" in node.attributes:
        return tuple(node.attributes["scales"].as_floats())
    if node.op_type not in ("Resize", "Upsample"):
        return ()
    value = node.inputs[-1]
    # The default of an input is no constant: callers may feed another value.
    if value is None or value.is_graph_input():
        return ()
    tensor = ir.convenience.get_const_tensor(value)
    return () if tensor is None else tuple(tensor.numpy().ravel().tolist())


def _keep_resize(node: ir.Node, scales: Sequence[float]) -> None:
    """Opset 11 gave Resize a mode for what opset 10 did; the converter leaves the default."""
    shrinks = min(scales, default=1) < 1
    if shrinks and max(scales) > 1:
        raise UnsupportedError(
            "A Resize that grows one axis and shrinks another has no form in opset 11",
            where=node.name,
            remedy="Export the model with opset 11 or newer",
        )
    node.attributes["coordinate_transformation_mode"] = ir.AttrString(
        "coordinate_transformation_mode", "asymmetric"
    )
    mode = node.attributes.get("mode")
    if mode is None or mode.as_string() == "nearest":
        rounding = "ceil" if shrinks else "floor"
        node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", rounding)


def _match_constants(node: ir.Node, added: Iterable[ir.Node], types: Types) -> None:
    """Give bounds and fill values the type of the data: the converter makes all of them float32."""
    if node.op_type not in ("Clip", "Pad") or node.inputs[0] is None:
        return
    known = types.get(node.inputs[0].name or "")
    wanted = ir.DataType(known.tensor_type.elem_type) if known else ir.DataType.FLOAT
    for constant in added:
        tensor: Tensor = constant.attributes["value"].as_tensor()
        if tensor.dtype == ir.DataType.FLOAT and wanted != tensor.dtype:
            data = tensor.numpy().astype(wanted.numpy())
            matched = ir.Tensor(data, dtype=wanted, name=tensor.name)
            constant.attributes["value"] = ir.AttrTensor("value", matched)
