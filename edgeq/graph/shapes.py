"""Types and shapes: inference that says when it failed, and ranks."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass


def infer(model: ir.Model) -> bool:
    """Fill in types and shapes as far as ONNX can infer them.

    Returns:
        Whether inference ran. When it failed the model is as it was: dtypes and ranks that matter
        then come from what is seen while calibrating.
    """
    untyped = _untyped_if_sequences(model)
    ran = _quietly(model, strict=True) or _quietly(model, strict=False)
    for value, shape in untyped:
        value.type, value.shape = None, shape
    return ran


def _untyped_if_sequences(model: ir.Model) -> list[tuple[ir.Value, ir.Shape | None]]:
    """The values without a type, where some may be sequences: onnx-ir would call them tensors."""
    found = list(ir.traversal.RecursiveGraphIterator(model.graph))
    if not any(_handles_sequences(n) for n in found):
        return []
    return [(v, v.shape) for n in found for v in n.outputs if v.type is None]


def _handles_sequences(node: ir.Node) -> bool:
    # ReverseSequence is one by its name only: it turns tensors round.
    named = "Sequence" in node.op_type or "Optional" in node.op_type
    return named and node.op_type != "ReverseSequence"


def _quietly(model: ir.Model, *, strict: bool) -> bool:
    """onnx-ir reports a failed inference in its log only; a handler turns that into an answer."""
    logger = logging.getLogger("onnx_ir.passes.common.shape_inference")
    failures: list[logging.LogRecord] = []

    class _Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failures.append(record)

    handler, propagate = _Catch(level=logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        ShapeInferencePass(strict_mode=strict, check_type=strict)(model)
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    return not any("failed" in record.getMessage() for record in failures)


def static(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape, when every dimension is known."""
    if value is None or value.shape is None:
        return None
    dims = tuple(value.shape)
    # Exporters write -1 for a size that they do not know.
    known = [d for d in dims if isinstance(d, int) and d >= 0]
    return tuple(known) if len(known) == len(dims) else None


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, when known."""
    return None if value is None or value.shape is None else len(value.shape)
