"""Saves models: completely or not at all, and never over the file they came from."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from edgeq.errors import ModelError
from edgeq.graph.external import data_file
from edgeq.graph.loader import SOURCE_KEY
from edgeq.graph.split import NOTHING_HELD_OUT, require_message_size, split, tensors, write_data

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from edgeq.graph.naming import Tensor
    from edgeq.graph.split import Extent

EXTERNAL_FROM_BYTES: Final = 1_800_000_000
"""Weights of this size go into a data file of their own: a message holds 2 GB with all else."""

_EXTERNAL_TENSOR_BYTES: Final = 1024

_LARGE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What was written.

    Attributes:
        files: The model, then its external data file if there is one.
        size_bytes: Size of all of them.
    """

    files: tuple[Path, ...]
    size_bytes: int


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    force_external: bool = False,
    external_from: int = EXTERNAL_FROM_BYTES,
) -> SavedModel:
    """Write the model; on any failure nothing is left behind and existing files stay.

    Args:
        model: Left as it is; its mapped tensors keep pointing to the files they came from.
        path: The .onnx file. External data goes to ``NAME.onnx.data`` beside it.
        force_external: Use external data even for a small model.
        external_from: Size of the weights in bytes from which external data is used.

    Raises:
        ModelError: If the model or its data came from ``path``, or writing fails.
    """
    target = Path(path).expanduser().absolute()
    weights = sum(tensor.nbytes for tensor in tensors(model))
    external = force_external or weights >= external_from
    targets = [target, target.with_name(f"{target.name}.data")] if external else [target]
    _require_writable(target)
    for file in targets:
        _refuse_source(model, file)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{target.name}.", dir=target.parent, ignore_cleanup_errors=True
        ) as scratch:
            written = _write(model, Path(scratch), target.name, external=external)
            size = sum(file.stat().st_size for file in written)
            _move_in(written, targets[: len(written)])
    except OSError as error:
        raise ModelError(
            f"The model cannot be written: {error.strerror or error}",
            where=str(target),
            remedy="Check free space and permissions of the folder, or choose another with -o",
        ) from error
    return SavedModel(tuple(targets[: len(written)]), size)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as one message, mapped weights included.

    Raises:
        ModelError: If it would pass 2 GB.
    """
    return split(model, location="", minimum=NOTHING_HELD_OUT, attributes=True).proto


def to_bytes(model: ir.Model) -> bytes:
    """The model as the bytes of an .onnx file, mapped weights included.

    Raises:
        ModelError: If it would pass 2 GB.
    """
    return _message(to_proto(model))


def _message(proto: onnx.ModelProto) -> bytes:
    require_message_size(proto.ByteSize())
    return bytes(proto.SerializeToString(deterministic=True))


def _require_writable(target: Path) -> None:
    where = str(target)
    if target.is_dir():
        raise ModelError(
            "The output is a folder", where=where, remedy="Give a file name, such as model.onnx"
        )
    if not target.parent.is_dir():
        raise ModelError(
            f"There is no folder {str(target.parent)!r} to write to",
            where=where,
            remedy="Create it first, or choose another with -o",
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ModelError("The folder is not writable", where=where, remedy="Choose another with -o")


def _refuse_source(model: ir.Model, target: Path) -> None:
    if not target.exists():
        return
    sources = {data_file(tensor) for tensor in tensors(model)}
    if SOURCE_KEY in model.graph.meta:
        sources.add(Path(model.graph.meta[SOURCE_KEY]))
    for source in sources:
        # By identity, not by name: links and other spellings are the same file.
        if source is not None and source.exists() and source.samefile(target):
            raise ModelError(
                "The output is a file that the model was read from",
                where=str(target),
                remedy="Choose another name with -o, the original is never overwritten",
            )


def _write(model: ir.Model, folder: Path, name: str, *, external: bool) -> list[Path]:
    """Write the files into ``folder``: the model first, then its data."""
    parts = split(
        model,
        location=f"{name}.data",
        minimum=_EXTERNAL_TENSOR_BYTES if external else NOTHING_HELD_OUT,
        name=name,
    )
    files = [folder / name]
    files[0].write_bytes(_message(parts.proto))
    if parts.extents:
        files.append(folder / f"{name}.data")
        with files[1].open("wb") as file:
            for extent in parts.extents:
                _write_extent(extent, file)
    return files


def _write_extent(extent: Extent, file: BinaryIO) -> None:
    tensor: Tensor = extent.tensor
    file.seek(extent.offset)
    write_data(tensor, file)
    written = file.tell() - extent.offset
    if written != tensor.nbytes:
        raise ModelError(
            f"Its data has {written} bytes where its type and shape need {tensor.nbytes}",
            where=tensor.name,
            remedy="Check the pass that made this tensor",
        )


def _move_in(files: list[Path], targets: list[Path]) -> None:
    """Put the files in place, the model last: it must never refer to data that is not there."""
    if len(files) == 1:
        files[0].replace(targets[0])
        return
    model, data = files
    backup = data.with_name(f"{data.name}.old")
    # The old data belongs to an old model that stays valid until the last rename succeeds.
    if targets[1].exists():
        targets[1].replace(backup)
    try:
        data.replace(targets[1])
        model.replace(targets[0])
    except BaseException:
        targets[1].unlink(missing_ok=True)
        if backup.exists():
            backup.replace(targets[1])
        raise


def serialized_size(model: ir.Model) -> int:
    """Bytes of the message that :func:`save` would write, and of the large tensors beside it."""
    parts = split(model, location="weights", minimum=_LARGE)
    return int(parts.proto.ByteSize()) + sum(extent.tensor.nbytes for extent in parts.extents)
