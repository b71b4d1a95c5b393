"""Facts as data: what each runtime and chip executes in integers."""

from edgeq.targets.profile import (
    Condition,
    Execution,
    Form,
    KernelRow,
    PairSums,
    Placement,
    TargetProfile,
)
from edgeq.targets.registry import TARGETS, target_named

__all__ = [
    "TARGETS",
    "Condition",
    "Execution",
    "Form",
    "KernelRow",
    "PairSums",
    "Placement",
    "TargetProfile",
    "target_named",
]
