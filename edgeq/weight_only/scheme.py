"""What the user asks of weights in blocks, and what that means for one matrix."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.errors import RecipeError
from edgeq.graph.walk import node_name
from edgeq.weight_only.blocks import SMALLEST_BLOCK, BlockSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.weight_only.tables import Table

SCHEME_BITS: Final = {"w8": 8, "w4": 4, "w2": 2}
"""The schemes and the bits of their weights."""

OPERATOR: Final = "operator"
STANDARD: Final = "qdq"
FORMATS: Final = (OPERATOR, STANDARD)
"""``operator``: onnxruntime's MatMulNBits and GatherBlockQuantized. ``qdq``: DequantizeLinear of
the ONNX standard, opset 21."""

DEFAULT_SIZES: Final = {8: 32, 4: 32, 2: 32}
"""Weights in a block where nobody says (docs/weight_only.md has the measurements)."""

_SMALL_SHARE: Final = 0.05
"""Part of all weights under which a table that is only looked up keeps 8 bits: positions and
angles are there, which 4 bits ruin while they save nothing."""

_OUTPUT_SHARE: Final = 1 / 3
"""Part of all weights up to which the output layer keeps 8 bits: nothing behind it makes up for its
errors (a language model of 135 M weights, tied with its embedding, 21 %: in 4 bits it alone costs 2
of 7 % of perplexity). llama.cpp's mixes keep 6 bits there."""


@dataclass(frozen=True, slots=True)
class BlockScheme:
    """The user's choices.

    Attributes:
        name: ``w8``, ``w4`` or ``w2``.
        method: How integers are found; ``auto`` takes the best for each matrix.
        size: Weights in a block; None for the default of the bits.
        symmetric: Whether zero points are left out.
        format: ``operator`` or ``qdq``.
        layer_bits: Patterns of node names and the bits of their weights, the first match counts.
        target_bits: Bits a weight on average, scales included: wider ones are mixed in.
        learns: Whether what layers read is gathered where there is data.
    """

    name: str
    method: str
    size: int | None = None
    symmetric: bool = False
    format: str = OPERATOR
    layer_bits: tuple[tuple[str, int], ...] = ()
    target_bits: float | None = None
    learns: bool = True

    @property
    def bits(self) -> int:
        """Bits of most weights."""
        return SCHEME_BITS[self.name]

    def spec(self, table: Table, all_weights: int) -> BlockSpec | None:
        """How a matrix is stored; None where its rows fit no block of a lookup.

        Args:
            table: The matrix.
            all_weights: Weights of all matrices of the model.
        """
        small = table.looked_up_only and table.size < _SMALL_SHARE * all_weights
        last = table.is_handed_out and table.size <= _OUTPUT_SHARE * all_weights
        return self.of_bits(table, self.asked(table) or (8 if small or last else self.bits))

    def of_bits(self, table: Table, bits: int) -> BlockSpec | None:
        """How a matrix is stored in so many bits; None where its rows fit no block of a lookup."""
        size = self.size or DEFAULT_SIZES[bits]
        # A lookup hands over whole blocks, and a block with hardly any weight is all scale.
        looked_up = any(use.looks_up for use in table.uses)
        while size > SMALLEST_BLOCK and (
            (looked_up and table.columns % size) or size >= 2 * table.columns
        ):
            size //= 2
        if looked_up and table.columns % size:
            return None
        return BlockSpec(bits, size, self.symmetric)

    def asked(self, table: Table) -> int | None:
        """The bits that the user wants for one of the nodes that read the table."""
        names = [node_name(use.node) for use in table.uses]
        for pattern, bits in self.layer_bits:
            if any(_matches(name, pattern) for name in names):
                return bits
        return None

    def require_meant(self, names: Sequence[str]) -> None:
        """Make sure that every pattern matches a node.

        Raises:
            RecipeError: One does not.
        """
        for pattern, _ in self.layer_bits:
            if not any(_matches(name, pattern) for name in names):
                raise RecipeError(
                    f"pattern {pattern!r} matches no node whose weights can be stored in blocks",
                    where="--layer-bits",
                    remedy="edgeq inspect MODEL --sizes lists them",
                )


def _matches(name: str, pattern: str) -> bool:
    # Exporters put brackets into names: only * and ? are wild.
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
