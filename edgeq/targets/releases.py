"""Which onnxruntime a model needs: devices often have an older one than the machine at the desk.

Measured (``benchmarks/releases.py``): models as edgeq writes them were loaded in onnxruntime 1.15
to 1.32 on x86-64, and what they answer was held against 1.31. A release counts as the first one
where its CPU provider and those after it load such a model and answer right. What is not listed
runs in 1.20. Operators of a model's own that edgeq does not write are its owner's affair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import onnx_ir as ir

from edgeq.errors import UnsupportedError
from edgeq.graph import walk
from edgeq.graph.walk import MICROSOFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgeq.targets.profile import TargetProfile

Release: TypeAlias = tuple[int, int]
"""As ``(1, 20)``: what a release reads does not change with its third number."""

OLDEST: Final[Release] = (1, 20)
"""The oldest that edgeq itself runs with."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a model needs.

    Attributes:
        since: The first release that it runs in.
        reasons: What of the model does not run in older ones.
    """

    since: Release
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return described(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The need as plain data, ready for JSON."""
        return {"onnxruntime": written(self.since), "for": list(self.reasons)}


def described(row: Mapping[str, Any]) -> str:
    """``onnxruntime 1.23 or newer (opset 23)``, of what :meth:`Need.to_dict` gives."""
    return f"onnxruntime {row['onnxruntime']} or newer ({', '.join(row['for'])})"


@dataclass(frozen=True, slots=True)
class Reads:
    """The newest that a release reads.

    Attributes:
        since: The release.
        opset: Version of the default domain; with a newer one it refuses the model.
        ir_version: Version of the file's format.
    """

    since: Release
    opset: int
    ir_version: int


@dataclass(frozen=True, slots=True)
class OperatorFact:
    """A form of an operator that came with a release.

    Attributes:
        what: The form, for people.
        since: The release.
        op_type: The operator.
        source: What decides that in onnxruntime.
        domain: Its domain.
        opset: Opset of the default domain from which this holds.
        attributes: Values that it has then, by attribute; None for any.
        condition: What else it is then.
    """

    what: str
    since: Release
    op_type: str
    source: str
    domain: str = MICROSOFT
    opset: int = 0
    attributes: Mapping[str, int | None] = field(default_factory=dict)
    condition: Callable[[ir.Node], bool] | None = None

    def fits(self, node: ir.Node, opset: int) -> bool:
        """Whether a node of a model of this opset has the form."""
        return (
            (node.op_type, node.domain) == (self.op_type, self.domain)
            and opset >= self.opset
            and all(_has(node, name, value) for name, value in self.attributes.items())
            and (self.condition is None or self.condition(node))
        )


def _has(node: ir.Node, name: str, value: int | None) -> bool:
    attribute = node.attributes.get(name)
    return attribute is not None and (value is None or attribute.value == value)


def _reads_bytes(node: ir.Node) -> bool:
    """Whether the first input is uint8, not a type of 4 bits."""
    return bool(node.inputs) and _is_bytes(node.inputs[0])


def _is_bytes(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.UINT8


def _shares_zero_points(node: ir.Node) -> bool:
    """Whether two zero points share a byte, and rows have an odd number of them."""
    scales, zeros = (node.inputs[i] if i < len(node.inputs) else None for i in (2, 3))
    if not _is_bytes(zeros) or scales is None or scales.shape is None:
        return False
    blocks = scales.shape[-1]
    return isinstance(blocks, int) and blocks % 2 == 1


def _is_between_layers(node: ir.Node) -> bool:
    """Whether convolutions in integers stand in front of and behind a cubic Resize."""
    mode, value = node.attributes.get("mode"), node.inputs[0] if node.inputs else None
    if mode is None or mode.value != "cubic":
        return False
    for op_type in ("DequantizeLinear", "QuantizeLinear", "Conv"):
        before = None if value is None else value.producer()
        if before is None or before.op_type != op_type:
            return False
        value = before.inputs[0]
    behind = [node]
    for op_type in ("QuantizeLinear", "DequantizeLinear", "Conv"):
        readers = [use.node for each in behind for use in each.outputs[0].uses()]
        behind = [reader for reader in readers if reader.op_type == op_type]
    return bool(behind)


READS: Final = (
    Reads((1, 15), opset=19, ir_version=9),
    Reads((1, 17), opset=20, ir_version=9),
    Reads((1, 18), opset=21, ir_version=10),
    Reads((1, 21), opset=22, ir_version=10),
    Reads((1, 23), opset=23, ir_version=11),
    Reads((1, 24), opset=25, ir_version=13),
    Reads((1, 25), opset=26, ir_version=13),
    Reads((1, 32), opset=28, ir_version=14),
)
"""Source: core/graph/model_load_utils.h and the ONNX that a release was built with."""

_Q_DQ: Final = ("QuantizeLinear", "DequantizeLinear")
_NBITS: Final = "contrib_ops/cpu/quantization/matmul_nbits.cc"
_GATHER: Final = "contrib_ops/cpu/quantization/gather_block_quantized.cc"
_LINEAR: Final = "core/providers/cpu/cpu_execution_provider.cc"

FACTS: Final = (
    OperatorFact("MatMulNBits", (1, 19), "MatMulNBits", _NBITS),
    OperatorFact("MatMulNBits with 8 bits", (1, 22), "MatMulNBits", _NBITS, attributes={"bits": 8}),
    OperatorFact("MatMulNBits with 2 bits", (1, 24), "MatMulNBits", _NBITS, attributes={"bits": 2}),
    OperatorFact(
        "GatherBlockQuantized of uint8",
        (1, 23),
        "GatherBlockQuantized",
        _GATHER,
        condition=_reads_bytes,
    ),
    OperatorFact(
        "GatherBlockQuantized with 2 bits",
        (1, 27),
        "GatherBlockQuantized",
        _GATHER,
        attributes={"bits": 2},
    ),
    # 1.23 to 1.26 load it and answer wrong.
    OperatorFact(
        "GatherBlockQuantized with 4 bits and zero points for an odd number of blocks",
        (1, 27),
        "GatherBlockQuantized",
        _GATHER,
        attributes={"bits": 4},
        condition=_shares_zero_points,
    ),
    OperatorFact(
        "GroupQueryAttention with the attribute causal",
        (1, 30),
        "GroupQueryAttention",
        "core/graph/contrib_ops/bert_defs.cc: attribute causal",
        attributes={"causal": None},
    ),
    *(
        OperatorFact(f"Q/DQ from opset {opset} on", since, op_type, _LINEAR, "", opset)
        for opset, since in ((19, (1, 16)), (23, (1, 24)))
        for op_type in _Q_DQ
    ),
    # onnxruntime lets the transposes around its kernels change places with it, and refuses that.
    OperatorFact(
        "cubic Resize between Conv in integers",
        (1, 22),
        "Resize",
        "core/optimizer/transpose_optimization",
        "",
        condition=_is_between_layers,
    ),
    OperatorFact(
        "DequantizeLinear in blocks",
        (1, 19),
        "DequantizeLinear",
        "core/providers/cpu/quantization/quantize_linear.cc",
        "",
        attributes={"block_size": None},
    ),
)


NEWEST_Q_DQ: Final = 27
"""Opset up to which releases have kernels for Q/DQ; that of 28 has none in 1.32."""


def needed(model: ir.Model, beyond: Release = OLDEST) -> Need | None:
    """The first release of onnxruntime whose CPU provider runs a model.

    Args:
        model: As it is written.
        beyond: Releases up to this one are taken for granted.

    Returns:
        None where the model asks for nothing newer than ``beyond``, as far as is known.
    """
    opset = model.opset_imports.get("", 0)
    nodes = walk.nodes(model)
    forms = (fact for fact in FACTS if any(fact.fits(node, opset) for node in nodes))
    found = [*_of_the_file(opset, model.ir_version), *((f.since, f.what) for f in forms)]
    since = max((each for each, _ in found), default=beyond)
    if since <= beyond:
        return None
    return Need(since, tuple(dict.fromkeys(what for each, what in found if each == since)))


def needed_on(model: ir.Model, target: TargetProfile | None) -> Need | None:
    """The same where a target runs onnxruntime's CPU provider; None where it is another program."""
    return needed(model) if target is not None and target.contrib_operators else None


def _of_the_file(opset: int, ir_version: int) -> Iterator[tuple[Release, str]]:
    """What its versions ask for. No claim about what is newer than all releases known."""
    since = next((each.since for each in READS if each.opset >= opset), None)
    if since is not None:
        yield since, f"opset {opset}"
    since = next((each.since for each in READS if each.ir_version >= ir_version), None)
    if since is not None:
        yield since, f"IR version {ir_version}"


def require(model: ir.Model, installed: str) -> None:
    """Refuse a model that the onnxruntime at hand is known not to run.

    Args:
        model: As it is written.
        installed: Version of onnxruntime.

    Raises:
        UnsupportedError: It is too old, or no release has what the model needs.
    """
    need, there = needed(model), release_in(installed)
    if there is None:
        return
    if need is not None and there < need.since:
        raise UnsupportedError(
            f"the model would need {need}, and {installed} is installed",
            remedy="Update it: pip install --upgrade onnxruntime",
        )
    opset = model.opset_imports.get("", 0)
    if opset > NEWEST_Q_DQ and there <= READS[-1].since and _has_pairs(model):
        raise UnsupportedError(
            f"no onnxruntime up to {written(READS[-1].since)} runs Q/DQ of opset {opset}",
            remedy=f"Export the model with opset {NEWEST_Q_DQ} or older",
        )


def _has_pairs(model: ir.Model) -> bool:
    return any(walk.is_op(node, *_Q_DQ) for node in walk.nodes(model))


def written(release: Release) -> str:
    """``1.20``."""
    return ".".join(map(str, release))


def release_in(text: str) -> Release | None:
    """The release that a text such as ``1.23.2`` begins with; None where it is no version."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
