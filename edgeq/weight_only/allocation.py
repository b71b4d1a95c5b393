"""Mixed bits: more for the matrices that suffer most, within a budget of bytes.

Every matrix is tried in each width with a quick method; its error is the energy of the layer's
output error over that of its output (without data: of the weights), so that layers of any scale
compare. From the smallest form on, the step that takes away most error for a byte comes first,
until no step fits: the greedy solution of a knapsack whose gains shrink with every step.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.errors import RecipeError
from edgeq.weight_only.blocks import BITS, stored_bytes
from edgeq.weight_only.methods import WITHOUT_DATA, quantize_rows, relative_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.weight_only.blocks import BlockSpec
    from edgeq.weight_only.moment import Moment
    from edgeq.weight_only.tables import Table

_OUTPUT_COUNTS: Final = 50.0
"""What the error of an output layer counts beside that of others, which what flows past them
dilutes and layers behind make up for. In a language model of 135 M weights in 4 bits the relative
errors of 210 inner layers add up to 0.28 and cost 4 % of perplexity; that of the output layer is
0.003 and costs 2 %."""

_SAMPLED_ROWS: Final = 256
"""Rows of a matrix that its errors are estimated on."""


@dataclass(frozen=True, slots=True)
class Width:
    """A matrix in one width.

    Attributes:
        bits: The width.
        bytes: What it takes, all included.
        error: Energy of the error over that of the signal, times what it counts.
    """

    bits: int
    bytes: int
    error: float


def widths(
    table: Table, specs: Mapping[int, BlockSpec], moment: Moment | None
) -> tuple[Width, ...]:
    """A matrix in every width, the smallest first; estimated on some of its rows.

    Args:
        table: The matrix.
        specs: How it would be stored, by bits.
        moment: What it is multiplied by; None without data.
    """
    counts = _OUTPUT_COUNTS if table.is_handed_out else 1.0
    step = -(-table.rows // _SAMPLED_ROWS)
    rows = table.read()[::step]
    found = []
    for bits, spec in sorted(specs.items()):
        error = relative_error(rows, quantize_rows(rows, spec, WITHOUT_DATA, moment), moment)
        found.append(Width(bits, stored_bytes(spec, table.rows, table.columns), counts * error))
    return tuple(found)


def allocate(choices: Mapping[str, Sequence[Width]], weights: int, target: float) -> dict[str, int]:
    """Bits for every matrix.

    Args:
        choices: By name, each matrix in its widths, the smallest first.
        weights: How many all of them have.
        target: Bits a weight at most, over all of them, scales included.

    Returns:
        Bits by name.

    Raises:
        RecipeError: Not even the smallest widths fit.
    """
    place = dict.fromkeys(choices, 0)
    spent, budget = sum(found[0].bytes for found in choices.values()), int(weights * target / 8)
    if spent > budget:
        least = math.ceil(800 * spent / weights) / 100
        raise RecipeError(
            f"the matrices take {least:g} bits a weight at least, and {target:g} are allowed",
            where="--target-bits",
            remedy=f"Take --target-bits {least:g}, a --scheme of fewer bits, or larger blocks "
            "(--block-size 64)",
        )
    steps = [_step(name, found, 0) for name, found in choices.items() if len(found) > 1]
    heapq.heapify(steps)
    while steps:
        _, name = heapq.heappop(steps)
        found, now = choices[name], place[name]
        more = found[now + 1].bytes - found[now].bytes
        if spent + more > budget:
            continue
        spent += more
        place[name] = now + 1
        if now + 2 < len(found):
            heapq.heappush(steps, _step(name, found, now + 1))
    return {name: choices[name][index].bits for name, index in place.items()}


def _step(name: str, found: Sequence[Width], now: int) -> tuple[float, str]:
    """How urgent the step to the next width is: error that goes for a byte, most first."""
    here, there = found[now], found[now + 1]
    gain = (here.error - there.error) / max(there.bytes - here.bytes, 1)
    return -gain, name


def possible(bits: float) -> bool:
    """Whether a mean of so many bits a weight can be asked for."""
    return min(BITS) < bits < 2 * max(BITS)
