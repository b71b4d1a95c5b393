"""Activation-aware scaling in front of weights in blocks: what scales, and by which error."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from edgeq.graph.walk import node_name
from edgeq.refinement.scaled_inputs import ScaledInputs, scale_inputs
from edgeq.weight_only.activation_aware import Reader, input_factors, some_rows
from edgeq.weight_only.methods import AUTO, WITHOUT_DATA, applicable
from edgeq.weight_only.moments import InputMoments
from edgeq.weight_only.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.recipe import Recipe
    from edgeq.types import FloatArray, Sample
    from edgeq.weight_only.scheme import BlockScheme

NOTHING_SCALED: Final = ScaledInputs(frozenset(), {})


def scaled_for_blocks(
    model: ir.Model,
    scheme: BlockScheme,
    recipe: Recipe,
    samples: Sequence[Sample],
    *,
    threads: int = 0,
) -> ScaledInputs:
    """Scale what the matrices of a model read, where that makes their blocks closer.

    Args:
        model: A prepared model; changed in place, it computes the same.
        scheme: How its matrices will be stored.
        recipe: Names what stays float.
        samples: What the model is fed.
        threads: Threads of onnxruntime; 0 lets it choose.
    """
    plain = model.clone()
    found = find_tables(plain, recipe).tables
    everything = sum(table.size for table in found)
    specs = {table.name: scheme.spec(table, everything) for table in found}
    # What is looked up, too, keeps its numbers; more bits than the scheme's have nothing to gain.
    tables = {
        node_name(table.uses[0].node): table
        for table in found
        if len(table.uses) == 1 and (spec := specs[table.name]) and spec.bits <= scheme.bits
    }
    moments = InputMoments(plain, found, samples, threads=threads)
    methods = applicable(AUTO, has_data=True) if scheme.method == AUTO else (WITHOUT_DATA,)

    def choose(nodes: Sequence[ir.Node]) -> FloatArray | None:
        readers, seen = [], None
        for table in (tables[node_name(node)] for node in nodes):
            spec, seen = specs[table.name], moments.of(table)
            if seen is None or spec is None:
                return None
            readers.append(Reader(some_rows(table.read()), spec))
            table.let_go()
        return None if seen is None else input_factors(readers, seen, methods)

    return scale_inputs(model, lambda node: node_name(node) in tables, choose)


def scaling_notes(scaled: ScaledInputs) -> Sequence[str]:
    """What the user should hear."""
    if scaled is NOTHING_SCALED:
        return []
    told = f"{len(scaled.nodes)} products read inputs that are scaled for finer weights"
    reasons = Counter(scaled.declined.values()).most_common(3)
    kept = "; ".join(f"{count} because {reason}" for reason, count in reasons)
    return [f"{told}; inputs that keep their numbers: {kept}" if kept else told]
