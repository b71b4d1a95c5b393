"""Mixed bits: more for the matrices that harm the model most, within a budget of bytes.

Every matrix is rounded to its narrowest width alone, and what that does to the model's outputs is
measured; a wider one does as much less as it leaves less error in the weights. From the smallest
form on, the step that takes away most damage for a byte comes first, until no step fits: the greedy
solution of a knapsack whose gains shrink with every step. Large matrices that found no room so are
tried first, too.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeq.errors import RecipeError
from edgeq.weight_only.alike import alike
from edgeq.weight_only.blocks import BITS, stored_bytes
from edgeq.weight_only.damage import Trials
from edgeq.weight_only.methods import WITHOUT_DATA, quantize_rows, relative_error
from edgeq.weight_only.moments import InputMoments
from edgeq.weight_only.scheme import STANDARD
from edgeq.weight_only.standard import STANDARD_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.types import FloatArray, Sample
    from edgeq.weight_only.blocks import BlockSpec
    from edgeq.weight_only.scheme import BlockScheme
    from edgeq.weight_only.tables import Table

_RUNS: Final = 128
"""Runs of the model at most: as many samples for each matrix as that allows, and where there are
more matrices, neighbours that play the same part together."""

_LARGE: Final = 20
"""Steps that take less than this part of the room are small: one that finds none loses little."""

_SAMPLED_ROWS: Final = 128
"""Rows of a matrix by which its widths are compared with each other."""


@dataclass(frozen=True, slots=True)
class Width:
    """A matrix in one width.

    Attributes:
        bits: The width.
        bytes: What it takes, all included.
        error: What it does to the outputs of the model: energy of the error over that of the
            signal.
    """

    bits: int
    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class TrialGround:
    """What matrices are tried on.

    Attributes:
        samples: What the model is run on.
        learns: Whether rounding looks at what a matrix is multiplied by.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Called with the matrices done, and how many there are.
    """

    samples: Sequence[Sample]
    learns: bool = False
    threads: int = 0
    progress: Callable[[int, int | None], None] | None = None


def mixed_bits(
    model: ir.Model,
    tables: Sequence[Table],
    scheme: BlockScheme,
    ground: TrialGround,
) -> dict[str, int]:
    """Bits of every matrix under the budget of the scheme, by name; empty without one.

    Args:
        model: The float model; not changed.
        tables: Its matrices.
        scheme: What is asked for.
        ground: What the matrices are tried on.

    Raises:
        RecipeError: Not even the smallest widths fit.
    """
    if scheme.target_bits is None:
        return {}
    stored = STANDARD_BITS if scheme.format == STANDARD else BITS
    # Nothing under the width of the scheme: what a layer in 2 bits costs at the far end of a model
    # is more than its own error tells.
    allowed = sorted(bits for bits in stored if bits >= scheme.bits)
    specs: dict[Table, list[BlockSpec]] = {}
    for table in tables:
        asked = scheme.asked(table)
        forms = (scheme.of_bits(table, bits) for bits in ([asked] if asked else allowed))
        if known := [form for form in forms if form is not None]:
            specs[table] = known
    weights = sum(table.size for table in specs)
    # Refused before anything is run.
    budget = _budget(_least(specs), weights, scheme.target_bits)
    kept = _as_wide_as_plain(specs, scheme)
    specs = kept if _least(kept) <= budget else specs
    return allocate(widths(model, specs, ground), weights, scheme.target_bits)


def _as_wide_as_plain(
    specs: Mapping[Table, list[BlockSpec]], scheme: BlockScheme
) -> dict[Table, list[BlockSpec]]:
    """The forms of each matrix that are no narrower than without a budget.

    What logits are off by tells too little of what the output layer costs in a language model.
    """
    everything = sum(table.size for table in specs)
    plain = {table: scheme.spec(table, everything) for table in specs}
    bits = {table: 0 if spec is None else spec.bits for table, spec in plain.items()}
    return {
        table: [spec for spec in known if spec.bits >= bits[table]] or known
        for table, known in specs.items()
    }


def _least(specs: Mapping[Table, list[BlockSpec]]) -> int:
    return sum(_bytes(table, known[0]) for table, known in specs.items())


def widths(
    model: ir.Model,
    specs: Mapping[Table, Sequence[BlockSpec]],
    ground: TrialGround,
) -> dict[str, tuple[Width, ...]]:
    """The matrices by name, each in every width, the smallest first.

    Args:
        model: The float model; not changed.
        specs: How each matrix may be stored, the smallest first.
        ground: What the matrices are tried on.
    """
    left = {table: _left(table, known) for table, known in specs.items()}
    narrow = {table: known[0] for table, known in specs.items() if len(known) > 1}
    harms = _harms(model, narrow, left, ground) if narrow else {}
    found = {}
    for table, known in specs.items():
        factor = harms.get(table, 0.0) / (left[table][0] or 1.0)
        found[table.name] = tuple(
            Width(spec.bits, _bytes(table, spec), factor * error)
            for spec, error in zip(known, left[table], strict=True)
        )
    return found


def _left(table: Table, specs: Sequence[BlockSpec]) -> list[float]:
    """The relative error of the weights in each form, by some of the rows."""
    rows = table.read()[:: -(-table.rows // _SAMPLED_ROWS)]
    return [relative_error(rows, quantize_rows(rows, spec, WITHOUT_DATA)) for spec in specs]


def _harms(
    model: ir.Model,
    specs: Mapping[Table, BlockSpec],
    left: Mapping[Table, Sequence[float]],
    ground: TrialGround,
) -> dict[Table, float]:
    """What each matrix does to the outputs; ``left`` tells what it leaves of itself."""
    samples = ground.samples[:: -(-len(ground.samples) // max(1, _RUNS // len(specs)))]
    moments = _squares(model, list(specs), samples, ground.threads) if ground.learns else None
    trials = Trials(model, specs, samples, threads=ground.threads)
    groups = alike([table for table in specs if trials.reaches(table)], _RUNS)
    found: dict[Table, float] = {}
    for group in groups:
        error = sum(left[table][0] for table in group)
        harm = trials.damage({table: _rounded(table, specs[table], moments) for table in group})
        found |= {table: harm * left[table][0] / (error or 1.0) for table in group}
        if ground.progress is not None:
            ground.progress(len(found), len(specs))
    # What no run can be fed counts as the others do on average.
    known = sum(left[table][0] for table in found)
    mean = sum(found.values()) / known if known else 1.0
    return {table: found.get(table, mean * left[table][0]) for table in specs}


def _squares(
    model: ir.Model, tables: Sequence[Table], samples: Sequence[Sample], threads: int
) -> InputMoments:
    """The size of what matrices are multiplied by."""
    found = InputMoments(model, tables, samples, crossed=False, threads=threads)
    for table in (table for table in tables if not table.looked_up_only):
        # The first one asks for the pass that serves all: now, as trials hold a session, too.
        found.of(table)
        break
    return found


def _rounded(table: Table, spec: BlockSpec, moments: InputMoments | None) -> FloatArray:
    moment = None if moments is None else moments.of(table)
    real = quantize_rows(table.read(), spec, WITHOUT_DATA, moment).real()
    table.let_go()
    return real


def _bytes(table: Table, spec: BlockSpec) -> int:
    return stored_bytes(spec, table.rows, table.columns)


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
    smallest = sum(found[0].bytes for found in choices.values())
    room = _budget(smallest, weights, target) - smallest
    first = dict.fromkeys(choices, 0)
    best = _filled(choices, first, room)
    # The turn of a large step may come when there is no room left for it, though it is worth more
    # than what came before.
    for name, found in choices.items():
        more = found[1].bytes - found[0].bytes if len(found) > 1 else 0
        if not best[name] and room / _LARGE <= more <= room:
            other = _filled(choices, {**first, name: 1}, room - more)
            best = min(best, other, key=lambda place: _total(choices, place))
    return {name: choices[name][index].bits for name, index in best.items()}


def _filled(
    choices: Mapping[str, Sequence[Width]], first: Mapping[str, int], room: int
) -> dict[str, int]:
    """Places in ``choices``, from the first ones on as far as there is room: bytes."""
    place = dict(first)
    steps = [_step(n, found, place[n]) for n, found in choices.items() if place[n] + 1 < len(found)]
    heapq.heapify(steps)
    while steps:
        _, name = heapq.heappop(steps)
        found, now = choices[name], place[name]
        more = found[now + 1].bytes - found[now].bytes
        if more > room:
            continue
        room -= more
        place[name] = now + 1
        if now + 2 < len(found):
            heapq.heappush(steps, _step(name, found, now + 1))
    return place


def _total(choices: Mapping[str, Sequence[Width]], place: Mapping[str, int]) -> float:
    return sum(found[place[name]].error for name, found in choices.items())


def _step(name: str, found: Sequence[Width], now: int) -> tuple[float, str]:
    """How urgent the step to the next width is: error that goes for a byte, most first."""
    here, there = found[now], found[now + 1]
    gain = (here.error - there.error) / max(there.bytes - here.bytes, 1)
    return -gain, name


def _budget(smallest: int, weights: int, target: float) -> int:
    """Bytes of all matrices at most."""
    budget = int(weights * target / 8)
    if smallest > budget:
        least = math.ceil(800 * smallest / weights) / 100
        raise RecipeError(
            f"the matrices take {least:g} bits a weight at least, and {target:g} are allowed",
            where="--target-bits",
            remedy=f"Take --target-bits {least:g}, a --scheme of fewer bits, or larger blocks "
            "(--block-size 64)",
        )
    return budget


def possible(bits: float) -> bool:
    """Whether a mean of so many bits a weight can be asked for."""
    return min(BITS) < bits < 2 * max(BITS)
