"""onnxruntime's CPU provider: portable, and on the chips and in the browser that it runs on.

Measured with onnxruntime 1.31 by reading its optimized graph; the test of this table quantizes a
one-operator model for every row and fails when the kernel that runs is no longer the integer one.
Unsigned activations: signed ones do not fuse on x86 by default
(onnxruntime/core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc).
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.targets.profile import (
    Condition,
    Execution,
    Form,
    KernelRow,
    PairSums,
    Placement,
    TargetProfile,
)
from edgeq.types import QuantType

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

_NEWEST = 21
"""Opset of onnxruntime 1.20, the oldest that edgeq takes (onnxruntime/docs/Versioning.md)."""

_SLOW = frozenset({"PRelu", "SkipLayerNormalization"})
"""Measured: 1036 microseconds against 106 as Mul and Max (edgeq/passes/recognize_rectifiers.py),
261 against 49 as Sum and LayerNormalization (edgeq/passes/spell_residuals.py)."""

_GRIDS: frozenset[str | int] = frozenset(
    {"align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"}
)
"""Resize modes that write no number of their own; ``tf_crop_and_resize`` extrapolates with one."""

KERNELS: tuple[KernelRow, ...] = (
    KernelRow(
        "Conv",
        Placement.COMPUTE,
        weight_ranks=frozenset({3, 4, 5}),
        # edgeq/quantization/padding.py
        channel_multiple=4,
        whole_vectors=True,
        # onnxruntime/core/mlas/lib/intrinsics/avx2/qdwconv_avx2.cpp
        exact_sums=frozenset({Condition.DEPTHWISE}),
        source=_SELECTORS,
    ),
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
    KernelRow(
        "HardSigmoid",
        Placement.BRIDGE,
        activations=frozenset({QuantType.UINT8}),
        respelled=True,
        source="an addition that saturates: quantization/saturating.py",
    ),
    KernelRow("Mul", Placement.BRIDGE, source=_SELECTORS),
    KernelRow("Sigmoid", Placement.BRIDGE, source=_SELECTORS),
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

_X86 = frozenset({"x86_64", "amd64"})
_ARM = frozenset({"aarch64", "arm64"})
_NOTES = (
    "onnxruntime documentation, Quantize ONNX models: data types by instruction set",
    "onnxruntime/core/mlas/lib/qgemm_kernel_avx2.cpp: pairs of products along the reduction",
)

CPU = TargetProfile(
    name="cpu",
    summary="onnxruntime's CPU provider on x86-64 and ARM64: uint8 activations, int8 weights",
    kernels=KERNELS,
    pair_sums=PairSums.SOME,
    maximum_opset=_NEWEST,
    execution=Execution.NATIVE,
    machines=_X86 | _ARM,
    contrib_operators=True,
    slow_operators=_SLOW,
    sources=_NOTES,
)

X86_VNNI = replace(
    CPU,
    name="x86-vnni",
    summary="onnxruntime on x86-64 with VNNI: adds products in 32 bits, so full 8-bit weights",
    pair_sums=PairSums.EXACT,
    machines=_X86,
)

X86_AVX2 = replace(
    CPU,
    name="x86-avx2",
    summary="onnxruntime on x86-64 without VNNI: weights that no pair of products saturates",
    pair_sums=PairSums.ALL,
    machines=_X86,
)

ARM64 = replace(
    CPU,
    name="arm64",
    summary="onnxruntime on ARM64 with dot products (2018 and newer): full 8-bit weights",
    pair_sums=PairSums.EXACT,
    machines=_ARM,
)

ARM64_NODOT = replace(
    ARM64,
    name="arm64-nodot",
    summary="onnxruntime on ARM64 without dot products (Cortex-A53, A72): numbers as arm64",
)

WASM = replace(
    CPU,
    name="wasm",
    summary="onnxruntime-web in a browser or Node: uint8 activations, signed ones are slow",
    pair_sums=PairSums.EXACT,
    machines=frozenset(),
)
