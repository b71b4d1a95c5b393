"""Lets islands of half precision, between a Cast to it and a Cast back, compute in float32.

float16 and bfloat16 numbers are float32 numbers, so that nothing is lost; onnxruntime computes most
of what is in between in float32 anyway, with a Cast on either side of each node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.passes import islands

if TYPE_CHECKING:
    from edgeq.passes.outcome import Outcome

_KINDS: Final = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def lift_islands(model: ir.Model) -> Outcome:
    """Turn islands of half precision into float32."""
    return islands.lift(model, _KINDS, lambda _: None)
