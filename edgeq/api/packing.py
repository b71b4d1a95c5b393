"""Making a test pack: a model, samples, and what it shall answer anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.api.measuring import input_specs
from edgeq.api.stages import Stages, environment
from edgeq.calibration.sources import open_source
from edgeq.device.expectation import expect
from edgeq.device.writing import write_pack
from edgeq.graph import loader
from edgeq.graph.interface import Interface, require_comparable
from edgeq.progress import Silent

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from edgeq.device.pack import Port
    from edgeq.graph.loader import LoadedModel
    from edgeq.progress import Progress
    from edgeq.types import Sample

PACKED_SAMPLES = 8
"""Samples in a pack unless told otherwise."""

_DECIDING = ("edgeq", "onnxruntime", "numpy", "isa")


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack that was written.

    Attributes:
        path: The file.
        size_bytes: Its size.
        samples: Samples in it.
        outputs: The outputs with what they are held to.
        entries: Size of every entry in bytes.
    """

    path: Path
    size_bytes: int
    samples: int
    outputs: tuple[Port, ...]
    entries: dict[str, int]


def pack(
    model: object,
    data: object,
    path: str | os.PathLike[str],
    *,
    reference: object = None,
    samples: int = PACKED_SAMPLES,
    progress: Progress | None = None,
) -> Packed:
    """Write a self-contained test of a model, to be run on devices.

    The model is run here on the first samples of the data; what it answers is what every device
    shall answer, as closely as the operators on the way to each output allow.

    Args:
        model: The model to test; anything :func:`edgeq.quantize` takes.
        data: Samples, as for calibration.
        path: The file to write; by habit it ends in ``.edgeq.zip``.
        reference: Its float original, which devices then time and compare with beside it.
        samples: How many to pack at most.
        progress: Listens to the run.

    Raises:
        EdgeqError: A model or the data cannot be used, or the file cannot be written.
    """
    stages = Stages(progress or Silent())
    with stages.stage("load"):
        loaded = loader.load(model)
        original = None if reference is None else loader.load(reference)
        if original is not None:
            require_comparable(Interface.of(original.model), Interface.of(loaded.model))
        chosen = first_samples(loaded, data, samples)
    with stages.stage("expect"):
        expectation = expect(loaded.model, chosen, deciding())
    with stages.stage("save"):
        entries = write_pack(path, loaded, original, expectation)
    target = Path(path)
    return Packed(target, target.stat().st_size, len(chosen), expectation.outputs, entries)


def first_samples(model: LoadedModel, data: object, count: int) -> Sequence[Sample]:
    """The first samples of some data, checked against the model's inputs."""
    source = open_source(data, input_specs(model.model), max_samples=count)
    return list(islice(source, count))


def deciding() -> dict[str, str]:
    """Versions, and the machine, that expected outputs come from."""
    return {name: told for name, told in environment().items() if name in _DECIDING}
