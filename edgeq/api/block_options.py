"""The arguments about weights in blocks, checked and resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgeq.errors import RecipeError, nearest
from edgeq.weight_only.allocation import possible
from edgeq.weight_only.blocks import BITS, BlockSpec
from edgeq.weight_only.methods import WITHOUT_DATA, applicable
from edgeq.weight_only.scheme import FORMATS, OPERATOR, SCHEME_BITS, STANDARD, BlockScheme
from edgeq.weight_only.standard import STANDARD_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITH_DATA: Final = "gptq"
_WORTH_IT: Final = 4
"""Bits up to which learning from data pays for the passes over it: at 8 bits the rounding of inputs
is what is left, whatever the method."""


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """What was asked for; see :func:`edgeq.quantize`."""

    block_size: int | None = None
    symmetric: bool = False
    method: str | None = None
    format: str = OPERATOR
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    target_bits: float | None = None

    @property
    def says_anything(self) -> bool:
        """Whether any argument differs from its default."""
        return self != BlockChoice()


def resolve_blocks(scheme: str, choice: BlockChoice, *, has_data: bool) -> BlockScheme | None:
    """What the arguments mean for a scheme; None for one without blocks.

    Raises:
        RecipeError: An argument is wrong, or means nothing for the scheme.
    """
    if scheme not in SCHEME_BITS:
        if choice.says_anything:
            raise RecipeError(
                f"scheme {scheme} stores no weights in blocks",
                where="block size, symmetric, method, format or layer bits",
                remedy=f"Leave it out, or take --scheme {', '.join(SCHEME_BITS)}",
            )
        return None
    bits = SCHEME_BITS[scheme]
    if choice.block_size is not None:
        BlockSpec(bits, choice.block_size)
    if choice.format not in FORMATS:
        raise RecipeError(
            f"unknown format {choice.format!r}",
            where="--format",
            remedy=nearest(choice.format, FORMATS),
        )
    learns = has_data and bits <= _WORTH_IT
    method = choice.method or (_WITH_DATA if learns else WITHOUT_DATA)
    applicable(method, has_data=has_data)
    _require_bits(bits, choice)
    if choice.target_bits is not None and not possible(choice.target_bits):
        raise RecipeError(
            f"{choice.target_bits:g} bits a weight cannot be reached",
            where="--target-bits",
            remedy="Take a number between 2 and 9, such as 4.5",
        )
    return BlockScheme(
        scheme,
        method,
        choice.block_size,
        choice.symmetric,
        choice.format,
        tuple(choice.layer_bits.items()),
        choice.target_bits,
        learns=learns or choice.method is not None,
    )


def _require_bits(bits: int, choice: BlockChoice) -> None:
    for each in (bits, *choice.layer_bits.values()):
        if each not in BITS:
            raise RecipeError(
                f"{each} bits cannot be stored", where="--layer-bits", remedy="Take 8, 4 or 2"
            )
        if choice.format == STANDARD and each not in STANDARD_BITS:
            raise RecipeError(
                f"the ONNX standard has no type of {each} bits at opset 21",
                where="--format qdq",
                remedy="Take --format operator, or 4 bits",
            )
