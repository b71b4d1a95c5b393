"""What each scheme that needs no ranges does with a prepared model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from edgeq.api.input_scaling import NOTHING_SCALED, scaled_for_blocks, scaling_notes
from edgeq.errors import RecipeError
from edgeq.graph.walk import node_name
from edgeq.quantization.float8 import MINIMUM_OPSET, quantize_to_float8, read_by_products
from edgeq.quantization.half import convert_to_half
from edgeq.quantization.half_values import too_large_for_half
from edgeq.quantization.left_float import float_notes, left_in_half
from edgeq.quantization.magnitudes import magnitudes
from edgeq.quantization.narrow_weights import store_as_bfloat16
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import HALF
from edgeq.report.blocks import BlockRow
from edgeq.weight_only.allocation import TrialGround, mixed_bits
from edgeq.weight_only.dynamic import quantize_dynamically
from edgeq.weight_only.methods import AUTO, AWQ, WITHOUT_DATA
from edgeq.weight_only.scheme import SCHEME_BITS
from edgeq.weight_only.sequential import SequentialMoments
from edgeq.weight_only.storing import store_in_blocks
from edgeq.weight_only.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.api.options import Options
    from edgeq.quantization.plan import NodeDecision
    from edgeq.types import Sample
    from edgeq.weight_only.storing import StoredTable


@dataclass(frozen=True, slots=True)
class Ground:
    """What a conversion works on.

    Attributes:
        model: A prepared model, which may be changed.
        options: What is asked for.
        samples: Samples to learn from; empty without data.
        proof: Samples that the model runs on, random ones without data.
        progress: Called with what is done, and how much there is.
    """

    model: ir.Model
    options: Options
    samples: Sequence[Sample]
    proof: Sequence[Sample]
    progress: Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion did.

    Attributes:
        model: What came out.
        method: How, for the report.
        decisions: What became of each node that multiplies.
        notes: What the user should hear.
        rows: What became of each matrix that is stored in blocks.
    """

    model: ir.Model
    method: str
    decisions: tuple[NodeDecision, ...]
    notes: tuple[str, ...] = ()
    rows: tuple[BlockRow, ...] = ()


Conversion: TypeAlias = Callable[[Ground], Converted]

MINIMUM_OPSETS: Final = {"dynamic": 11, "fp16": 13, "bf16": 13, "fp8": MINIMUM_OPSET}
"""The opset that a scheme needs, where it needs one."""


def _in_blocks(ground: Ground) -> Converted:
    options = ground.options
    scheme = options.blocks
    if scheme is None:
        raise RecipeError("there is nothing said about blocks", where="scheme", remedy="Report it")
    learns = bool(ground.samples) and scheme.learns
    scaled = NOTHING_SCALED
    if learns and scheme.method in (AUTO, AWQ):
        scaled = scaled_for_blocks(
            ground.model, scheme, options.recipe, ground.samples, threads=options.threads
        )
    moments, mixed = None, {}
    if learns or scheme.target_bits is not None:
        reference = ground.model.clone()
        tables = find_tables(reference, options.recipe).tables
        trials = TrialGround(ground.proof, learns, options.threads, ground.progress)
        mixed = mixed_bits(reference, tables, scheme, trials)
        if learns:
            moments = SequentialMoments(reference, tables, ground.samples, threads=options.threads)
    # What is left of activation-aware rounding behind its factors.
    plain = replace(scheme, method=WITHOUT_DATA) if scheme.method == AWQ else scheme
    found = store_in_blocks(ground.model, plain, options.recipe, moments, ground.progress, mixed)
    rows = tuple(_row(table, scaled.nodes) for table in found.tables)
    told = (*_notes(rows), *scaling_notes(scaled))
    return Converted(ground.model, scheme.method, found.decisions, told, rows)


def _dynamic(ground: Ground) -> Converted:
    options = ground.options
    made, found = quantize_dynamically(
        ground.model, options.target, options.recipe, ground.proof,
        threads=options.threads, progress=ground.progress,
    )  # fmt: skip
    counts = Counter(d.form for d in found.decisions)
    told = f"{counts[NodeForm.DYNAMIC]} nodes quantize their input with one scale while running"
    blocks = sum(d.form is NodeForm.BLOCKS and d.op_type != "Gather" for d in found.decisions)
    if blocks:
        told += f", {blocks} with a scale for each block: their inputs have outliers"
    rows = tuple(_row(table) for table in found.tables)
    return Converted(made, "dynamic", found.decisions, (told, *_notes(rows)), rows)


def _half(ground: Ground) -> Converted:
    options = ground.options
    too_large = too_large_for_half(ground.model, ground.proof, threads=options.threads)

    def objection(node: ir.Node) -> str:
        if options.recipe.excludes(node_name(node), node.op_type):
            return "excluded by the user"
        return too_large(node)

    decisions = convert_to_half(ground.model, objection)
    count = sum(d.form is NodeForm.HALF for d in decisions)
    told = f"{count} of {len(decisions)} nodes on floats compute in float16, the others in float32"
    return Converted(ground.model, "none", decisions, (told,))


def _brain(ground: Ground) -> Converted:
    decisions = store_as_bfloat16(ground.model, ground.options.recipe)
    count = sum(d.form is NodeForm.STORED for d in decisions)
    told = f"The weights of {count} nodes are bfloat16; all arithmetic is float32"
    return Converted(ground.model, "none", decisions, (told,))


def _float8(ground: Ground) -> Converted:
    recipe = ground.options.recipe
    wanted = sorted(read_by_products(ground.model, recipe))
    largest = magnitudes(ground.model, wanted, ground.samples, threads=ground.options.threads)
    decisions = quantize_to_float8(ground.model, recipe, largest)
    count = sum(d.form is NodeForm.STORED for d in decisions)
    told = (
        f"{count} of {len(decisions)} products read float8 (E4M3FN); onnxruntime, which it is "
        "proven with here, multiplies in float32 between conversions, and no faster"
    )
    return Converted(ground.model, "max", decisions, (told,))


def with_half_floats(made: Converted, options: Options) -> Converted:
    """What a conversion did, with what it left float in float16 where that is asked for."""
    if options.recipe.float_type != HALF:
        return made
    decisions = left_in_half(made.model, made.decisions, options.target)
    notes = (*made.notes, *float_notes(decisions))
    return replace(made, decisions=decisions, notes=notes)


def _row(table: StoredTable, scaled: frozenset[str] = frozenset()) -> BlockRow:
    has_factors = not scaled.isdisjoint(table.nodes)
    return BlockRow(
        name=table.name,
        nodes=table.nodes,
        op_types=table.op_types,
        weights=table.weights,
        bits=table.spec.bits,
        block_size=table.spec.size,
        symmetric=table.spec.symmetric,
        method=f"{AWQ}+{table.method}" if has_factors else table.method,
        error=table.error,
        bytes=table.bytes,
    )


def _notes(rows: Sequence[BlockRow]) -> Sequence[str]:
    if not rows:
        return []
    weights, stored = sum(row.weights for row in rows), sum(row.bytes for row in rows)
    kinds = Counter((row.bits, row.block_size, row.method) for row in rows)
    listed = ", ".join(
        f"{count} by {method} in {bits} bits and blocks of {size}"
        for (bits, size, method), count in kinds.most_common()
    )
    return [
        f"{len(rows)} matrices of {weights} weights take {8 * stored / weights:.2f} bits a weight, "
        f"scales and zero points included: {listed}"
    ]


CONVERSIONS: Final[dict[str, Conversion]] = {
    **dict.fromkeys(SCHEME_BITS, _in_blocks),
    "dynamic": _dynamic,
    "fp16": _half,
    "bf16": _brain,
    "fp8": _float8,
}
"""By scheme."""
