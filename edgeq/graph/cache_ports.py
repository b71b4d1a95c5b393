"""Which inputs of a decoder are its cache, and which outputs continue them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph.walk import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_STORED: Final = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.UINT8}
)


@dataclass(frozen=True, slots=True)
class CachePort:
    """A cache at the interface, [batch, heads, tokens, channels].

    Attributes:
        past: The input.
        present: The output that continues it.
        dtype: What both hold.
        heads: Heads.
        channels: Channels; bytes where two of 4 bits share one.
    """

    past: str
    present: str
    dtype: ir.DataType
    heads: int
    channels: int

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token takes."""
        return self.heads * self.channels * int(self.dtype.numpy().itemsize)


def cache_ports(model: ir.Model) -> tuple[CachePort, ...]:
    """The caches of a model by its interface, whatever reads them; exporters keep their order.

    Raises:
        ModelError: Inputs look like caches that no output, or another one, continues.
    """
    pasts, presents = _caches(model.graph.inputs), _caches(model.graph.outputs)
    found = [
        CachePort(name_of(past), name_of(present), *sizes)
        for (past, sizes), (present, _) in zip(pasts, presents, strict=False)
    ]
    if [sizes for _, sizes in pasts] != [sizes for _, sizes in presents]:
        raise ModelError(
            f"{len(pasts)} inputs look like caches, and {len(presents)} outputs like what "
            "continues them",
            remedy="Export one output [batch, heads, tokens, channels] for each, in one order",
        )
    return tuple(found)


def _caches(
    ports: Sequence[ir.Value],
) -> list[tuple[ir.Value, tuple[ir.DataType, int, int]]]:
    found = [(port, cache_sizes(port)) for port in ports]
    return [(port, sizes) for port, sizes in found if sizes is not None]


def cache_sizes(port: ir.Value) -> tuple[ir.DataType, int, int] | None:
    """Type, heads and channels of what looks like a cache; None for anything else."""
    shape, kind = port.shape, port.dtype
    if shape is None or len(shape) != 4 or kind not in _STORED or kind is None:
        return None
    _, heads, tokens, channels = shape
    if isinstance(heads, int) and isinstance(channels, int) and not isinstance(tokens, int):
        return kind, heads, channels
    return None
