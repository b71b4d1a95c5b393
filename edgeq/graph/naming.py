"""Names: every value and node of a model gets one that no other has, subgraphs included."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from edgeq.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

Tensor: TypeAlias = ir.TensorProtocol


def graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, its subgraphs at every depth, then the bodies of the model's functions."""
    yield from model.graphs()
    for function in model.functions.values():
        yield function.graph
        yield from function.subgraphs()


def definitions(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value that ``graph`` itself defines, once each; omitted outputs are left out."""
    seen: set[ir.Value] = set()
    produced = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.initializers.values(), *produced):
        if value not in seen and not _omitted(value):
            seen.add(value)
            yield value


def unique_names(model: ir.Model) -> int:
    """Make the names of all values, and of all nodes, distinct over the whole model. In place.

    ``NameFixPass`` of onnx-ir is not enough: it lets sibling subgraphs reuse each other's names,
    gives names to optional outputs that were omitted, and renames tensors other models share.
    The main graph's inputs and outputs keep their names; other values of the main graph come
    before those of subgraphs.

    Args:
        model: Changed in place.

    Returns:
        How many duplicate names were replaced (filling in missing ones is not counted).

    Raises:
        ModelError: If two different inputs or outputs of the main graph share a name.
    """
    interface = _interface(model.graph)
    pool = _Pool({v.name for g in graphs(model) for v in definitions(g) if v.name})
    pool.claim(interface)
    replaced = name_nodes(model)
    for graph in graphs(model):
        for value in definitions(graph):
            if interface.get(value.name or "") is value or pool.take(value.name):
                continue
            replaced += bool(value.name)
            rename(value, pool.fresh(value.name or _default_name(value)))
    return replaced


def name_nodes(model: ir.Model) -> int:
    """Make node names distinct over the whole model; an unnamed node becomes ``OpType_12``.

    Args:
        model: Changed in place. The number is the node's position in the model.

    Returns:
        How many duplicate names were replaced.
    """
    nodes = [node for graph in graphs(model) for node in graph]
    pool = _Pool({node.name for node in nodes if node.name})
    replaced = 0
    for position, node in enumerate(nodes):
        if pool.take(node.name):
            continue
        replaced += bool(node.name)
        node.name = pool.fresh(node.name or f"{node.op_type}_{position}")
    return replaced


def rename(value: ir.Value, name: str) -> None:
    """Rename a value without renaming a tensor that another value or model may share."""
    tensor = value.const_value
    if tensor is not None:
        value.const_value = detached(tensor)
    value.name = name


def detached(tensor: Tensor) -> Tensor:
    """A tensor of its own name and properties over the same data; nothing is copied.

    Args:
        tensor: Any tensor; its data stays where it is (memory, or mapped from disk).
    """
    name, about = tensor.name or "", tensor.doc_string
    properties = dict(tensor.metadata_props)
    if isinstance(tensor, ir.ExternalTensor):
        return ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=properties,
            base_dir=tensor.base_dir,
        )
    shape = ir.Shape(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.STRING:
        strings = tensor.numpy().ravel().tolist()
        return ir.StringTensor(
            strings, shape=shape, name=name, doc_string=about, metadata_props=properties
        )
    return ir.LazyTensor(
        lambda: tensor,
        dtype=tensor.dtype,
        shape=shape,
        name=name,
        doc_string=about,
        metadata_props=properties,
    )


class _Pool:
    """Names in use, and how far the numbering of each has come."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._taken: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def claim(self, names: dict[str, ir.Value]) -> None:
        self._known.update(names)
        self._taken.update(names)

    def take(self, name: str | None) -> bool:
        """Reserve ``name``; False where there is none or somebody has it."""
        if not name or name in self._taken:
            return False
        self._taken.add(name)
        return True

    def fresh(self, base: str) -> str:
        name = base
        # Known names count as in use although their owners may come later: they keep theirs.
        while name in self._known or name in self._taken:
            self._numbers[base] += 1
            name = f"{base}_{self._numbers[base]}"
        self._taken.add(name)
        return name


def _interface(graph: ir.Graph) -> dict[str, ir.Value]:
    """Inputs and outputs of the main graph by name."""
    found: dict[str, ir.Value] = {}
    for value in (*graph.inputs, *graph.outputs):
        if not value.name:
            raise ModelError(
                "An input or output of the graph has no name",
                remedy="Name all inputs and outputs and export the model again",
            )
        if found.setdefault(value.name, value) is not value:
            raise ModelError(
                "Two different inputs or outputs of the graph have this name",
                where=value.name,
                remedy="Rename one of them and export the model again",
            )
    return found


def _omitted(value: ir.Value) -> bool:
    """Whether the value is an optional output nobody asked for: a name would switch it on."""
    return not value.name and not value.uses() and not value.is_graph_output()


def _default_name(value: ir.Value) -> str:
    producer = value.producer()
    if producer is None:
        return "value"
    return f"{producer.name}_output_{value.index()}"
