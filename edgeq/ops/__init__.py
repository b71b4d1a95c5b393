"""Facts as data: how each ONNX operator quantizes, whatever the target."""

from edgeq.ops.rules import Constraint, OpRule, Role
from edgeq.ops.table import RULES, rule_for

__all__ = ["RULES", "Constraint", "OpRule", "Role", "rule_for"]
