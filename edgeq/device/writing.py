"""Writes test packs. Equal models and samples give equal bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx_ir as ir
from numpy.lib import format as npy_format

from edgeq.device import pack
from edgeq.errors import DataError
from edgeq.graph import saver
from edgeq.graph.split import tensors
from edgeq.whole_file import written_whole

if TYPE_CHECKING:
    import os

    from edgeq.device.expectation import Expectation
    from edgeq.graph.loader import LoadedModel
    from edgeq.types import Array

_DATE: Final = (1980, 1, 1, 0, 0, 0)
_BESIDE: Final = (pack.RUNNER, pack.WEB_RUNNER)
_BLOCK: Final = 1 << 20


def write_pack(
    path: str | os.PathLike[str],
    model: LoadedModel,
    reference: LoadedModel | None,
    expectation: Expectation,
) -> dict[str, int]:
    """Write a pack, whole or not at all.

    Args:
        path: The file to write.
        model: The model to test.
        reference: Its float original, to be run beside it; None for none.
        expectation: Samples, and what the model shall answer.

    Returns:
        Size of every entry in bytes.

    Raises:
        DataError: The file cannot be written.
        ModelError: The model cannot be saved.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edgeq-pack-") as folder, written_whole(path) as to:
            files = _collected(Path(folder), model, reference, expectation)
            _zip(to, files)
            return {name: file.stat().st_size for name, file in files.items()}
    except OSError as error:
        raise DataError(
            f"the pack cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Check free space and permissions of the folder, or choose another with -o",
        ) from error


def _collected(
    folder: Path, model: LoadedModel, reference: LoadedModel | None, expectation: Expectation
) -> dict[str, Path]:
    """Put every entry into a folder; entry -> file."""
    files = _model_files(folder, model, pack.MODEL)
    model_files = tuple(files)
    beside = {} if reference is None else _model_files(folder, reference, pack.REFERENCE)
    files |= beside
    samples = []
    for number, (sample, answer) in enumerate(
        zip(expectation.samples, expectation.answers, strict=True)
    ):
        fed = [sample[port.name] for port in expectation.inputs]
        answered = [answer[port.name] for port in expectation.outputs]
        entries = []
        for kind, arrays in (("inputs", fed), ("expected", answered)):
            added = _arrays(folder, f"{kind}/{number:03}", arrays)
            files |= added
            entries.append(tuple(added))
        samples.append((entries[0], entries[1]))
    contents = pack.Contents(
        model=model_files,
        model_sha256=model.sha256,
        reference=tuple(beside),
        inputs=expectation.inputs,
        outputs=expectation.outputs,
        samples=tuple(samples),
        made_with=expectation.made_with,
    )
    return files | _texts(folder, contents, files)


def _model_files(folder: Path, model: LoadedModel, name: str) -> dict[str, Path]:
    """The model's own bytes; rewritten where its weights lie in files of whatever name."""
    target = folder / name
    external = any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors(model.model))
    if model.path is not None and not external:
        shutil.copyfile(model.path, target)
        return {name: target}
    saved = saver.save(model.model, target, force_external=external)
    return {file.name: file for file in saved.files}


def _arrays(folder: Path, entry: str, arrays: list[Array]) -> dict[str, Path]:
    (folder / entry).mkdir(parents=True)
    found = {}
    for place, array in enumerate(arrays):
        name = f"{entry}/{place}.npy"
        with (folder / name).open("wb") as stream:
            # What readers elsewhere expect: little-endian, C order, version 1.0 of the format.
            ordered = np.asarray(array, order="C").astype(array.dtype.newbyteorder("<"), copy=False)
            npy_format.write_array(stream, ordered, version=(1, 0), allow_pickle=False)
        found[name] = folder / name
    return found


def _texts(folder: Path, contents: pack.Contents, files: dict[str, Path]) -> dict[str, Path]:
    """Runners, instructions, and the manifest with the hashes of everything else."""
    here = Path(__file__).parent
    found = {name: here / name for name in _BESIDE} | {pack.README: here / "pack_readme.md"}
    digests = {
        name: (_sha256(file), file.stat().st_size) for name, file in sorted((files | found).items())
    }
    manifest = folder / pack.MANIFEST
    text = json.dumps(contents.manifest(digests), indent=1, sort_keys=True, allow_nan=False)
    manifest.write_text(text, encoding="utf-8")
    return {**found, pack.MANIFEST: manifest}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _zip(to: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(to, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # as on Unix, whatever wrote it
            info.external_attr = 0o644 << 16
            info.file_size = files[name].stat().st_size
            # Stored: what a deflater makes depends on its version, and weights do not shrink.
            with files[name].open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)
