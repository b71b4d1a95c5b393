"""Computes what is the same in every run, and stores the results as initializers.

Whatever reads constants only is run once in onnxruntime, in batches of bounded size. This finds the
weights that hide behind Cast (float16 or float64 storage), Transpose, Reshape or Identity. Results
much larger than what they are made of stay nodes. What is stored quantized stays quantized:
``dequantize_weights.py`` is another pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import EdgeqError
from edgeq.graph import constants, rewire, walk
from edgeq.graph.shapes import static
from edgeq.graph.walk import MICROSOFT, is_op, name_of
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import where
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from edgeq.passes.outcome import Answer
    from edgeq.types import Array

_GROWTH = 1_000_000
"""Bytes by which a result may exceed its inputs."""

_BATCH = 400_000_000
"""Bytes of constants that one session is handed."""

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
     "Bernoulli"}
)  # fmt: skip
_QUANTIZING = ("QuantizeLinear", "DynamicQuantizeLinear", "DequantizeLinear")
"""What quantized models consist of: a constant behind them is stored that way on purpose."""

_LAYOUT = ("Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
"""Ops that only store a tensor differently: the result replaces it, whatever its size."""

_DOMAINS = frozenset({"", "ai.onnx", MICROSOFT})


def fold_constants(model: ir.Model) -> Outcome:
    """Replace values that depend on constants only by their numbers."""
    return Outcome.of(compute_constants(model))


def compute_constants(model: ir.Model, also: Collection[str] = ()) -> list[Answer]:
    """Replace values that depend on constants only by their numbers.

    Args:
        model: Changed in place.
        also: Operators to compute that are left alone otherwise.

    Returns:
        One answer for each value.
    """
    names = rewire.Names(model)
    answers: list[Answer] = []
    foldable = _foldable(model, answers, also)
    wanted = [v for node in foldable for v in node.outputs if _is_wanted(v, foldable)]
    for batch in _batches(wanted):
        for value, result in _compute(model, batch).items():
            answers.append(_store(value, result, names))
    rewire.drop_unused_initializers(model)
    return answers


def _foldable(model: ir.Model, answers: list[Answer], also: Collection[str]) -> dict[ir.Node, int]:
    """Nodes that depend on constants only -> bytes of the constants behind them, in order."""
    found: dict[ir.Node, int] = {}
    for node in walk.nodes(model):
        if not _is_deterministic(node) and node.op_type not in also:
            continue
        sources = [v for v in node.inputs if v is not None]
        if not all(_is_known(v, found) for v in sources):
            continue
        cost = sum(_bytes_behind(v, found) for v in sources)
        size = max((_declared_bytes(v) for v in node.outputs), default=0)
        if size > cost + _GROWTH and not _is_layout(node):
            answers.append(f"{where(node)}: its constant result of {size} bytes stays computed")
            continue
        found[node] = cost
    return found


def _is_deterministic(node: ir.Node) -> bool:
    if node.domain not in _DOMAINS or node.op_type in _RANDOM:
        return False
    if node.op_type in _QUANTIZING or not node.outputs:
        return False
    if is_op(node, "Dropout") or next(walk.subgraphs(node), None) is not None:
        return False
    return not any(a.is_ref() for a in node.attributes.values()) and not any(
        word in node.op_type for word in ("Sequence", "Optional")
    )


def _is_known(value: ir.Value, found: dict[ir.Node, int]) -> bool:
    return constants.is_constant(value) or value.producer() in found


def _is_layout(node: ir.Node) -> bool:
    return is_op(node, *_LAYOUT) or node.op_type == "DequantizeLinear"


def _bytes_behind(value: ir.Value, found: dict[ir.Node, int]) -> int:
    producer = value.producer()
    if producer in found:
        return found[producer]
    tensor = constants.tensor(value)
    return 0 if tensor is None else int(tensor.nbytes)


def _declared_bytes(value: ir.Value) -> int:
    shape = static(value)
    if shape is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return 0
    return int(np.prod([float(max(d, 0)) for d in shape]) * value.dtype.itemsize)


def _is_wanted(value: ir.Value, foldable: dict[ir.Node, int]) -> bool:
    """Whether something that is not folded reads the value."""
    producer = value.producer()
    if value.is_graph_output():
        # A constant output needs a node; this is the smallest there is.
        if producer is not None and is_op(producer, "Constant"):
            return False
        return producer is None or not (
            is_op(producer, "Identity") and constants.is_constant(producer.inputs[0])
        )
    if producer is not None and is_op(producer, "Constant"):
        return False
    return any(reader not in foldable for reader in value.consumers())


def _batches(wanted: Sequence[ir.Value]) -> Iterator[list[ir.Value]]:
    batch: list[ir.Value] = []
    size = 0
    for value in wanted:
        cost = _bytes_of(_behind([value])[1])
        if batch and size + cost > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += cost
    if batch:
        yield batch


def _bytes_of(leaves: Sequence[ir.Value]) -> int:
    return sum(int(t.nbytes) for t in map(constants.tensor, leaves) if t is not None)


def _behind(values: Sequence[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes that values are computed by, in order, and the initializers those read."""
    nodes: dict[ir.Node, None] = {}
    leaves: dict[ir.Value, None] = {}
    pending = [(v, False) for v in reversed(values)]
    while pending:
        value, finished = pending.pop()
        node = value.producer()
        if node is None:
            leaves[value] = None
        elif finished:
            nodes[node] = None
        elif node not in nodes:
            pending.append((value, True))
            pending += [(v, False) for v in node.inputs if v is not None]
    return list(nodes), list(leaves)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why onnxruntime did not compute a value."""

    why: str


def _compute(model: ir.Model, values: Sequence[ir.Value]) -> dict[ir.Value, Array | _Refusal]:
    """Run what the values depend on. A batch that does not run is halved until the guilty shows."""
    try:
        part = _cut_out(model, values)
        session = Session(part, SessionConfig(optimize=False), what="the constant part")
        return dict(zip(values, session.run({}).values(), strict=True))
    except (EdgeqError, ValueError, RuntimeError, TypeError) as error:
        if len(values) == 1:
            return {values[0]: _Refusal(str(error))}
    half = len(values) // 2
    return _compute(model, values[:half]) | _compute(model, values[half:])


def _cut_out(model: ir.Model, values: Sequence[ir.Value]) -> ir.Model:
    """A model of its own that computes the values from nothing."""
    nodes, leaves = _behind(values)
    copies: dict[ir.Value, ir.Value] = {leaf: _leaf(leaf) for leaf in leaves}
    clones = []
    for position, node in enumerate(nodes):
        outputs = [
            ir.Value(name=v.name and f"{position}:{index}") for index, v in enumerate(node.outputs)
        ]
        inputs = [None if v is None else copies[v] for v in node.inputs]
        attributes = node.attributes.values()
        clones.append(ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs))
        copies.update(zip(node.outputs, outputs, strict=True))
    graph = ir.Graph(
        [],
        [copies[v] for v in values],
        nodes=clones,
        initializers=[copies[leaf] for leaf in leaves],
        opset_imports=dict(model.opset_imports),
        name="constants",
    )
    return ir.Model(graph, ir_version=model.ir_version)


def _leaf(value: ir.Value) -> ir.Value:
    """A copy of an initializer. Its name stays: renaming it would rename the shared tensor."""
    tensor = value.const_value
    if tensor is None:
        raise ValueError(f"{value!r} has no data")
    kind = ir.TensorType(tensor.dtype)
    return ir.Value(name=value.name, const_value=tensor, type=kind, shape=value.shape)


def _store(value: ir.Value, result: Array | _Refusal, names: rewire.Names) -> Answer:
    node = value.producer()
    if node is None:
        return False
    if isinstance(result, _Refusal):
        return f"{where(node)}: {result.why}"
    if not isinstance(result, np.ndarray) or result.dtype == object:
        return f"{where(node)}: its constant result is no tensor of numbers"
    nodes, leaves = _behind([value])
    if result.nbytes > _bytes_of(leaves) + _GROWTH and not all(map(_is_layout, nodes)):
        return f"{where(node)}: its constant result of {result.nbytes} bytes stays computed"
    name = name_of(value)
    if not value.is_graph_output():
        value.name = names.value(f"{name}__computed")
    else:
        name = names.value(f"{name}__constant")
    new = rewire.add_initializer(edits.graph_of(node), name, result)
    rewire.take_place(value, new)
    for dead in reversed(nodes):
        if not any(o.uses() or o.is_graph_output() for o in dead.outputs):
            rewire.remove(dead)
    return True
