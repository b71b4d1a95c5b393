"""Which values of a model pass what float16 holds while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.graph.walk import name_of, nodes, values
from edgeq.quantization.half_range import LARGEST
from edgeq.quantization.magnitudes import magnitudes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edgeq.types import Sample

_ROOM: Final = 2.0
"""How much larger than on the samples a value may become on other inputs."""


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
        infinite anyway, as in masks, are none.
    """
    fed = {value for node in nodes(model) for value in (*node.inputs, *node.outputs)}
    asked = [
        name
        for name, value in values(model).items()
        if value in fed and value.dtype is ir.DataType.FLOAT and not value.is_initializer()
    ]
    largest = magnitudes(model, asked, samples, threads=threads)

    def told(node: ir.Node) -> str:
        around = {name_of(v) for v in (*node.inputs, *node.outputs) if v is not None and v.name}
        for name in sorted(around & largest.keys()):
            if largest[name] * _ROOM > LARGEST:
                return (
                    f"{name!r} reaches {largest[name]:.3g} on the samples, and float16 ends at "
                    f"{LARGEST:.0f}"
                )
        return ""

    return told
