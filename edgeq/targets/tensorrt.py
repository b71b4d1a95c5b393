"""NVIDIA TensorRT with explicit quantization: zero points are zero, biases stay float.

NVIDIA TensorRT documentation, Explicit Quantization and Working with Quantized Types: int8,
symmetric; weights for each output channel; Q/DQ on the inputs of layers, not on what they write;
pairs move through operators that only move or compare. Its parser refuses other zero points and
biases in int32. A sum stays float: TensorRT adds it in the convolution before it.
"""

from __future__ import annotations

from edgeq.targets.profile import Execution, KernelRow, Placement, TargetProfile
from edgeq.types import QuantType

_PLACEMENT = "NVIDIA TensorRT documentation, Explicit Quantization: Q/DQ placement"
_CONVOLVED = frozenset({4, 5})

_COMMUTING = (
    "DepthToSpace",
    "Flatten",
    "Gather",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)

TENSORRT = TargetProfile(
    name="tensorrt",
    summary="NVIDIA TensorRT: symmetric int8 on the inputs of layers, float biases",
    kernels=(
        KernelRow(
            "Conv",
            Placement.COMPUTE,
            needs_quantized_output=False,
            weight_ranks=_CONVOLVED,
            source=_PLACEMENT,
        ),
        KernelRow(
            "ConvTranspose",
            Placement.COMPUTE,
            needs_quantized_output=False,
            weight_ranks=_CONVOLVED,
            source=_PLACEMENT,
        ),
        KernelRow(
            "Gemm",
            Placement.COMPUTE,
            needs_quantized_output=False,
            weight_ranks=frozenset({2}),
            source=_PLACEMENT,
        ),
        KernelRow(
            "MatMul",
            Placement.COMPUTE,
            needs_quantized_output=False,
            computed_weight=Placement.COSTLY,
            source=_PLACEMENT,
        ),
        KernelRow("Relu", Placement.FUSED, source=_PLACEMENT),
        KernelRow("Clip", Placement.FUSED, source=_PLACEMENT),
        KernelRow("AveragePool", Placement.CARRY, source=_PLACEMENT),
        KernelRow("GlobalAveragePool", Placement.CARRY, source=_PLACEMENT),
        KernelRow("Concat", Placement.CARRY, source=_PLACEMENT),
        *(KernelRow(op, Placement.MOVE, source=_PLACEMENT) for op in _COMMUTING),
    ),
    activation=QuantType.INT8,
    activation_symmetric=True,
    integer_bias=False,
    execution=Execution.EMULATED,
    half_kernels=True,
    float8_kernels=True,
    sources=(
        "NVIDIA TensorRT documentation, Working with Quantized Types",
        "onnx-tensorrt, onnxOpImporters.cpp: zero points other than zero are refused",
    ),
)
