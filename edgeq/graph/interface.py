"""The interface of a model: what its callers rely on, and no stage may change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output.

    Attributes:
        name: Name that callers feed or fetch.
        dtype: ONNX type, such as ``FLOAT``; ``Sequence(...)`` and the like in full; None: unknown.
        shape: Sizes, symbolic names, or None for a size without a name; None: rank unknown.
    """

    name: str
    dtype: str | None
    shape: tuple[int | str | None, ...] | None

    @classmethod
    def of(cls, value: ir.Value) -> Port:
        """The port that a graph input or output is."""
        shape = None
        if value.shape is not None:
            shape = tuple(d if isinstance(d, int) else d.value for d in value.shape)
        kind = str(value.type).removeprefix("Tensor(").removesuffix(")") if value.type else None
        return cls(value.name or "", kind, shape)

    def __str__(self) -> str:
        dims = (
            "?"
            if self.shape is None
            else ", ".join("?" if d is None else str(d) for d in self.shape)
        )
        return f"{self.name}: {self.dtype or '?'}[{dims}]"


@dataclass(frozen=True, slots=True)
class Interface:
    """A snapshot that does not follow later changes of the model.

    Attributes:
        inputs: In the model's order, overridable initializers included.
        outputs: In the model's order.
        metadata_props: Key and value pairs, sorted.
        doc_string: The model's documentation; empty where there is none.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata_props: tuple[tuple[str, str], ...]
    doc_string: str

    @classmethod
    def of(cls, model: ir.Model) -> Interface:
        """The interface that ``model`` has now."""
        return cls(
            inputs=tuple(Port.of(value) for value in model.graph.inputs),
            outputs=tuple(Port.of(value) for value in model.graph.outputs),
            metadata_props=tuple(sorted(model.metadata_props.items())),
            doc_string=model.doc_string or "",
        )


def require_same(before: Interface, after: Interface, *, stage: str | None = None) -> None:
    """Prove that a stage kept the interface.

    Args:
        before: Snapshot taken before the stage.
        after: Snapshot taken after it.
        stage: Name of the stage, for the message.

    Raises:
        ModelError: Says what differs.
    """
    found = [*differences(before, after)]
    if found:
        raise ModelError(
            f"The interface of the model changed: {'; '.join(found)}",
            where=stage,
            remedy="This is a defect of edgeq, please report it",
        )


def require_comparable(reference: Interface, candidate: Interface) -> None:
    """Make sure that two models can be fed the same samples and compared output by output.

    Raises:
        ModelError: An input or output of the reference has no namesake in the candidate, or the
            candidate wants an input that the reference does not have.
    """
    for kind, old, new in (
        ("input", reference.inputs, candidate.inputs),
        ("output", reference.outputs, candidate.outputs),
    ):
        here, there = {port.name for port in old}, {port.name for port in new}
        missing = sorted(here - there) + (sorted(there - here) if kind == "input" else [])
        if missing:
            raise ModelError(
                f"the models differ in {kind} {missing[0]!r}: the reference has "
                f"{', '.join(sorted(here))}, the candidate {', '.join(sorted(there))}",
                remedy="Compare models of one interface",
            )


def require_same_sizes(reference: Interface, candidate: Interface) -> None:
    """Make sure that outputs have the same numbers wherever both models declare how many there are.

    Raises:
        ModelError: An output has another rank or another fixed size in the candidate.
    """
    there = {port.name: port for port in candidate.outputs}
    for port in reference.outputs:
        other = there.get(port.name)
        if other is None or port.shape is None or other.shape is None:
            continue
        fixed = [
            (here, now)
            for here, now in zip(port.shape, other.shape, strict=False)
            if isinstance(here, int) and isinstance(now, int)
        ]
        if len(port.shape) != len(other.shape) or any(here != now for here, now in fixed):
            raise ModelError(
                f"output {port.name!r} has other sizes: the reference declares {port}, the "
                f"candidate {other}",
                remedy="Compare models of one interface",
            )


def differences(before: Interface, after: Interface) -> Iterator[str]:
    """What differs, one phrase each; nothing for equal interfaces."""
    yield from _port_differences("input", before.inputs, after.inputs)
    yield from _port_differences("output", before.outputs, after.outputs)
    old, new = dict(before.metadata_props), dict(after.metadata_props)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield f"metadata {key!r} was {old.get(key)!r} and is {new.get(key)!r}"
    if before.doc_string != after.doc_string:
        yield "the doc string differs"


def _port_differences(kind: str, before: Sequence[Port], after: Sequence[Port]) -> Iterator[str]:
    old, new = [port.name for port in before], [port.name for port in after]
    if old != new:
        if sorted(old) == sorted(new):
            yield f"{kind}s were ordered {', '.join(old)} and are {', '.join(new)}"
            return
        yield from (f"{kind} {name!r} is gone" for name in old if name not in new)
        yield from (f"{kind} {name!r} is new" for name in new if name not in old)
        return
    for was, now in zip(before, after, strict=True):
        if was != now:
            yield f"{kind} was {was} and is {now}"
