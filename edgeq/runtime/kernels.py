"""What onnxruntime really executes: its own optimized graph, read back."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INT8_COMPUTE = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearConv",
        "QLinearConvTranspose",
        "QLinearMatMul",
    }
)
"""Operators of onnxruntime's optimized graphs that multiply and accumulate 8-bit integers."""

NBITS_COMPUTE = frozenset({"MatMulNBits"})
"""Operators with block-wise integer weights."""

_WEIGHTS_APART = {
    "session.optimized_model_external_initializers_file_name": "optimized.data",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}
"""Keeps the graph readable however large the weights are: one message ends at 2 GiB
(onnxruntime/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h)."""

_RENAMED = re.compile(r"(_token_\d+|/duplicated|_nchwc|_nhwc)$")
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """A node of the optimized graph.

    Attributes:
        name: As onnxruntime calls it.
        op_type: The operator it runs.
        constants: Names of the initializers it reads.
    """

    name: str
    op_type: str
    constants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutedGraph:
    """The optimized graph, bodies included.

    Attributes:
        nodes: Every node.
        leftover_qdq: QuantizeLinear and DequantizeLinear nodes that run as such.
    """

    nodes: tuple[ExecutedNode, ...]
    leftover_qdq: int

    def by_original_name(self) -> Mapping[str, ExecutedNode]:
        """Nodes under the name they had before optimization, as far as that can be told."""
        found: dict[str, ExecutedNode] = {}
        for node in self.nodes:
            found.setdefault(original_name(node.name), node)
        return found

    def by_constant(self) -> Mapping[str, tuple[ExecutedNode, ...]]:
        """Nodes by the initializers they read."""
        found: dict[str, tuple[ExecutedNode, ...]] = {}
        for node in self.nodes:
            for name in node.constants:
                found[name] = (*found.get(name, ()), node)
        return found


def original_name(name: str) -> str:
    """A node's name without what onnxruntime's optimizers append."""
    while True:
        shorter = _RENAMED.sub("", name)
        if shorter == name:
            return name
        name = shorter


def executed_graph(model: ir.Model, config: SessionConfig | None = None) -> ExecutedGraph:
    """Let onnxruntime optimize ``model`` and read what it would run.

    Args:
        model: The model; not changed.
        config: How a session would be opened.

    Raises:
        ModelError: onnxruntime does not load the model.
    """
    given = config or SessionConfig()
    apart = replace(given, entries={**given.entries, **_WEIGHTS_APART})
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / "optimized.onnx"
        Session(model, apart, optimized_path=path, what="the candidate")
        return _read(ir.load(path))


def fused_model(model: ir.Model, without: Sequence[str] = ()) -> ir.Model:
    """Let onnxruntime rewrite ``model`` as far as that suits every machine.

    Args:
        model: The model; not changed.
        without: Names of graph transformers of onnxruntime to leave out.

    Returns:
        A model with tensors of its own. Of the interface, only names and order are kept.

    Raises:
        ModelError: onnxruntime does not load the model.
    """
    config = SessionConfig(portable=True, without=tuple(without), entries=_WEIGHTS_APART)
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        path = Path(folder) / "optimized.onnx"
        Session(model, config, optimized_path=path, what="the candidate")
        return ir.external_data.load_to_model(ir.load(path))


def _read(optimized: ir.Model) -> ExecutedGraph:
    found = []
    for node in ir.traversal.RecursiveGraphIterator(optimized.graph):
        constants = tuple(
            value.name
            for value in node.inputs
            if value is not None and value.is_initializer()
            if value.name
        )
        found.append(ExecutedNode(node.name or "", node.op_type, constants))
    leftover = sum(node.op_type in _CONVERSIONS for node in found)
    return ExecutedGraph(tuple(found), leftover)
