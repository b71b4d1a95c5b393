"""Files that are written whole or not at all."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place beside a file to write it to; it takes the file's place when the block ends well.

    Raises:
        OSError: The folder or the file cannot be written; what was there is there still.
    """
    target = Path(path).absolute()
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        file = Path(scratch) / target.name
        yield file
        file.replace(target)
