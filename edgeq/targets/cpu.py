"""onnxruntime's CPU provider, portable over x86 and ARM.

Measured with onnxruntime 1.31 by reading its optimized graph; the test of this table quantizes a
one-operator model for every row and fails when the kernel that runs is no longer the integer one.
Unsigned activations: signed ones do not fuse on x86 by default
(onnxruntime/core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc).
"""

from __future__ import annotations

from edgeq.targets.profile import Form, KernelRow, Placement, TargetProfile

_SELECTORS = "onnxruntime: qdq_transformer/selectors_actions"
_PROPAGATION = "onnxruntime: qdq_transformer/qdq_propagation.cc and drop-QDQ selectors"

_MOVES = (
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)

_GRIDS: frozenset[str | int] = frozenset(
    {"align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"}
)
"""Resize modes that write no number of their own; ``tf_crop_and_resize`` extrapolates with one."""

KERNELS: tuple[KernelRow, ...] = (
    KernelRow("Conv", Placement.COMPUTE, weight_ranks=frozenset({3, 4, 5}), source=_SELECTORS),
    KernelRow(
        "Gemm",
        Placement.COMPUTE,
        needs_quantized_output=False,
        dynamic_on_float=True,
        weight_ranks=frozenset({2}),
        source=_SELECTORS,
    ),
    KernelRow(
        "MatMul",
        Placement.COMPUTE,
        needs_quantized_output=False,
        computed_weight=Placement.COSTLY,
        dynamic_on_float=True,
        weight_ranks=frozenset({2, 3, 4}),
        source=_SELECTORS,
    ),
    KernelRow(
        "LSTM",
        Placement.COMPUTE,
        form=Form.DYNAMIC,
        needs_quantized_output=False,
        weight_ranks=frozenset({3}),
        source="onnxruntime: contrib_ops/cpu/quantization/dynamic_quantize_lstm.cc",
    ),
    KernelRow("Relu", Placement.ABSORBED, source="rewritten by edgeq"),
    KernelRow("Clip", Placement.ABSORBED, source="rewritten by edgeq"),
    KernelRow("Add", Placement.CARRY, source=_SELECTORS),
    KernelRow("Concat", Placement.CARRY, source=_SELECTORS),
    KernelRow("AveragePool", Placement.CARRY, source=_SELECTORS),
    KernelRow("GlobalAveragePool", Placement.CARRY, source=_SELECTORS),
    KernelRow("LeakyRelu", Placement.CARRY, source=_SELECTORS),
    KernelRow("Mul", Placement.COSTLY, source=_SELECTORS),
    KernelRow("Sigmoid", Placement.COSTLY, source=_SELECTORS),
    KernelRow("Softmax", Placement.COSTLY, source=_SELECTORS),
    KernelRow("Where", Placement.COSTLY, source=_SELECTORS),
    KernelRow("ArgMax", Placement.MOVE, needs_quantized_output=False, source=_PROPAGATION),
    KernelRow(
        "Resize",
        Placement.MOVE,
        attributes={"mode": frozenset({"nearest"}), "coordinate_transformation_mode": _GRIDS},
        source=_PROPAGATION,
    ),
    *(KernelRow(op, Placement.MOVE, source=_PROPAGATION) for op in _MOVES),
)

CPU = TargetProfile(
    name="cpu",
    summary="onnxruntime's CPU provider on x86-64 and ARM64: uint8 activations, int8 weights",
    kernels=KERNELS,
    contrib_operators=True,
)
