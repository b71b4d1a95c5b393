"""What a model would cost on a board, counted from its graph and the sizes in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs
from edgeq.calibration.sources import open_source
from edgeq.errors import DataError, RecipeError
from edgeq.estimation.estimate import estimate
from edgeq.estimation.work import work_of
from edgeq.graph import shapes, walk
from edgeq.graph.interface import Port
from edgeq.quantization.insert import insert
from edgeq.quantization.refusal import INTEGER_OPS
from edgeq.quantization.resolve import resolve
from edgeq.types import TensorRange
from edgeq.validation.coverage import value_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.estimation.estimate import Estimate
    from edgeq.quantization.annotate import Annotations
    from edgeq.targets import TargetProfile
    from edgeq.targets.board import Board
    from edgeq.types import Sample


@dataclass(frozen=True, slots=True)
class Estimates:
    """What a model would cost.

    Attributes:
        board: Where.
        forms: The model as it is; before quantization also as the target would run it in integers.
    """

    board: Board
    forms: tuple[Estimate, ...]


def estimate_costs(
    model: ir.Model,
    prepared: ir.Model,
    annotations: Annotations,
    target: TargetProfile,
    board: Board,
    sample: Sample,
) -> Estimates:
    """Count what runs of a model cost.

    A model that is quantized is taken as it is. A float one is taken as it is after preparation,
    and once more with the Q/DQ pairs that it would get on the target.

    Args:
        model: The model; not changed.
        prepared: The model after preparation; not changed.
        annotations: What of it would run in integers.
        target: Where.
        board: Limits and costs.
        sample: Decides on sizes; one run is made with it for each form.
    """
    if _is_quantized(model):
        return Estimates(board, (_of("as it is", model, target, board, sample),))
    found = [_of("as it is, prepared", prepared, target, board, sample)]
    if annotations.specs:
        # What the ranges will be changes no size.
        ranges = {ref.name: TensorRange(0.0, 0.0) for ref in annotations.observed()}
        integers = insert(prepared, resolve(prepared, annotations, ranges))
        found.append(_of(f"in integers on {target.name}", integers, target, board, sample))
    return Estimates(board, tuple(found))


def sizing_sample(model: ir.Model, data: object, ran: Sequence[Sample]) -> Sample:
    """A sample that decides on the sizes of all values.

    Args:
        model: What it is for.
        data: As for :func:`edgeq.quantize`, of which the first sample is taken; or None.
        ran: Random samples on which the model has run, used where it fixes all sizes of its inputs.

    Raises:
        RecipeError: Sizes of inputs are open and nobody gave data.
        DataError: There is no sample, or the model runs on no random one.
    """
    if data is not None:
        source = open_source(data, input_specs(model), max_samples=1)
        for sample in source:
            return sample
        raise DataError("there are no samples", where="--calib", remedy="Give at least one")
    for value in model.graph.inputs:
        if not value.is_initializer() and shapes.static(value) is None:
            raise RecipeError(
                f"sizes of an input are open: {Port.of(value)}",
                where="--estimate",
                remedy=f"Give --fix-shape {value.name}=SIZE,SIZE,..., or samples with --calib",
            )
    if not ran:
        raise DataError(
            "the model runs on no random input, so that sizes inside of it are not known",
            where="--estimate",
            remedy="Give samples with --calib",
        )
    return ran[0]


def _of(
    form: str, model: ir.Model, target: TargetProfile, board: Board, sample: Sample
) -> Estimate:
    seen = value_shapes(model, sample, walk.values(model))
    return estimate(form, work_of(model, seen, target), board)


def _is_quantized(model: ir.Model) -> bool:
    """Whether any number of the model is stored or computed in integers with scales."""
    return any(
        node.op_type in INTEGER_OPS or node.op_type.startswith(("QLinear", "DequantizeLinear"))
        for node in walk.nodes(model)
    )
