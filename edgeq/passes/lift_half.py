"""Lets models that compute in half precision compute in float32, with the interface kept.

For targets without kernels in half precision: runtimes put a Cast on either side of each node
there. float16 and bfloat16 numbers are float32 numbers, so that nothing is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.passes.lift import lift_layers

if TYPE_CHECKING:
    from edgeq.passes.outcome import Outcome

_KINDS: Final = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def lift_half(model: ir.Model) -> Outcome:
    """Let layers in half precision compute in float32."""
    return lift_layers(model, _KINDS)
