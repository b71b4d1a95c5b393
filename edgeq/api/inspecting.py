"""What a model is made of, what would run in integers, and with data what that would cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.estimating import Estimates, estimate_costs, sizing_sample
from edgeq.api.sensing import Sensitivity, measure
from edgeq.graph import loader, macs, opset, shapes
from edgeq.graph.fix_inputs import fix_inputs
from edgeq.graph.interface import Interface
from edgeq.graph.split import tensors
from edgeq.graph.walk import node_name, nodes
from edgeq.passes.pipelines import for_quantizing
from edgeq.passes.prepare import prepare
from edgeq.quantization.annotate import annotate
from edgeq.quantization.forecast import forecast
from edgeq.quantization.narrow_weights import came_halved
from edgeq.recipe import Recipe
from edgeq.targets import target_named
from edgeq.targets.board import GENERIC, board_named
from edgeq.targets.releases import needed_on
from edgeq.weight_only.outlook import weight_outlook
from edgeq.weight_only.sizes import model_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.progress import Progress
    from edgeq.quantization.forecast import Forecast
    from edgeq.quantization.plan import NodeDecision
    from edgeq.targets.releases import Need
    from edgeq.weight_only.outlook import MatrixOutlook
    from edgeq.weight_only.sizes import ModelSizes


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model at a glance.

    Attributes:
        path: Its file; None for a model in memory.
        sha256: Hash of the file and its external data.
        size_bytes: Size of both.
        opset: Opset version of the default domain.
        interface: Inputs and outputs.
        nodes: How many nodes there are of each operator, bodies included, most frequent first.
        parameters: Elements of all float weights.
        macs: Multiply-accumulates of one run; None where shapes are not static.
        forecast: How much would run in integers, in how many pieces; sizes that are not known
            count as 1.
        target: Name of the target profile that was asked.
        decisions: What would become of every node that the target or edgeq knows, after
            preparation.
        notes: What loading and preparing changed.
        sensitivity: What int8 costs and where; None where there was no data.
        sizes: What the weights take in every form; None where nobody asked.
        weights: What few bits will cost each matrix; None where nobody asked.
        estimates: What a run would cost on a board; None where nobody asked.
        needs: The onnxruntime that runs the model as it is, where the oldest that edgeq takes does
            not; None where the target is another program, too.
    """

    path: Path | None
    sha256: str
    size_bytes: int
    opset: int
    interface: Interface
    nodes: Mapping[str, int]
    parameters: int
    macs: int | None
    forecast: Forecast
    target: str
    decisions: tuple[NodeDecision, ...]
    notes: tuple[str, ...]
    sensitivity: Sensitivity | None = None
    sizes: ModelSizes | None = None
    estimates: Estimates | None = None
    weights: tuple[MatrixOutlook, ...] | None = None
    needs: Need | None = None


def inspect(
    model: object,
    *,
    target: str = "cpu",
    calibration_data: object = None,
    max_samples: int | None = None,
    threads: int = 0,
    sizes: bool = False,
    weights: bool = False,
    sensitivity: bool = True,
    estimate: bool = False,
    board: str = GENERIC,
    fix_shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Look at a model without changing it.

    Args:
        model: Anything :func:`edgeq.quantize` takes.
        target: Name of the target profile to predict for.
        calibration_data: As for :func:`edgeq.quantize`.
        max_samples: Samples to read at most.
        threads: Threads of onnxruntime; 0 lets it choose.
        sizes: Whether to tell what the weights take as fp32, fp16, w8, w4 and w2.
        weights: Whether to foretell from the weights which matrices lose most in 8, 4 and 2 bits.
        sensitivity: Whether, with data, to quantize the model without any search and to compare it
            layer by layer: which nodes and values int8 costs most, and why.
        estimate: Whether to count what a run would cost on a board.
        board: Name of the board, or a TOML file.
        fix_shapes: Sizes to take for inputs and symbolic dimensions, as for :func:`edgeq.optimize`.
        progress: Listens to the run with data.

    Raises:
        ModelError: The model cannot be read.
        RecipeError: There is no such target, board or input, or sizes that an estimate needs are
            open.
        EdgeqError: With data: it cannot be used, or nothing can run in integers.
    """
    profile, costs = target_named(target), board_named(board)
    loaded = loader.load(model)
    sized = fix_inputs(loaded.model, fix_shapes) if fix_shapes else loaded.model
    raised = opset.upgrade(sized, profile.minimum_opset)
    prepared = prepare(raised, pipeline=for_quantizing(profile))
    macs_of_all = _macs(prepared.model)
    annotations = annotate(prepared.model, profile, Recipe())
    least = _least(prepared.model)
    foretold = forecast(prepared.model, annotations.decisions, least, profile, annotations.rounded)
    estimates = None
    if estimate:
        sample = sizing_sample(sized, calibration_data, prepared.samples)
        estimates = estimate_costs(sized, prepared.model, annotations, profile, costs, sample)
    return Inspection(
        path=loaded.path,
        sha256=loaded.sha256,
        size_bytes=loaded.size_bytes,
        opset=opset.default_opset(loaded.model),
        interface=Interface.of(loaded.model),
        nodes=dict(Counter(node.op_type for node in nodes(loaded.model)).most_common()),
        parameters=sum(t.size for t in tensors(loaded.model) if t.dtype.is_floating_point()),
        macs=macs_of_all,
        forecast=foretold,
        target=profile.name,
        decisions=tuple(annotations.decisions.values()),
        notes=(*loaded.notes, *prepared.notes),
        sensitivity=None
        if calibration_data is None or not sensitivity
        else measure(
            loaded,
            profile,
            calibration_data,
            max_samples=max_samples,
            threads=threads,
            progress=progress,
        ),
        sizes=model_sizes(prepared.model, halved=came_halved(loaded.model)) if sizes else None,
        estimates=estimates,
        weights=weight_outlook(prepared.model) if weights else None,
        needs=needed_on(loaded.model, profile),
    )


def _macs(model: ir.Model) -> int | None:
    """Multiply-accumulates where every shape is static."""
    shapes.infer(model)
    counts = [macs.count(node, shapes.static) for node in nodes(model) if macs.is_compute(node)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _least(model: ir.Model) -> dict[str, int | None]:
    """Multiply-accumulates per compute node if every unknown size were 1."""

    def shape_of(value: ir.Value) -> tuple[int, ...] | None:
        if value.shape is None:
            return None
        return tuple(d if isinstance(d, int) and d >= 0 else 1 for d in value.shape)

    compute = [node for node in nodes(model) if macs.is_compute(node)]
    return {node_name(node): macs.count(node, shape_of) for node in compute}
