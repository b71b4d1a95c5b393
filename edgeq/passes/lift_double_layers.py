"""Lets models whose layers compute in doubles compute in float32, with the interface kept.

For quantizing only, which coarsens much more: a model that stays float keeps its precision. Where
no layer computes in them, doubles carry exact integers, in the arithmetic of shapes, and stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.passes.lift import lift_layers

if TYPE_CHECKING:
    from edgeq.passes.outcome import Outcome

_KINDS: Final = frozenset({ir.DataType.DOUBLE})


def lift_double_layers(model: ir.Model) -> Outcome:
    """Let layers in doubles compute in float32."""
    return lift_layers(model, _KINDS)
