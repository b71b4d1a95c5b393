"""What a model shall answer on a device: what it answers here, and how far that may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeq.device.pack import Port
from edgeq.device.tolerance import tolerance, uncertain, usual, ways
from edgeq.errors import DataError, UnsupportedError
from edgeq.graph import shapes
from edgeq.graph.noise import add_noise
from edgeq.graph.walk import is_op, nodes
from edgeq.runtime.kernels import fused_model
from edgeq.runtime.seeds import RANDOM_OPS
from edgeq.runtime.session import Session, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.types import Array, Sample

UNSATURATED: Final = {"session.x64quantprecision": "1"}
"""Keeps 8-bit kernels of x86 without VNNI from saturating; elsewhere it changes no number
(onnxruntime/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h)."""

NOISE: Final = (1e-5, 1e-4)
"""Put behind float arithmetic to see what other roundings cost, as fractions of the value. Float
kernels of two processors are closer; so what can tip over at all does so in a few samples.
"""

_KINDS: Final = "biuf"


@dataclass(frozen=True, slots=True)
class Expectation:
    """Samples, and what a model shall answer.

    Attributes:
        samples: What it is fed.
        answers: One per sample: output name -> array.
        inputs: What it takes, in the order of the model.
        outputs: What it answers, with tolerances.
        made_with: Versions of what decided on the answers.
    """

    samples: tuple[Sample, ...]
    answers: tuple[Mapping[str, Array], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    made_with: Mapping[str, str]


def expect(model: ir.Model, samples: Sequence[Sample], made_with: Mapping[str, str]) -> Expectation:
    """Run a model here, and derive what its outputs may be off elsewhere.

    Args:
        model: The model.
        samples: At least one; each with all of the model's inputs that have no default.
        made_with: For the record.

    Raises:
        DataError: There are no samples, or onnxruntime refuses one.
        ModelError: onnxruntime does not load the model.
        UnsupportedError: An input or output is no tensor of numbers.
    """
    if not samples:
        raise DataError("there are no samples to pack", remedy="Give data with at least one")
    _refuse_chance(model)
    session = Session(model, SessionConfig(entries=UNSATURATED))
    answers = tuple(session.run(sample) for sample in samples)
    fed = [name for name in session.inputs if name in samples[0]]
    for name in fed:
        _require_numbers("input", name, (sample[name] for sample in samples))
    for name in session.outputs:
        _require_numbers("output", name, (answer[name] for answer in answers))
    return Expectation(
        samples=tuple(samples),
        answers=answers,
        inputs=tuple(Port(name, _dtype(samples[0][name])) for name in fed),
        outputs=_judged(model, session.outputs, samples, answers),
        made_with=made_with,
    )


def _refuse_chance(model: ir.Model) -> None:
    """Refuse nodes that draw other numbers in every run."""
    for node in nodes(model):
        if is_op(node, *RANDOM_OPS) and "seed" not in node.attributes:
            raise UnsupportedError(
                f"{node.op_type} draws other numbers in every run, on every device",
                where=node.name,
                remedy="Give the node a seed",
            )


def _judged(
    model: ir.Model,
    names: Sequence[str],
    samples: Sequence[Sample],
    answers: Sequence[Mapping[str, Array]],
) -> tuple[Port, ...]:
    executed = fused_model(model)
    shapes.infer(executed)  # Functions that onnxruntime inlines lose their types.
    found = ways(executed)
    effect = dict.fromkeys(names, 0.0)
    if any(way.flips for way in found.values()):
        effect = _effect(Session(model, SessionConfig(optimize=False)), effect, samples, answers)
        for relative in NOISE:
            noisy = executed.clone()
            add_noise(noisy, list(uncertain(noisy)), relative)
            other = Session(noisy, SessionConfig(entries=UNSATURATED))
            effect = _effect(other, effect, samples, answers)
    ports = []
    for name in names:
        largest = max(_largest(answer[name]) for answer in answers)
        dtype = _dtype(answers[0][name])
        elements = min(np.size(answer[name]) for answer in answers)
        held = tolerance(found[name], dtype, largest, effect[name], elements)
        ports.append(Port(name, dtype, held))
    return tuple(ports)


def _effect(
    other: Session,
    known: Mapping[str, float],
    samples: Sequence[Sample],
    answers: Sequence[Mapping[str, Array]],
) -> dict[str, float]:
    """What differs per output when the same model rounds in other places."""
    found = dict(known)
    for sample, answer in zip(samples, answers, strict=True):
        theirs = other.run(sample)
        for name in found:
            if theirs[name].shape == answer[name].shape:
                with np.errstate(invalid="ignore", over="ignore"):
                    difference = theirs[name].astype(np.float64) - answer[name].astype(np.float64)
                found[name] = max(found[name], usual(np.abs(difference)))
    return found


def _largest(array: Array) -> float:
    numbers = np.abs(np.asarray(array).astype(np.float64))
    return float(np.max(numbers, initial=0.0, where=np.isfinite(numbers)))


def _dtype(array: Any) -> str:
    return str(np.asarray(array).dtype)


def _require_numbers(kind: str, name: str, arrays: Any) -> None:
    for array in arrays:
        if not isinstance(array, np.ndarray | np.generic) or array.dtype.kind not in _KINDS:
            raise UnsupportedError(
                f"it is no tensor of numbers that every runtime can hand over: "
                f"{getattr(array, 'dtype', type(array).__name__)}",
                where=f"{kind} {name!r}",
                remedy="Pack a model whose inputs and outputs are tensors of plain numbers",
            )
