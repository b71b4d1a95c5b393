"""Compilers for microcontroller NPUs: strict integers, Q/DQ around every operator that has a rule.

What they ask for in common: int8 activations with a zero point, int8 weights symmetric and for each
output channel, biases in int32, sizes known, pairs on the inputs and outputs of the model as well
(ST Edge AI Core documentation, Quantized model support; TensorFlow Lite 8-bit quantization
specification, which Arm Ethos-U follows).
"""

from __future__ import annotations

from edgeq.targets.profile import Execution, KernelRow, Placement, TargetProfile
from edgeq.types import QuantType

_SPECIFICATION = "TensorFlow Lite 8-bit quantization specification"
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
    "GatherElements",
    "Gelu",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
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

EDGE_GENERIC = TargetProfile(
    name="edge-generic",
    summary="NPU compilers of microcontrollers: int8 around every operator, fixed shapes",
    kernels=(
        KernelRow("Conv", Placement.COMPUTE, weight_ranks=_CONVOLVED, source=_SPECIFICATION),
        KernelRow(
            "ConvTranspose", Placement.COMPUTE, weight_ranks=_CONVOLVED, source=_SPECIFICATION
        ),
        KernelRow("Gemm", Placement.COMPUTE, weight_ranks=frozenset({2}), source=_SPECIFICATION),
        KernelRow(
            "MatMul",
            Placement.COMPUTE,
            computed_weight=Placement.COMPUTE,
            source=_SPECIFICATION,
        ),
        KernelRow("Relu", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Clip", Placement.ABSORBED, source="rewritten by edgeq"),
        KernelRow("Relu", Placement.COMPUTE, source=_SPECIFICATION),
        KernelRow("Clip", Placement.COMPUTE, source=_SPECIFICATION),
        KernelRow("ArgMax", Placement.COMPUTE, needs_quantized_output=False, source=_SPECIFICATION),
        *(KernelRow(op, Placement.COMPUTE, source=_SPECIFICATION) for op in _WHOLE),
    ),
    activation=QuantType.INT8,
    minimum_opset=14,
    execution=Execution.EMULATED,
    dynamic_shapes=False,
    bodies=False,
    float_operators=frozenset(),
    sources=(_SPECIFICATION, "ST Edge AI Core documentation, Quantized model support"),
)
