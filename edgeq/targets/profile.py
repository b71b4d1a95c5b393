"""What a target profile says."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.types import QuantType

if TYPE_CHECKING:
    from collections.abc import Mapping


class Placement(enum.Enum):
    """When an operator is put into integers on a target."""

    COMPUTE = "compute"
    """The reason to quantize: put into integers wherever it can be."""
    CARRY = "carry"
    """Cheap in integers: taken along between operators that are quantized anyway."""
    MOVE = "move"
    """Moves elements; the runtime drops the Q/DQ pairs around it."""
    ABSORBED = "absorbed"
    """An activation function that the quantized range of its producer can express."""
    FUSED = "fused"
    """An activation function that the runtime computes with its producer: it stays in the graph,
    and the pair of its producer stands behind it."""
    BRIDGE = "bridge"
    """Has an integer kernel that costs accuracy, and saves conversions between integer neighbours:
    on request, and where measuring shows that it pays."""
    COSTLY = "costly"
    """Has an integer kernel that is slower or less accurate than float: on request only."""


class Form(enum.Enum):
    """How activations get their numbers."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    """Scale and zero point are computed from each input while the model runs."""


class Condition(enum.Enum):
    """What a kernel demands of a node beyond ranks and attributes; the value says it."""

    STATIC_SHAPES = "sizes that are all known"
    STATIC_IMAGE = "sizes that are all known, but for the batch"
    PLAIN_OR_DEPTHWISE = "one group, or a group for each channel"
    DEPTHWISE = "a group for each channel, with one output each"
    LAST_AXIS = "the last axis"
    EVEN_PARTS = "parts of one size"


class PairSums(enum.Enum):
    """Whether 8-bit products are added in pairs to 16 bits, as x86 without VNNI does.

    VPMADDUBSW adds a0 * w0 + a1 * w1 and saturates at 32767 (Intel 64 and IA-32 Architectures
    Software Developer's Manual, volume 2).
    """

    EXACT = "exact"
    """Products are added in 32 bits."""
    SOME = "some"
    """Some of the machines that the target stands for saturate."""
    ALL = "all"
    """The target is a machine that saturates: no pair of weights may let it."""


class Execution(enum.Enum):
    """What running a model here tells about the target."""

    NATIVE = "native"
    """onnxruntime's CPU provider is the target: kernels and numbers here are the target's."""
    EMULATED = "emulated"
    """Another program: here onnxruntime's CPU provider computes what the Q/DQ pairs say."""


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One operator that the target executes in integers.

    Attributes:
        op_type: The operator.
        placement: When to use the kernel.
        form: STATIC, or DYNAMIC for operators with a dynamic kernel only.
        needs_quantized_output: Without a Q/DQ pair on its output the operator stays float.
        computed_weight: The placement when the second factor is computed, not constant; None
            where the kernel does not take one.
        dynamic_on_float: Prefer the dynamic form when the input is not in integers already.
        data_ranks: Ranks of the first input that the kernel takes; empty for any.
        weight_ranks: Ranks of the weight that the kernel takes; empty for any.
        attributes: Values that the kernel takes, by attribute; any for attributes not listed. An
            attribute that a node leaves out has a default that the kernel takes. Of a list of
            numbers every element has to be among the values.
        conditions: What else it demands.
        exact_sums: With any of these it adds products in 32 bits on every machine.
        activations: Integer types of activations that it takes; empty for any of 8 bits.
        weight: Integer type of its weight; None for that of the target.
        per_channel: Whether it takes a scale for each channel of the weight.
        respelled: Whether the node is put into other operators, which have kernels.
        channel_multiple: Input channels get zeros up to a multiple of this, where kernels are
            faster so.
        whole_vectors: Whether kernels are much faster with whole vectors of channels, so that it is
            given channels of zeros: edgeq/passes/widen_channels.py.
        provider: What runs it, where that is not what runs the others, as a fallback does.
        source: Where the fact comes from.
    """

    op_type: str
    placement: Placement
    form: Form = Form.STATIC
    needs_quantized_output: bool = True
    computed_weight: Placement | None = None
    dynamic_on_float: bool = False
    data_ranks: frozenset[int] = frozenset()
    weight_ranks: frozenset[int] = frozenset()
    attributes: Mapping[str, frozenset[str | int]] = field(default_factory=dict)
    conditions: frozenset[Condition] = frozenset()
    exact_sums: frozenset[Condition] = frozenset()
    activations: frozenset[QuantType] = frozenset()
    weight: QuantType | None = None
    per_channel: bool = True
    respelled: bool = False
    channel_multiple: int = 1
    whole_vectors: bool = False
    provider: str = ""
    source: str = ""


_NO_FUSED_PAIRS = "session.disable_quant_qdq"
"""Session entry of onnxruntime (onnxruntime_session_options_config_keys.h)."""

_WIDE_OPSET = 21
"""Opset from which QuantizeLinear makes 16-bit integers (ONNX operators, QuantizeLinear-21)."""

_HALF_SCALES_OPSET = 19
"""Opset from which scales may be float16 (ONNX operators, QuantizeLinear-19)."""


@dataclass(frozen=True, slots=True)
class TargetProfile:
    """What a runtime on a chip executes in integers, what it wants, and what it must not see.

    Attributes:
        name: As given to ``--target``.
        summary: One sentence for ``edgeq list targets``.
        kernels: The operators it executes in integers. Of several rows for one operator the first
            that takes a node counts.
        activation: Integer type of activations.
        activation_symmetric: Whether activations have their zero in the middle.
        wide_activation: 16-bit type that it takes for activations as well, everywhere; None for
            none.
        weight: Integer type of weights, always symmetric.
        per_channel: Whether weights have a scale for each channel.
        reduce_range: Weights use 7 bits.
        pair_sums: Whether sums of two products saturate.
        integer_bias: Whether biases are stored in 32-bit integers.
        minimum_opset: Default-domain opset that the output needs.
        maximum_opset: The newest that it reads; None where that is not known.
        session_entries: onnxruntime session configuration the target is run with.
        execution: What running a model here tells about it.
        machines: Kinds of machine, as Python's ``platform.machine`` calls them, whose times are
            the target's; empty for none that edgeq runs on.
        contrib_operators: Whether its runtime has onnxruntime's own operators, those of the domain
            com.microsoft.
        half_kernels: Whether it computes in half precision without casting to float.
        float8_kernels: Whether it multiplies float8 that it reads through DequantizeLinear.
        dynamic_shapes: Whether it takes values whose sizes are not known.
        bodies: Whether it takes If, Loop and Scan.
        slow_operators: Operators that run slower than spelled out in others; also such that its
            runtime makes by fusing.
        float_operators: Operators that it takes in float; None for all. What it does not take runs
            on a fallback, with a border between.
        sources: Where the facts come from that are no row's.
        digest: SHA-256 of the file that it was read from; empty for built-in ones.
    """

    name: str
    summary: str
    kernels: tuple[KernelRow, ...]
    activation: QuantType = QuantType.UINT8
    activation_symmetric: bool = False
    wide_activation: QuantType | None = None
    weight: QuantType = QuantType.INT8
    per_channel: bool = True
    reduce_range: bool = False
    pair_sums: PairSums = PairSums.EXACT
    integer_bias: bool = True
    minimum_opset: int = 13
    maximum_opset: int | None = None
    session_entries: Mapping[str, str] = field(default_factory=dict)
    execution: Execution = Execution.EMULATED
    machines: frozenset[str] = frozenset()
    contrib_operators: bool = False
    half_kernels: bool = False
    float8_kernels: bool = False
    dynamic_shapes: bool = True
    bodies: bool = True
    slow_operators: frozenset[str] = frozenset()
    float_operators: frozenset[str] | None = None
    sources: tuple[str, ...] = ()
    digest: str = ""

    def with_float8(self) -> TargetProfile | None:
        """The same target fed with float8; None where it has no kernels for that.

        onnxruntime's CPU provider, where the result is proven, would fuse DequantizeLinear of
        float8 to operators on integers and then not load the model (1.31): it is told not to.
        """
        if not self.float8_kernels:
            return None
        return replace(self, session_entries={**self.session_entries, _NO_FUSED_PAIRS: "1"})

    def with_wide_activations(self) -> TargetProfile | None:
        """The same target fed with 16-bit activations; None where it takes none."""
        if self.wide_activation is None:
            return None
        opset = max(self.minimum_opset, _WIDE_OPSET)
        return replace(self, activation=self.wide_activation, minimum_opset=opset)

    def with_half_floats(self) -> TargetProfile | None:
        """The same target where what is not in integers shall be in float16; None where it cannot.

        It either computes in float16, or runs in onnxruntime, which computes what Casts make of
        stored constants while it loads a model. Q/DQ with scales of float16 are proven as those of
        float8 are: onnxruntime's CPU provider (1.31) would fuse some to a model that does not load.
        """
        if not self.half_kernels:
            return self if self.contrib_operators else None
        if self.float_operators is not None and not self.float_operators:
            return None
        opset = max(self.minimum_opset, _HALF_SCALES_OPSET)
        entries = {**self.session_entries, _NO_FUSED_PAIRS: "1"}
        return replace(self, minimum_opset=opset, session_entries=entries)

    def computes_half(self, op_type: str) -> bool:
        """Whether it computes an operator in float16."""
        takes = self.float_operators is None or op_type in self.float_operators
        return self.half_kernels and takes

    @property
    def identity(self) -> str:
        """Its name, with the beginning of its digest where names do not tell profiles apart."""
        return f"{self.name}@{self.digest[:12]}" if self.digest else self.name

    @property
    def executable_here(self) -> bool:
        """Whether the kernels that run here are the target's."""
        return self.execution is Execution.NATIVE

    def times_on(self, machine: str) -> bool:
        """Whether times measured on ``machine``, as ``platform.machine`` calls it, are its own."""
        return self.executable_here and machine.lower() in self.machines

    def rows(self, op_type: str) -> tuple[KernelRow, ...]:
        """All rows of an operator; none where the target has no integer kernel."""
        return tuple(row for row in self.kernels if row.op_type == op_type)

    def kernel(self, op_type: str) -> KernelRow | None:
        """The first row of an operator; None where the target has no integer kernel."""
        return next(iter(self.rows(op_type)), None)
