"""Makes models that draw random numbers comparable: two sessions draw the same ones."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

RANDOM_OPS: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike"}
)  # fmt: skip
"""Operators that draw numbers; all take the attribute ``seed``."""

_EXACT_IN_FLOAT: Final = 1 << 24


def seed_random(graph: onnx.GraphProto) -> None:
    """Give every node that draws numbers without a seed one that follows from its name. In place.

    Otherwise a model with noise inside, as speech synthesis has, would differ from itself.
    """
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                seed_random(body)
        given = any(attribute.name == "seed" for attribute in node.attribute)
        if node.op_type in RANDOM_OPS and node.domain in ("", "ai.onnx") and not given:
            seed = zlib.crc32(node.name.encode()) % _EXACT_IN_FLOAT
            # FLOAT in AttributeProto: seeds are floats in ONNX.
            node.attribute.add(name="seed", type=1, f=float(seed))
