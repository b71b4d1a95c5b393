"""onnxruntime's XNNPACK provider, with its CPU provider behind it.

XNNPACK takes int8 activations with int8 weights for each channel, or uint8 with uint8 per tensor;
it does not mix them (onnxruntime/core/providers/xnnpack/nn/conv_base.cc). The former loses less.
What it does not take runs on the CPU provider, which fuses signed activations on ARM.
"""

from __future__ import annotations

from dataclasses import replace

from edgeq.targets.cpu import KERNELS
from edgeq.targets.profile import Condition, Execution, KernelRow, Placement, TargetProfile
from edgeq.types import QuantType

_FLOAT = frozenset(
    {
        "Abs",
        "Add",
        "AveragePool",
        "Ceil",
        "Clip",
        "Conv",
        "Div",
        "Elu",
        "Floor",
        "GlobalAveragePool",
        "HardSwish",
        "LeakyRelu",
        "MaxPool",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Relu",
        "Round",
        "Sigmoid",
        "Softmax",
        "Sqrt",
        "Sub",
        "Tanh",
        "Transpose",
    }
)
"""onnxruntime/core/providers/xnnpack/detail/node_support_checker.cc."""

XNNPACK = TargetProfile(
    name="xnnpack",
    summary="onnxruntime's XNNPACK provider on phones: int8 activations and weights",
    kernels=(
        KernelRow(
            "Conv",
            Placement.COMPUTE,
            data_ranks=frozenset({4}),
            weight_ranks=frozenset({4}),
            conditions=frozenset({Condition.STATIC_IMAGE}),
            activations=frozenset({QuantType.INT8}),
            weight=QuantType.INT8,
            source="onnxruntime/core/providers/xnnpack/nn/conv_base.cc",
        ),
        *(replace(row, provider="CPU") for row in KERNELS),
    ),
    activation=QuantType.INT8,
    execution=Execution.EMULATED,
    contrib_operators=True,
    float_operators=_FLOAT,
    sources=("onnxruntime documentation, XNNPACK Execution Provider",),
)
