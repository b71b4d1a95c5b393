"""Android's Neural Networks API by way of onnxruntime's NNAPI provider.

The provider takes a quantized operator only with its Q/DQ pairs on all sides, and uint8 activations
(onnxruntime issue 18571). Lists: onnxruntime/tools/mobile_helpers/nnapi_supported_ops.md and
onnxruntime/core/providers/nnapi/nnapi_builtin/builders/helper.cc.
"""

from __future__ import annotations

from edgeq.targets.profile import Condition, Execution, KernelRow, Placement, TargetProfile
from edgeq.types import QuantType

_HELPER = "onnxruntime/core/providers/nnapi/nnapi_builtin/builders/helper.cc"
_OPS = "onnxruntime/tools/mobile_helpers/nnapi_supported_ops.md"
_UINT8 = frozenset({QuantType.UINT8})
_PICTURE = frozenset({4})

_FLOAT = frozenset(
    {
        "Abs",
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "DepthToSpace",
        "Div",
        "Elu",
        "Exp",
        "Flatten",
        "Floor",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "LRN",
        "LeakyRelu",
        "Log",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "Pow",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    }
)

NNAPI = TargetProfile(
    name="nnapi",
    summary="Android NNAPI through onnxruntime: uint8 activations, fixed shapes",
    kernels=(
        KernelRow(
            "Conv",
            Placement.COMPUTE,
            data_ranks=_PICTURE,
            weight_ranks=_PICTURE,
            activations=_UINT8,
            source=_OPS,
        ),
        KernelRow(
            "Gemm",
            Placement.COMPUTE,
            weight_ranks=frozenset({2}),
            activations=_UINT8,
            per_channel=False,
            source=_HELPER,
        ),
        KernelRow(
            "MatMul",
            Placement.COMPUTE,
            data_ranks=frozenset({2}),
            weight_ranks=frozenset({2}),
            activations=_UINT8,
            per_channel=False,
            source=_HELPER,
        ),
        KernelRow("Relu", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Clip", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Add", Placement.CARRY, activations=_UINT8, source=_HELPER),
        KernelRow("Mul", Placement.CARRY, activations=_UINT8, source=_HELPER),
        KernelRow("Concat", Placement.CARRY, activations=_UINT8, source=_HELPER),
        KernelRow(
            "AveragePool",
            Placement.CARRY,
            data_ranks=_PICTURE,
            attributes={"ceil_mode": frozenset({0}), "count_include_pad": frozenset({0})},
            activations=_UINT8,
            source=_HELPER,
        ),
        KernelRow(
            "Softmax",
            Placement.COSTLY,
            data_ranks=frozenset({2, 4}),
            conditions=frozenset({Condition.LAST_AXIS}),
            activations=_UINT8,
            source=_HELPER,
        ),
        KernelRow(
            "Resize",
            Placement.MOVE,
            data_ranks=_PICTURE,
            attributes={"mode": frozenset({"linear", "nearest"})},
            activations=_UINT8,
            source=_HELPER,
        ),
        KernelRow("Reshape", Placement.MOVE, activations=_UINT8, source=_HELPER),
        KernelRow("Transpose", Placement.MOVE, activations=_UINT8, source=_HELPER),
    ),
    execution=Execution.EMULATED,
    dynamic_shapes=False,
    bodies=False,
    float_operators=_FLOAT,
    sources=(
        "onnxruntime documentation, NNAPI Execution Provider",
        "onnxruntime issue 18571: int8 QLinearConv is refused",
    ),
)
