"""Apple's Core ML by way of onnxruntime's provider: it runs no Q/DQ pair at all.

List: onnxruntime/tools/mobile_helpers/coreml_supported_mlprogram_ops.md, which names neither
QuantizeLinear nor DequantizeLinear: every pair would be a border to the CPU.
"""

from __future__ import annotations

from edgeq.targets.profile import Execution, TargetProfile

_FLOAT = frozenset(
    {
        "Add",
        "And",
        "ArgMax",
        "AveragePool",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "Cos",
        "DepthToSpace",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "GatherND",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GridSample",
        "GroupNormalization",
        "HardSigmoid",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "MatMul",
        "Max",
        "MaxPool",
        "Mul",
        "PRelu",
        "Pow",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Round",
        "Shape",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)

COREML = TargetProfile(
    name="coreml",
    summary="Apple Core ML through onnxruntime: float only, it runs no Q/DQ pair",
    kernels=(),
    execution=Execution.EMULATED,
    half_kernels=True,
    bodies=False,
    float_operators=_FLOAT,
    sources=("onnxruntime/tools/mobile_helpers/coreml_supported_mlprogram_ops.md",),
)
