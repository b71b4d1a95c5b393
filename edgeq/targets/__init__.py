"""Facts as data: what each runtime and chip executes in integers."""

from edgeq.targets.profile import Form, KernelRow, Placement, TargetProfile
from edgeq.targets.registry import TARGETS, target_named

__all__ = ["TARGETS", "Form", "KernelRow", "Placement", "TargetProfile", "target_named"]
