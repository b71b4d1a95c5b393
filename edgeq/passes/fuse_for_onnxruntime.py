"""Takes over the graph that onnxruntime makes of a model, with its own fused operators.

The fusions are onnxruntime's, those up to its level "extended": they are the same on every machine,
where the level above chooses layouts for the one it runs on. The file needs onnxruntime then, loads
faster, and has fewer nodes. What onnxruntime writes into the ONNX domain though ONNX does not have
it there, LayerNormalization below opset 17 and SimplifiedLayerNormalization, is left to its next
loading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx

from edgeq.errors import EdgeqError
from edgeq.graph import naming, walk
from edgeq.graph.walk import MICROSOFT
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import opset, where
from edgeq.runtime.kernels import fused_model
from edgeq.runtime.seeds import RANDOM_OPS
from edgeq.runtime.session import tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_LARGEST: Final = 1_800_000_000
"""Bytes of weights up to which the graph is read back: it is in memory twice then."""

_LAYER_NORM_SINCE: Final = 17
# Pad_Fusion gives a MaxPool the padding of a Pad with zeros: the pool pads with the lowest number,
# though, which is another result where its input is negative (1.31). fold_pad knows when it may.
_NEVER: Final = ("ConstantFolding", "SimplifiedLayerNormFusion", "Pad_Fusion")
_LAYER_NORM: Final = ("LayerNormFusionL1", "LayerNormFusionL2")
"""Names of graph transformers: onnxruntime/core/optimizer/graph_transformer_utils.cc."""


def fuse_for_onnxruntime(model: ir.Model) -> Outcome:
    """Take over onnxruntime's graph, if it has fewer nodes."""
    obstacle = next(_obstacles(model), None)
    if obstacle is not None:
        return Outcome(declined=(obstacle,))
    version = opset(model)
    without = _NEVER if version >= _LAYER_NORM_SINCE else (*_NEVER, *_LAYER_NORM)
    try:
        fused = fused_model(model, without)
    except EdgeqError as error:
        return Outcome(declined=(f"onnxruntime did not write its graph: {error}",))
    before, after = len(walk.nodes(model)), len(walk.nodes(fused))
    if after >= before:
        return Outcome()
    reason = next(_objections(model, fused, version), None)
    if reason is not None:
        return Outcome(declined=(reason,))
    _take_over(model, fused)
    return Outcome(before - after, notes=("The model needs onnxruntime: it has its operators",))


def _obstacles(model: ir.Model) -> Iterator[str]:
    if tensor_bytes(model) > _LARGEST:
        yield "the weights are too large for the graph to be read back"
    for node in walk.nodes(model):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield f"{where(node)}: what onnxruntime makes of it depends on the machine"
        if node.op_type in RANDOM_OPS:
            yield f"{where(node)}: it draws random numbers"


def _objections(model: ir.Model, fused: ir.Model, version: int) -> Iterator[str]:
    """Why the graph that came back cannot take the place of the model's."""
    known = {"", "ai.onnx", MICROSOFT, *model.opset_imports}
    for node in walk.nodes(fused):
        standard = node.domain in ("", "ai.onnx")
        if node.domain not in known:
            yield f"{where(node)}: an operator of {node.domain} came back"
        elif standard and not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=""):
            yield f"{where(node)}: it is no ONNX operator in opset {version}"
    for ours, theirs in (
        (model.graph.inputs, fused.graph.inputs),
        (model.graph.outputs, fused.graph.outputs),
    ):
        if [v.name for v in ours] != [v.name for v in theirs]:
            yield "inputs or outputs came back in another order"


def _take_over(model: ir.Model, fused: ir.Model) -> None:
    """Let the model have the other graph, and its own interface, imports and texts."""
    old, new = model.graph, fused.graph
    for ours, theirs in zip((*old.inputs, *old.outputs), (*new.inputs, *new.outputs), strict=True):
        theirs.type, theirs.shape, theirs.doc_string = ours.type, ours.shape, ours.doc_string
        theirs.metadata_props.clear()
        theirs.metadata_props.update(ours.metadata_props)
    imports = dict(old.opset_imports)
    if any(node.domain == MICROSOFT for node in walk.nodes(fused)):
        imports.setdefault(MICROSOFT, 1)
    new.opset_imports.clear()
    new.opset_imports.update(imports)
    new.name, new.doc_string = old.name, old.doc_string
    new.metadata_props.clear()
    new.metadata_props.update(old.metadata_props)
    model.graph = new
    naming.unique_names(model)
