"""What rounding a product's inputs with one scale for all of them changes in its output.

The model runs once over the samples, from input to input, so that neither all that products read
nor all of the weights are ever in memory together.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.calibration.stepwise import Stepwise
from edgeq.graph import constants
from edgeq.graph.expose import expose
from edgeq.graph.walk import is_op, name_of, node_name, nodes, values
from edgeq.quantization import affine
from edgeq.runtime.memory import let_go
from edgeq.runtime.session import Session, SessionConfig
from edgeq.types import QuantSpec, QuantType
from edgeq.weight_only.blocks import in_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from edgeq.types import Array, FloatArray, Sample

_MEMORY: Final = 256_000_000
"""Bytes of what samples have still to bring to later products; samples beyond that are not used."""


def products(model: ir.Model) -> list[ir.Node]:
    """The MatMul and Gemm nodes that multiply by a constant float32 matrix, bodies included."""
    return [node for node in nodes(model) if is_op(node, "MatMul", "Gemm") and _has_matrix(node)]


def rounding_errors(
    model: ir.Model, multiplying: Sequence[ir.Node], samples: Sequence[Sample], threads: int = 0
) -> dict[str, float]:
    """What a dynamic kernel with one scale changes: error energy over output energy, by node.

    Args:
        model: The model; not changed.
        multiplying: Some of its :func:`products`.
        samples: What to run it on.
        threads: Threads of onnxruntime; 0 lets it choose.
    """
    readers: dict[str, list[ir.Node]] = defaultdict(list)
    for node in multiplying:
        if node.inputs[0] is not None:
            readers[name_of(node.inputs[0])].append(node)
    found: dict[str, float] = {}
    for name, arrays in _inputs(model, list(readers), samples, SessionConfig(threads)):
        seen = [np.asarray(array, np.float32) for array in arrays if array.size]
        for node in readers[name]:
            wrong, signal = _energies(node, seen)
            if signal > 0:
                found[node_name(node)] = wrong / signal
    return found


def _inputs(
    model: ir.Model, names: Sequence[str], samples: Sequence[Sample], config: SessionConfig
) -> Iterator[tuple[str, list[Array]]]:
    """What the samples bring to each value that any of them reaches."""
    known = values(model)
    outer = [name for name in names if known[name].graph is model.graph]
    steps = Stepwise(model, samples, outer, config, memory=_MEMORY)
    for name in outer:
        yield name, [kept[name] for kept in steps.advance([name]) if name in kept]
    # No step ends inside a body.
    exposed = expose(model, [name for name in names if name not in outer], keep_outputs=False)
    if exposed.outputs:
        session = Session(exposed.model, config, what="the model")
        for name, output in exposed.outputs.items():
            yield name, [session.run(sample, [output])[output] for sample in samples]


def _energies(node: ir.Node, seen: Sequence[FloatArray]) -> tuple[float, float]:
    """Energy of the error and of the output of one node for what it read."""
    across = node.attributes.get_int("transA", 0) != 0
    turned = [np.swapaxes(array, -1, -2) if across else array for array in seen]
    inputs = [array.reshape(-1, array.shape[-1]) for array in turned]
    rounded = [_rounded(rows) for rows in inputs]
    weights = _matrix(node)
    spec = QuantSpec(QuantType.INT8, symmetric=True, axis=0)
    wrong = signal = 0.0
    for chunk in in_chunks(*weights.shape):
        part = np.ascontiguousarray(weights[chunk])
        params = affine.params_for_weight(part, spec)
        stored = affine.dequantize(affine.quantize(part, params), params)
        for rows, coarse in zip(inputs, rounded, strict=True):
            output = rows @ part.T
            error = coarse @ stored.T - output
            wrong += float(np.vdot(error, error))
            signal += float(np.vdot(output, output))
    del weights
    let_go(constants.tensor(node.inputs[1]))
    return wrong, signal


def _rounded(rows: FloatArray) -> FloatArray:
    """What DynamicQuantizeLinear makes of inputs (its definition in the ONNX standard)."""
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    scale = np.float32((high - low) / 255.0) or np.float32(1.0)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    codes = np.clip(np.rint(rows / scale) + zero_point, 0, 255)
    return np.asarray((codes - zero_point) * scale, np.float32)


def _has_matrix(node: ir.Node) -> bool:
    tensor = constants.tensor(node.inputs[1])
    return tensor is not None and len(tensor.shape) == 2 and tensor.dtype.name == "FLOAT"


def _matrix(node: ir.Node) -> FloatArray:
    """The weights of a product: float32 [outputs, inputs]."""
    data = constants.array(node.inputs[1])
    if data is None:
        raise ValueError(f"the weights of {node.name!r} are not constant")
    real: FloatArray = data.astype(np.float32, copy=False)
    return real if node.attributes.get_int("transB", 0) else real.T
