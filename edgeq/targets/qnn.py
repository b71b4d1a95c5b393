"""Qualcomm's HTP by way of onnxruntime's QNN provider: everything in integers, shapes fixed.

onnxruntime documentation, QNN Execution Provider: the HTP takes quantized models without dynamic
shapes, If and Loop; MatMul takes unsigned activations and weights. Scales for each channel are
those of convolutions (onnxruntime/quantization/execution_providers/qnn/quant_config.py).
"""

from __future__ import annotations

from edgeq.targets.profile import Execution, KernelRow, Placement, TargetProfile
from edgeq.types import QuantType

_DOCUMENTATION = "onnxruntime documentation, QNN Execution Provider: supported ONNX operators"
_CONFIG = "onnxruntime/quantization/execution_providers/qnn/quant_config.py"
_CONVOLVED = frozenset({3, 4, 5})

_WHOLE = (
    "Abs",
    "Add",
    "AveragePool",
    "Concat",
    "DepthToSpace",
    "Div",
    "Elu",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "GlobalAveragePool",
    "HardSwish",
    "LeakyRelu",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
)

QNN_HTP = TargetProfile(
    name="qnn-htp",
    summary="Qualcomm HTP through onnxruntime: uint8 activations everywhere, fixed shapes",
    kernels=(
        KernelRow("Conv", Placement.COMPUTE, weight_ranks=_CONVOLVED, source=_CONFIG),
        KernelRow("ConvTranspose", Placement.COMPUTE, weight_ranks=_CONVOLVED, source=_CONFIG),
        KernelRow(
            "Gemm",
            Placement.COMPUTE,
            weight_ranks=frozenset({2}),
            weight=QuantType.UINT8,
            per_channel=False,
            source=_DOCUMENTATION,
        ),
        KernelRow(
            "MatMul",
            Placement.COMPUTE,
            computed_weight=Placement.COMPUTE,
            weight=QuantType.UINT8,
            per_channel=False,
            source=_DOCUMENTATION,
        ),
        KernelRow("Relu", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Clip", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Relu", Placement.COMPUTE, source=_DOCUMENTATION),
        KernelRow("Clip", Placement.COMPUTE, source=_DOCUMENTATION),
        KernelRow("ArgMax", Placement.MOVE, needs_quantized_output=False, source=_DOCUMENTATION),
        *(KernelRow(op, Placement.COMPUTE, source=_DOCUMENTATION) for op in _WHOLE),
    ),
    wide_activation=QuantType.UINT16,
    minimum_opset=14,
    execution=Execution.EMULATED,
    half_kernels=True,
    dynamic_shapes=False,
    bodies=False,
    float_operators=frozenset(),
    sources=(_DOCUMENTATION, _CONFIG),
)
