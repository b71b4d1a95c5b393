"""Opens test packs of strangers: nothing is believed before it is checked."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeq.device import pack
from edgeq.device.runner import VERSION
from edgeq.errors import DataError, ModelError
from edgeq.graph import loader

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_REMEDY: Final = "Give a file that edgeq pack wrote, or pack the model again"
_ENTRIES: Final = 100_000
_MANIFEST_BYTES: Final = 64_000_000
_LARGEST_RATIO: Final = 100
_UNSUSPICIOUS: Final = 1_000_000_000
_BLOCK: Final = 1 << 20
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_DAMAGE: Final = (
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    RecursionError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class CheckedPack:
    """A pack whose every byte is what its manifest says, in a folder of ours.

    Attributes:
        where: What the file is called in messages.
        archive: A private copy of the file.
        folder: Its entries, unpacked.
        manifest: The manifest.
        sha256: Of the file.
    """

    where: str
    archive: Path
    folder: Path
    manifest: dict[str, Any]
    sha256: str

    @property
    def made_with(self) -> dict[str, str]:
        """Versions that the expected outputs come from."""
        return {str(key): str(each) for key, each in self.manifest["made_with"].items()}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[CheckedPack]:
    """Check a pack and unpack it; the folder is removed when the block ends.

    Raises:
        DataError: There is no such file, or it is no pack, damaged, newer, or would do harm.
    """
    where = str(path)
    with tempfile.TemporaryDirectory(prefix="edgeq-pack-") as scratch:
        archive, folder = Path(scratch) / "pack.zip", Path(scratch) / "pack"
        folder.mkdir()
        try:
            # What is checked must be what is used, whatever becomes of the file meanwhile.
            shutil.copyfile(path, archive)
            manifest = _unpacked(archive, folder, where)
        except OSError as error:
            raise DataError(
                f"the pack cannot be read: {error.strerror or error}",
                where=where,
                remedy="Check the path and its permissions",
            ) from error
        except _DAMAGE as error:
            raise _damaged(where, " ".join(str(error).split()) or type(error).__name__) from error
        _require_models(manifest, folder, where)
        with archive.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        yield CheckedPack(where, archive, folder, manifest, digest)


def _damaged(where: str, what: str) -> DataError:
    return DataError(f"this is no pack, or a damaged one: {what}", where=where, remedy=_REMEDY)


def _unpacked(archive: Path, folder: Path, where: str) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as source:
        entries = source.infolist()
        _refuse_harmful(entries, archive.stat().st_size)
        manifest = _manifest(source, where)
        files = manifest["files"]
        named = {entry.filename for entry in entries} - {pack.MANIFEST}
        if named != files.keys():
            missing = min(named ^ files.keys())
            raise ValueError(f"{missing!r} is in the archive or in the manifest, but not in both")
        for entry in entries:
            _unpack(source, entry, folder, files.get(entry.filename))
    _require_sound(manifest)
    return manifest


def _refuse_harmful(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse names that leave the folder or mean something to a shell, links, and bombs."""
    if len(entries) > _ENTRIES:
        raise ValueError(f"it has {len(entries)} entries")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name != entry.orig_filename or not pack.ENTRY.fullmatch(name):
            raise ValueError(f"an entry has a name that no pack uses: {entry.orig_filename[:80]!r}")
        # Some file systems take these for one file.
        if name.lower() in seen:
            raise ValueError(f"{name!r} is there twice")
        seen.add(name.lower())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{name!r} is a link or a device, not a file")
        if entry.flag_bits & 1:
            raise ValueError(f"{name!r} is encrypted")
    if sum(entry.file_size for entry in entries) > max(_UNSUSPICIOUS, _LARGEST_RATIO * size):
        raise ValueError("it unpacks to far more than any pack")


def _manifest(source: zipfile.ZipFile, where: str) -> dict[str, Any]:
    entry = source.getinfo(pack.MANIFEST)
    if entry.file_size > _MANIFEST_BYTES:
        raise ValueError("its manifest is too large")
    manifest = json.loads(source.read(entry))
    if not isinstance(manifest, dict) or manifest.get("format") != pack.FORMAT:
        raise ValueError("its manifest is not that of a pack")
    version = manifest.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("its format version is no number")
    if version > VERSION:
        raise DataError(
            f"the pack has format version {version}, this edgeq reads up to {VERSION}",
            where=where,
            remedy="Update edgeq, or pack the model again with this one",
        )
    files = manifest["files"]
    if not isinstance(files, dict) or not all(_is_file(row) for row in files.values()):
        raise ValueError("its manifest lacks hashes")
    return manifest


def _is_file(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("bytes"), int)
        and isinstance(row.get("sha256"), str)
        and _DIGEST.fullmatch(row["sha256"]) is not None
    )


def _unpack(
    source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, row: dict[str, Any] | None
) -> None:
    """Write an entry to its file, and hold it against its hash."""
    if row is not None and entry.file_size != row["bytes"]:
        raise ValueError(f"{entry.filename} has not the size that the manifest says")
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.file_size
    with source.open(entry) as stream, target.open("wb") as to:
        while block := stream.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{entry.filename} is longer than it says")
            digest.update(block)
            to.write(block)
    if row is not None and digest.hexdigest() != row["sha256"]:
        raise ValueError(f"the hash of {entry.filename} differs from the manifest's")


def _require_sound(manifest: dict[str, Any]) -> None:
    """Refuse a manifest that is not what :meth:`edgeq.device.pack.Contents.manifest` writes."""
    files = manifest["files"].keys()
    _require_entries(manifest["model"]["files"], files, pack.MODEL)
    if manifest["reference"] is not None:
        _require_entries(manifest["reference"]["files"], files, pack.REFERENCE)
    inputs, outputs, samples = (_rows(manifest[key]) for key in ("inputs", "outputs", "samples"))
    for port in (*inputs, *outputs):
        if not isinstance(port["name"], str) or not isinstance(port["dtype"], str):
            raise TypeError("an input or output has no name or type")
    for port in outputs:
        _require_tolerance(port["tolerance"])
    for sample in samples:
        for key, ports in (("inputs", inputs), ("outputs", outputs)):
            named = sample[key]
            if not isinstance(named, list) or len(named) != len(ports) or set(named) - files:
                raise ValueError("a sample does not name its arrays")
    if not samples or not outputs:
        raise ValueError("it has no samples or no outputs")
    if not isinstance(manifest["made_with"], dict):
        raise TypeError("it does not say what it was made with")


def _require_entries(named: Any, files: Any, first: str) -> None:
    allowed = [[first], [first, f"{first}.data"]]
    if named not in allowed or not set(named) <= files:
        raise ValueError("it does not name the files of its model")


def _rows(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TypeError("its manifest has a list that is none")
    return value


def _require_tolerance(row: dict[str, Any]) -> None:
    numbers = row["absolute"], row["outliers"]
    if not all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers):
        raise ValueError("a tolerance is no number")
    if not isinstance(row["kind"], str) or not isinstance(row["because"], list):
        raise TypeError("a tolerance gives no reason")


def _require_models(manifest: dict[str, Any], folder: Path, where: str) -> None:
    """Refuse a model whose weights would come from outside of the pack."""
    named = [manifest["model"], *filter(None, [manifest["reference"]])]
    for model in named:
        try:
            loader.load(folder / model["files"][0])
        except ModelError as error:
            raise _damaged(where, f"{model['files'][0]}: {error.what}") from error
