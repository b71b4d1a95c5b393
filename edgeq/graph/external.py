"""External data: where it may be, whether it is all there, and how it is mapped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph.split import map_tensors

if TYPE_CHECKING:
    from edgeq.graph.naming import Tensor

__all__ = ["bind", "data_file"]


def bind(model: ir.Model, folder: Path | None) -> tuple[Path, ...]:
    """Tie every external tensor to a file that was checked. In place; no data is read.

    Args:
        model: Its external tensors are replaced by ones with absolute folders and exact lengths.
        folder: Where locations start; None to use each tensor's own ``base_dir``.

    Returns:
        The data files, each once, sorted by path.

    Raises:
        ModelError: If a location leaves the folder, or a file is missing or too short.
    """
    sizes: dict[Path, int] = {}

    def bound(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, ir.ExternalTensor):
            return tensor
        base = folder if folder is not None else _own_folder(tensor)
        path = _located(tensor, base)
        if path not in sizes:
            sizes[path] = _inspected(tensor, path, base)
        return _exact(tensor, path, base, sizes[path])

    map_tensors(model, bound)
    return tuple(sorted(sizes))


def data_file(tensor: Tensor) -> Path | None:
    """The file that ``tensor`` is mapped from; None for a tensor in memory."""
    return Path(tensor.path).absolute() if isinstance(tensor, ir.ExternalTensor) else None


def _own_folder(tensor: ir.ExternalTensor) -> Path:
    return Path(os.fspath(tensor.base_dir) or ".").absolute()


def _located(tensor: ir.ExternalTensor, folder: Path) -> Path:
    """Where the data is, by the text of its location alone."""
    location = os.fspath(tensor.location)
    # A backslash or drive is an ordinary file name here, but an escape for who loads it elsewhere.
    parts = location.replace("\\", "/").split("/")
    if location.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in location:
        raise _refused(tensor, f"lies outside the model's folder: {location!r}")
    return folder / location


def _inspected(tensor: ir.ExternalTensor, path: Path, folder: Path) -> int:
    """Size of the data file in bytes, once it is known to be safe to map."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"The external data of {tensor.name!r} is missing: {path}",
            remedy="Put the data file beside the model, under the name it was exported with",
        ) from error
    if not inside:
        raise _refused(tensor, f"is a link that leads out of the model's folder: {path}")
    if not path.is_file():
        raise _refused(tensor, f"is not a regular file: {path}")
    if status.st_nlink > 1:
        # onnx-ir refuses such files when the data is first read, in the middle of a run.
        raise _refused(tensor, f"has other hard links, which could point anywhere: {path}")
    return status.st_size


def _refused(tensor: ir.ExternalTensor, what: str) -> ModelError:
    return ModelError(
        f"The external data of {tensor.name!r} {what}",
        remedy="Copy the model and its data file into one folder (cp -L) and use that",
    )


def _exact(tensor: ir.ExternalTensor, path: Path, folder: Path, size: int) -> Tensor:
    """The tensor with an absolute folder and the length that its type and shape need."""
    offset, needed = tensor.offset or 0, tensor.nbytes
    stored = size - offset if tensor.length is None else min(tensor.length, size - offset)
    if offset < 0 or stored < needed:
        raise ModelError(
            f"The external data of {tensor.name!r} is cut short: it needs {needed} bytes at "
            f"{offset}, and {max(stored, 0)} are there",
            where=str(path),
            remedy="Download or export the data file again",
        )
    if tensor.size == 0:
        empty = np.empty(tensor.shape.numpy(), dtype=tensor.dtype.numpy())
        return ir.Tensor(empty, dtype=tensor.dtype, name=tensor.name)
    return ir.ExternalTensor(
        path.relative_to(folder),
        offset,
        needed,
        tensor.dtype,
        shape=tensor.shape,
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
        base_dir=folder,
    )
