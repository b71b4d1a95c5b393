"""Which values of a model pass what float16 holds while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.calibration.collector import collect
from edgeq.graph.walk import is_op, name_of, nodes, values
from edgeq.quantization.half_range import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeq.types import Sample

_ROOM: Final = 2.0
"""How much larger than on the samples a value may become on other inputs."""

_NO_LARGER: Final = (
    "Expand", "Flatten", "Identity", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that make nothing larger than what they read first (ONNX operators)."""


def too_large_for_half(
    model: ir.Model, samples: Iterable[Sample], *, threads: int = 0
) -> Callable[[ir.Node], str]:
    """Why nodes of a model that is to compute in float16 have to stay float32.

    Args:
        model: A model of known types; left as it is.
        samples: What it is run on.
        threads: Threads of the session; 0 lets onnxruntime choose.

    Returns:
        From a node to the reason; empty where all that it reads and makes fits. Values that are
        infinite anyway fit, and so do those far below zero that only a Softmax reads: a mask hides
        them, and they are as good as infinite.
    """
    used = {value for node in nodes(model) for value in (*node.inputs, *node.outputs)}
    asked = [name for name, value in values(model).items() if value in used and _is_asked(value)]
    found = collect(model, asked, samples, frozenset(), threads=threads).statistics
    ranges = {name: (s.minimum, s.maximum) for name, s in found.items() if s.count}

    def size(value: ir.Value) -> float:
        low, high = ranges.get(_source(value), (0.0, 0.0))
        return high if _is_masked(value) else max(-low, high)

    def told(node: ir.Node) -> str:
        around = (value for value in (*node.inputs, *node.outputs) if value is not None)
        large = next((value for value in around if size(value) * _ROOM > LARGEST), None)
        if large is None:
            return ""
        return (
            f"{name_of(large)!r} reaches {size(large):.3g} on the samples, and float16 ends at "
            f"{LARGEST:.0f}"
        )

    return told


def _is_asked(value: ir.Value) -> bool:
    is_stored = value.is_initializer() and not value.is_graph_input()
    return value.dtype is ir.DataType.FLOAT and not is_stored and _source(value) == value.name


def _source(value: ir.Value) -> str:
    """The name of the value whose range this one does not leave."""
    node = value.producer()
    while node is not None and is_op(node, *_NO_LARGER) and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value.name or ""


def _is_masked(value: ir.Value, steps: int = 3) -> bool:
    """Whether Softmax is all that reads a value, at most so many sums and views behind it."""
    readers = [use.node for use in value.uses()]
    return bool(readers) and all(
        is_op(node, "Softmax")
        or (
            steps > 0
            and is_op(node, "Add", "Reshape", "Where")
            and _is_masked(node.outputs[0], steps - 1)
        )
        for node in readers
    )
