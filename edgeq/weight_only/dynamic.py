"""The dynamic scheme: inputs are rounded to 8 bits while the model runs, in one of two ways.

MatMulInteger and its relatives round a whole tensor with one scale, which is fast and fails where a
few numbers are much larger than the others. MatMulNBits at accuracy level 4 has a scale for every
block of inputs. Which layers fail is measured: what rounding its input and its weights changes in
each layer's output. Convolutions stay float: ConvInteger has no kernel for signed weights, and a
slow one for others (onnxruntime issues 3130 and 15888).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.graph import constants
from edgeq.graph.walk import node_name
from edgeq.quantization.annotate import annotate
from edgeq.quantization.insert import insert
from edgeq.quantization.plan import NodeDecision, NodeForm
from edgeq.quantization.resolve import resolve
from edgeq.recipe import Recipe
from edgeq.targets.profile import Form
from edgeq.weight_only.one_scale import products, rounding_errors
from edgeq.weight_only.routers import REASON, routers
from edgeq.weight_only.scheme import BlockScheme
from edgeq.weight_only.storing import store_in_blocks
from edgeq.weight_only.tables import FEWEST, find_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.quantization.plan import QuantPlan
    from edgeq.targets import TargetProfile
    from edgeq.types import Sample
    from edgeq.weight_only.storing import Outcome
    from edgeq.weight_only.tables import Use

LARGEST_ERROR: Final = 2.5e-4
"""Energy of a layer's error over that of its output from which inputs get a scale for each block:
36 dB. Normally distributed inputs and weights leave 39, blocks of 32 about 45; at 30 dB a language
model of 135 M weights lost 9 % of its perplexity."""

_BLOCK: Final = 32
"""Inputs that share a scale, and weights: the finest that has a fast kernel everywhere."""

_OPERATORS: Final = ("MatMul", "Gemm", "LSTM")
_MEASURED: Final = 4
"""Samples that errors are measured on."""

_OUTLIERS = "its inputs have outliers: rounded with one scale, its output is {:.0f} dB from float"
_NO_KERNEL = "no fast kernel rounds the input of {} while it runs"
_SHARED = "its weights are also looked up, and are stored once"


def quantize_dynamically(
    model: ir.Model,
    target: TargetProfile,
    recipe: Recipe,
    samples: Sequence[Sample],
    *,
    threads: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
) -> tuple[ir.Model, Outcome]:
    """Quantize what multiplies constant weights, with its inputs rounded while it runs.

    Args:
        model: A prepared model; left as it is.
        target: What can run in integers.
        recipe: Names what stays float.
        samples: What errors of layers are measured on.
        threads: Threads of onnxruntime; 0 lets it choose.
        progress: Called with the matrices stored in blocks, and how many there are.

    Returns:
        The quantized model, and what became of each node and of each matrix in blocks.
    """
    blocks = in_blocks_for(model, samples, threads)
    plan = dynamic_plan(model, target, recipe, blocks)
    made = insert(model, plan)
    scheme = BlockScheme("w8", "k-quant", _BLOCK)
    outcome = store_in_blocks(made, scheme, recipe, progress=progress)
    decided = {d.node: d for d in plan.decisions if d.form is NodeForm.DYNAMIC}
    rest = {d.node: d for d in outcome.decisions if d.node not in decided}
    planned = {d.node: d.reason for d in plan.decisions}
    explained = [_explained(decision, blocks, planned) for decision in rest.values()]
    return made, replace(outcome, decisions=(*decided.values(), *explained))


def in_blocks_for(model: ir.Model, samples: Sequence[Sample], threads: int) -> dict[str, str]:
    """The products that one scale for all inputs is not for, each with the reason.

    Args:
        model: A prepared model; not changed.
        samples: What to measure on.
        threads: Threads of onnxruntime.
    """
    settled: dict[str, str] = {}
    for table in _tables_looked_up(model):
        settled |= {node_name(use.node): _SHARED for use in table if not use.looks_up}
    settled |= dict.fromkeys(map(node_name, routers(model)), REASON)
    settled |= {node_name(node): "" for node in products(model) if _is_small(node)}
    open_ones = [n for n in products(model) if node_name(n) not in settled]
    errors = rounding_errors(model, open_ones, samples[:_MEASURED], threads)
    outliers = {
        name: _OUTLIERS.format(-10 * np.log10(error))
        for name, error in errors.items()
        if error > LARGEST_ERROR
    }
    return outliers | settled


def dynamic_plan(
    model: ir.Model, target: TargetProfile, recipe: Recipe, excluded: Mapping[str, str]
) -> QuantPlan:
    """The plan in which every product and recurrent layer but the excluded is dynamic."""
    rows = tuple(
        replace(row, form=Form.DYNAMIC, needs_quantized_output=False, computed_weight=None)
        for row in target.kernels
        if row.op_type in _OPERATORS
    )
    dynamic = replace(target, kernels=rows)
    annotations = annotate(model, dynamic, recipe, excluded)
    return resolve(model, annotations, {})


def _tables_looked_up(model: ir.Model) -> list[tuple[Use, ...]]:
    """Uses of the matrices that something looks up."""
    found = find_tables(model, Recipe()).tables
    return [t.uses for t in found if any(use.looks_up for use in t.uses)]


def _is_small(node: ir.Node) -> bool:
    """Whether a product has too few weights to gain anything, in blocks or otherwise."""
    tensor = constants.tensor(node.inputs[1])
    return tensor is not None and tensor.size < FEWEST


def _explained(
    decision: NodeDecision, blocks: Mapping[str, str], planned: Mapping[str, str]
) -> NodeDecision:
    """Why a node is in blocks rather than dynamic, or neither."""
    if decision.op_type == "LSTM":
        return replace(decision, reason=planned.get(decision.node, decision.reason))
    if decision.form is NodeForm.BLOCKS:
        return replace(decision, reason=blocks.get(decision.node, ""))
    if decision.op_type not in _OPERATORS and decision.op_type != "Gather":
        return replace(decision, reason=_NO_KERNEL.format(decision.op_type))
    return decision
