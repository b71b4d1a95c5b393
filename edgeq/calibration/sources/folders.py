"""What lies in a folder of samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

SETTINGS_FILE = "calib.toml"
LABELS_FILE = "labels.csv"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and the files in it and in its direct subfolders.

    Attributes:
        path: As the user gave it.
        files: Visible files relative to ``path``, sorted by name.
    """

    path: Path
    files: tuple[Path, ...]

    def having(self, suffixes: Collection[str]) -> tuple[Path, ...]:
        """Files directly in the folder with one of the (lower-case) suffixes."""
        return tuple(f for f in self.nested(suffixes) if len(f.parts) == 1)

    def nested(self, suffixes: Collection[str]) -> tuple[Path, ...]:
        """The same, in the folder and its direct subfolders."""
        return tuple(file for file in self.files if file.suffix.lower() in suffixes)

    def contents(self) -> str:
        """``12 .png, 3 .txt``: a summary for messages."""
        counts = Counter(
            (file.suffix.lower() or file.name) + (" in subfolders" if len(file.parts) > 1 else "")
            for file in self.files
        )
        return ", ".join(f"{n} {kind}" for kind, n in counts.most_common(6)) or "no files"

    def unused_settings(self) -> tuple[str, ...]:
        """A sentence if there is a calib.toml, for kinds that have nothing to set."""
        if not (self.path / SETTINGS_FILE).is_file():
            return ()
        return (f"{SETTINGS_FILE} is not used: arrays are fed as they are",)

    def __str__(self) -> str:
        return f"{self.path.as_posix().rstrip('/')}/"


def survey(path: Path) -> Folder:
    """List a folder, two levels deep, without hidden files.

    Raises:
        OSError: The folder cannot be read.
    """
    files: list[Path] = []
    for entry in _visible(path):
        if entry.is_dir():
            files += [file for file in _visible(entry) if file.is_file()]
        else:
            files.append(entry)
    return Folder(path, tuple(sorted(file.relative_to(path) for file in files)))


def has_classes(files: Sequence[Path]) -> bool:
    """Whether every file lies in a subfolder, which may stand for its class."""
    return bool(files) and all(len(file.parts) == 2 for file in files)


def spread(found: Sequence[Path], limit: int | None) -> Sequence[Path]:
    """The files to read: the first ones, or from class folders ones at equal distances.

    Sorted class folders would otherwise give samples of the first classes only.
    """
    count = len(found) if limit is None else min(len(found), limit)
    if not has_classes(found):
        return found[:count]
    return [found[index * len(found) // count] for index in range(count)]


def _visible(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if not entry.name.startswith(".")]
