"""Writing models in the formats of runtimes for phones and small devices."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgeq.api.packing import PACKED_SAMPLES, deciding, first_samples
from edgeq.device.expectation import expect
from edgeq.device.runner import Meter
from edgeq.errors import DataError, ModelError, RecipeError, ValidationFailed, nearest
from edgeq.graph import loader, saver, shapes
from edgeq.graph.fix_inputs import fix_inputs
from edgeq.runtime.ort_format import convert, provider_fits
from edgeq.runtime.session import Session
from edgeq.whole_file import written_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from edgeq.runtime.ort_format import ProviderFit

FORMATS = ("ort",)
_LEVEL = 6
"""Of deflate, as app stores pack."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The model.
        config: Operators and types for a reduced build of onnxruntime.
        onnx_bytes: Size of the model that was given.
        bytes: Size of the file.
        packed_bytes: Its size in an app's package, deflated.
        operators: Lines of ``config`` that name operators.
        fits: What the providers of phones would take.
        samples: Samples on which the file answered like the model; 0 where no data was given.
    """

    path: Path
    config: Path
    onnx_bytes: int
    bytes: int
    packed_bytes: int
    operators: tuple[str, ...]
    fits: tuple[ProviderFit, ...]
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data, ready for JSON."""
        return {
            "path": str(self.path),
            "config": str(self.config),
            "size": {
                "onnx_bytes": self.onnx_bytes,
                "bytes": self.bytes,
                "packed_bytes": self.packed_bytes,
            },
            "operators": list(self.operators),
            "providers": [
                {
                    "provider": fit.provider,
                    "nodes": fit.nodes,
                    "supported": fit.supported,
                    "partitions": fit.partitions,
                    "unsupported": list(fit.unsupported),
                    "advice": fit.advice,
                }
                for fit in self.fits
            ],
            "samples": self.samples,
        }


def export(
    model: object,
    path: str | os.PathLike[str],
    *,
    format: str = "ort",  # noqa: A002 - what it is called on the command line
    fix_shapes: Mapping[str, Sequence[int]] | None = None,
    data: object = None,
) -> Exported:
    """Write a model for onnxruntime on phones; it is opened, and with data run, before.

    Args:
        model: Anything :func:`edgeq.quantize` takes.
        path: The .ort file. ``NAME.required_operators_and_types.config`` goes beside it.
        format: ``ort``.
        fix_shapes: Sizes of inputs or of symbolic dimensions: providers of phones want them fixed.
        data: Samples, as for calibration, on which the file has to answer like the model.

    Raises:
        RecipeError: There is no such format, input or dimension.
        ModelError: The model cannot be converted or written.
        ValidationFailed: The file answers otherwise; nothing is written.
    """
    if format not in FORMATS:
        raise RecipeError(f"there is no format {format!r}", remedy=nearest(format, FORMATS))
    loaded = loader.load(model)
    graph = fix_inputs(loaded.model, fix_shapes) if fix_shapes else loaded.model
    target = Path(path).expanduser().absolute()
    if loaded.path is not None and target.exists() and target.samefile(loaded.path):
        raise ModelError(
            "the output is the file that is read", where=str(target), remedy="Give another name"
        )
    with tempfile.TemporaryDirectory(prefix="edgeq-") as scratch:
        given, made = Path(scratch) / f"{target.stem}.onnx", Path(scratch) / "ort"
        saver.save(graph, given)
        files = convert(given, made)
        samples = _same_answers(loader.load(given), files.model, data)
        config = target.with_name(files.config.name)
        _name_only(files.config, files.model)
        _move_in({files.config: config, files.model: target})
    packed = len(zlib.compress(target.read_bytes(), _LEVEL))
    lines = config.read_text(encoding="utf-8").splitlines()
    return Exported(
        path=target,
        config=config,
        onnx_bytes=loaded.size_bytes,
        bytes=target.stat().st_size,
        packed_bytes=packed,
        operators=tuple(line for line in lines if line and not line.startswith("#")),
        fits=_fits(graph),
        samples=samples,
    )


def _same_answers(model: loader.LoadedModel, file: Path, data: object) -> int:
    """Open the file, and hold its answers against the model's; how many samples there were."""
    session = Session(file, what="the file that was made")
    if data is None:
        return 0
    samples = first_samples(model, data, PACKED_SAMPLES)
    expectation = expect(model.model, samples, deciding())
    for port in expectation.outputs:
        held = port.to_dict()["tolerance"]
        meter = Meter(held)
        for number, (sample, answer) in enumerate(zip(samples, expectation.answers, strict=True)):
            meter.add(number, answer[port.name], session.run(sample)[port.name])
        found = meter.result()
        if not found["passed"]:
            worst = found["worst"] or {}
            raise ValidationFailed(
                f"the file answers otherwise: output {port.name!r} is off by "
                f"{worst.get('difference')} where {held['absolute']:.3g} is allowed",
                remedy="Nothing was written; please report the model's operators",
            )
    return len(samples)


def _fits(graph: ir.Model) -> tuple[ProviderFit, ...]:
    inferred = graph.clone()
    shapes.infer(inferred)
    return provider_fits(ir.to_proto(inferred))


def _name_only(config: Path, model: Path) -> None:
    """Take the folder that a conversion ran in out of its comments: equal models, equal texts."""
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(str(model), model.name), encoding="utf-8")


def _move_in(files: Mapping[Path, Path]) -> None:
    try:
        for source, target in files.items():
            with written_whole(target) as place:
                place.write_bytes(source.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(target),
            remedy="Check free space and permissions of the folder, or choose another with -o",
        ) from error
