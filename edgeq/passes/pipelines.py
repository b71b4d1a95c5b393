"""The order in which passes run.

``OPTIMIZE`` makes a model as it was found fast: everything that is constant is a number, everything
that a layer can take up is in the layer. ``PREPARE`` does the same to a model that is going to be
quantized. ``FINALIZE`` cleans up behind the insertion of Q/DQ; it merges nothing, because runtimes
want a DequantizeLinear for each reader.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from edgeq.errors import EdgeqError
from edgeq.graph import walk
from edgeq.passes.convert_once import convert_once
from edgeq.passes.dequantize_weights import dequantize_weights
from edgeq.passes.einsum_to_matmul import einsum_to_matmul
from edgeq.passes.explicit_pads import explicit_pads
from edgeq.passes.factor_sums import factor_sums
from edgeq.passes.fold_affine_after import fold_affine_after
from edgeq.passes.fold_affine_before import fold_affine_before
from edgeq.passes.fold_constants import fold_constants
from edgeq.passes.fold_gemm import fold_gemm
from edgeq.passes.fold_if import fold_if
from edgeq.passes.fold_loop_conditions import fold_loop_conditions
from edgeq.passes.fold_pad import fold_pad
from edgeq.passes.fold_shapes import fold_shapes
from edgeq.passes.fold_transpose_into_layer import fold_transpose_into_layer
from edgeq.passes.fuse_for_onnxruntime import fuse_for_onnxruntime
from edgeq.passes.fuse_rotary import fuse_rotary
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.inline_functions import inline_functions
from edgeq.passes.lift_constants import lift_constants
from edgeq.passes.lift_double_layers import lift_double_layers
from edgeq.passes.lift_doubles import lift_doubles
from edgeq.passes.lift_half import lift_half
from edgeq.passes.lift_islands import lift_islands
from edgeq.passes.matmul_to_gemm import matmul_to_gemm
from edgeq.passes.merge_affine import merge_affine
from edgeq.passes.merge_branches import merge_branches
from edgeq.passes.merge_casts import merge_casts
from edgeq.passes.merge_concats import merge_concats
from edgeq.passes.merge_duplicates import merge_duplicates
from edgeq.passes.merge_gathers import merge_gathers
from edgeq.passes.merge_layers import merge_layers
from edgeq.passes.merge_reshapes import merge_reshapes
from edgeq.passes.merge_slices import merge_slices
from edgeq.passes.merge_transposes import merge_transposes
from edgeq.passes.merge_unstacked import merge_unstacked
from edgeq.passes.move_transposes import move_transposes
from edgeq.passes.raise_opset import NORMALIZATIONS, raise_opset, raise_opset_for_hard_swish
from edgeq.passes.read_last_states import read_last_states
from edgeq.passes.recognize_activations import recognize_activations
from edgeq.passes.recognize_batch_norm import recognize_batch_norm
from edgeq.passes.recognize_gelu import recognize_gelu
from edgeq.passes.recognize_hard_swish import recognize_hard_swish
from edgeq.passes.recognize_layer_norm import recognize_layer_norm
from edgeq.passes.recognize_pools import recognize_pools
from edgeq.passes.recognize_rectifiers import recognize_rectifiers
from edgeq.passes.recognize_softmax import recognize_softmax
from edgeq.passes.remove_dead import remove_dead
from edgeq.passes.remove_expands import remove_expands
from edgeq.passes.remove_loop_states import remove_loop_states
from edgeq.passes.remove_noops import remove_noops
from edgeq.passes.remove_zero_states import remove_zero_states
from edgeq.passes.sort_nodes import sort_nodes
from edgeq.passes.spell_residuals import spell_residuals
from edgeq.passes.split_prelu import split_prelu
from edgeq.passes.unmerge_transposes import unmerge_transposes
from edgeq.passes.widen_channels import widen_channels

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator

    import onnx_ir as ir

    from edgeq.passes.outcome import Pass
    from edgeq.targets import TargetProfile


@dataclass(frozen=True, slots=True)
class Repeat:
    """Passes that run in turn until none of them changes anything.

    Attributes:
        passes: The passes; some may be repeated on their own.
        rounds: How often at most.
    """

    passes: Pipeline
    rounds: int = 8


Pipeline: TypeAlias = "tuple[Pass | Repeat, ...]"

_RECOGNIZE: Pipeline = (
    recognize_layer_norm,
    recognize_gelu,
    recognize_softmax,
    recognize_activations,
    recognize_rectifiers,
)

_ROUNDS = 4
"""How often everything may begin anew, if it keeps uncovering work."""

_OPEN: Pipeline = (inline_functions, lift_constants, infer_shapes)

_SHARED: Pipeline = (
    Repeat(
        (lift_constants, infer_shapes, lift_islands, lift_doubles, merge_casts, remove_noops,
         fold_constants, fold_shapes, fold_if, fold_loop_conditions, remove_loop_states,
         remove_zero_states, remove_dead, merge_reshapes, merge_gathers, merge_slices,
         merge_concats, merge_unstacked, read_last_states, remove_expands)
    ),
    merge_duplicates,
    einsum_to_matmul,
    *_RECOGNIZE,
    Repeat((unmerge_transposes, move_transposes, merge_transposes, fold_transpose_into_layer,
            remove_noops, merge_reshapes)),
    recognize_pools,
    explicit_pads,
    Repeat((fold_pad, fold_affine_after, merge_branches, fold_affine_before, merge_affine,
            merge_layers, factor_sums, remove_noops)),
    fold_gemm,
    merge_duplicates,
    *_RECOGNIZE,
    remove_dead,
)  # fmt: skip

OPTIMIZE: Pipeline = (
    *_OPEN,
    Repeat((*_SHARED, matmul_to_gemm, recognize_batch_norm, recognize_hard_swish), _ROUNDS),
)

PREPARE: Pipeline = (
    inline_functions,
    lift_constants,
    infer_shapes,
    lift_half,
    lift_double_layers,
    dequantize_weights,
    Repeat(_SHARED, _ROUNDS),
    split_prelu,
)

_FUSE_ROTARY: Pipeline = (
    fuse_rotary,
    infer_shapes,
    Repeat((move_transposes, merge_transposes, merge_reshapes, remove_noops, remove_dead)),
    merge_duplicates,
)

PREPARE_FOR_ONNXRUNTIME: Pipeline = (*PREPARE, *_FUSE_ROTARY)
"""The same for a model that gets onnxruntime's own operators anyway."""

FINALIZE: Pipeline = (remove_dead, sort_nodes)


def for_target(target: TargetProfile | None) -> Pipeline:
    """The passes that make a model as fast as it can be in float.

    Args:
        target: What it shall run on; None for operators of the ONNX standard only.
    """
    if target is None:
        return OPTIMIZE
    first: Pipeline = () if target.half_kernels else (lift_half,)
    if _has_normalizations(target):
        first = (*first, raise_opset)
    last: Pipeline = (split_prelu,) if "PRelu" in target.slow_operators else ()
    last = (*last, *_behind_quantization(target))
    if target.contrib_operators and target.executable_here:
        last = (*last, *_FUSE_ROTARY, fuse_for_onnxruntime)
        last = (*last, merge_reshapes, fold_constants, remove_dead)
    opened = (*_OPEN, *first) if first else ()
    return (*opened, *OPTIMIZE, *last)


def for_quantizing(target: TargetProfile) -> Pipeline:
    """The passes that prepare a model for quantization: :data:`PREPARE`, as the target has it.

    Args:
        target: What it shall run on.
    """
    slow = "PRelu" in target.slow_operators
    first: Pipeline = (*_OPEN, raise_opset) if _has_normalizations(target) else ()
    kept = tuple(step for step in PREPARE if step is not split_prelu or slow)
    last: Pipeline = (recognize_hard_swish,) if target.rows("HardSwish") else ()
    if target.contrib_operators:
        # Behind quantization, convert_once wants the operator.
        last = (*last, raise_opset_for_hard_swish)
    if any(row.whole_vectors for row in target.rows("Conv")):
        last = (*last, widen_channels)
    return (*first, *kept, *last)


def _has_normalizations(target: TargetProfile) -> bool:
    return target.maximum_opset is not None and target.maximum_opset >= NORMALIZATIONS


def for_finishing(target: TargetProfile) -> Pipeline:
    """What a quantized model goes through before it is handed over.

    Args:
        target: What it shall run on.
    """
    once: Pipeline = (convert_once,) if target.contrib_operators else ()
    return (*_behind_quantization(target), *once, *FINALIZE)


def _behind_quantization(target: TargetProfile) -> Pipeline:
    return (spell_residuals,) if "SkipLayerNormalization" in target.slow_operators else ()


class PassFailed(EdgeqError):  # noqa: N818 - it is the pass that failed
    """A pass raised; the model it worked on is unusable.

    Attributes:
        name: The pass.
    """

    def __init__(self, name: str, error: Exception) -> None:
        self.name = name
        super().__init__(
            f"the graph pass failed: {type(error).__name__}: {error}",
            where=name,
            remedy=f"Leave it out with --skip-pass {name}, and please report the model",
        )


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did, over all of its rounds.

    Attributes:
        name: The pass.
        changes: How many places it changed.
        declined: Why it left places alone, as of its last round.
        nodes_before: Nodes in the model but for constants, bodies included, when it first began.
        nodes_after: ``nodes_before`` less what this pass removed, plus what it added.
        notes: What the user should hear.
        seconds: Time it took.
    """

    name: str
    changes: int
    declined: tuple[str, ...]
    nodes_before: int
    nodes_after: int
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def run_pipeline(
    model: ir.Model,
    pipeline: Pipeline,
    *,
    skip: Collection[str] = (),
    limit: int | None = None,
) -> tuple[PassReport, ...]:
    """Run passes on a model, in place.

    Args:
        model: Changed in place.
        pipeline: The passes.
        skip: Names of passes to leave out.
        limit: Stop after that many passes have run, counting every round; None for all.

    Returns:
        One report for each pass that ran, in the order in which they began.

    Raises:
        PassFailed: A pass raised.
    """
    reports: dict[str, PassReport] = {}
    for done, report in enumerate(steps(model, pipeline, skip)):
        earlier = reports.get(report.name)
        reports[report.name] = report if earlier is None else _joined(earlier, report)
        if limit is not None and done + 1 >= limit:
            break
    return tuple(reports.values())


def _joined(earlier: PassReport, later: PassReport) -> PassReport:
    return PassReport(
        name=later.name,
        changes=earlier.changes + later.changes,
        declined=later.declined,
        nodes_before=earlier.nodes_before,
        nodes_after=earlier.nodes_after + later.nodes_after - later.nodes_before,
        notes=earlier.notes + later.notes,
        seconds=earlier.seconds + later.seconds,
    )


def steps(model: ir.Model, pipeline: Pipeline, skip: Collection[str]) -> Iterator[PassReport]:
    """Run passes one by one; yields a report behind each run.

    A pass that had nothing to do runs again only once the model is another, or more is known of it.
    """
    yield from _Progress(model, skip).through(pipeline)


@dataclass(slots=True)
class _Progress:
    """How far a model has come.

    Attributes:
        model: The model.
        skip: Names of passes to leave out.
        state: How often it has become another one, or more was found out about it.
        idle: The state that each pass had nothing to do in.
    """

    model: ir.Model
    skip: Collection[str]
    state: int = 0
    idle: dict[Pass, int] = field(default_factory=dict)

    def through(self, steps: Pipeline) -> Generator[PassReport, None, int]:
        """Run passes in turn; yields a report behind each run, returns how much they changed."""
        changes = 0
        for step in steps:
            inner = self._repeat(step) if isinstance(step, Repeat) else self._run(step)
            changes += yield from inner
        return changes

    def _repeat(self, step: Repeat) -> Generator[PassReport, None, int]:
        total = 0
        for _ in range(step.rounds):
            changes = yield from self.through(step.passes)
            total += changes
            if not changes:
                break
        return total

    def _run(self, each: Pass) -> Generator[PassReport, None, int]:
        if each.__name__ in self.skip or self.idle.get(each) == self.state:
            return 0
        report, news = _run(self.model, each)
        self.state += news > 0
        if not report.changes:
            self.idle[each] = self.state
        yield report
        return report.changes


def _run(model: ir.Model, each: Pass) -> tuple[PassReport, int]:
    """Run a pass; its report, and how much it changed or found out."""
    before, start = len(walk.computing(model)), time.perf_counter()
    try:
        outcome = each(model)
    except Exception as error:
        raise PassFailed(each.__name__, error) from error
    after, seconds = len(walk.computing(model)), time.perf_counter() - start
    report = PassReport(
        each.__name__, outcome.changes, outcome.declined, before, after, outcome.notes, seconds
    )
    return report, outcome.changes + outcome.learned


def names(pipeline: Pipeline) -> tuple[str, ...]:
    """The passes of a pipeline by name, each once, in order."""
    return tuple(dict.fromkeys(each.__name__ for each in flat(pipeline)))


def flat(pipeline: Pipeline) -> Iterator[Pass]:
    """The passes of a pipeline in order, each round once."""
    for step in pipeline:
        if isinstance(step, Repeat):
            yield from flat(step.passes)
        else:
            yield step
