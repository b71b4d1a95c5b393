"""Names a Python object by text: ``module:name`` or ``FILE.py:name``.

This is the only place where text given by the user leads to code being run, and it takes the
explicit ``:name`` to get here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeq.errors import RecipeError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_Loaded = TypeVar("_Loaded")

_FORM = "Write module:name or FILE.py:name"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    r"""Whether the text has the form ``module:name`` or ``FILE.py:name``.

    The last colon separates, so that ``C:\data\load.py:samples`` is a reference and
    ``C:\data`` is not.
    """
    head, _, name = text.rpartition(":")
    if not head or not _DOTTED.fullmatch(name):
        return False
    return _is_file(head) or bool(_DOTTED.fullmatch(head))


def parse_reference(text: str) -> object:
    """Import the object that the text names.

    A file is loaded under a module name of its own, so that it shadows no other module; what lies
    beside it can be imported while it loads. A module is also looked for in the working directory.

    Args:
        text: ``module:name`` or ``FILE.py:name``; the name may be dotted.

    Returns:
        The object, whatever it is.

    Raises:
        RecipeError: The text has another form, the file or module is missing, importing it fails,
            or it has no such attribute.
    """
    if not is_reference(text):
        raise RecipeError("is not a reference to a Python object", where=repr(text), remedy=_FORM)
    head, _, name = text.rpartition(":")
    found: object = _load_file(Path(head), text) if _is_file(head) else _load_module(head, text)
    for part in name.split("."):
        if not hasattr(found, part):
            raise RecipeError(f"there is no {part!r}", where=text, remedy=_names_in(found, part))
        found = getattr(found, part)
    return found


def _is_file(head: str) -> bool:
    return head.lower().endswith(".py")


def _load_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        raise RecipeError(
            f"there is no file {str(path)!r}",
            where=text,
            remedy=f"Relative paths start at the working directory, {Path.cwd()}",
        )
    location = path.resolve()
    digest = hashlib.sha256(str(location).encode()).hexdigest()[:12]
    name = f"_edgeq_file_{digest}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, location)
    if spec is None or spec.loader is None:
        raise RecipeError("cannot be loaded as Python", where=text, remedy=_FORM)
    module = importlib.util.module_from_spec(spec)
    run = spec.loader.exec_module
    # Dataclasses and pickles made by the file look their module up while it runs.
    sys.modules[name] = module
    try:
        with _importable(location.parent):
            _imported(lambda: run(module), text)
    except RecipeError:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str, text: str) -> ModuleType:
    with _importable(Path.cwd()):
        return _imported(lambda: importlib.import_module(name), text)


def _imported(load: Callable[[], _Loaded], text: str) -> _Loaded:
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"importing it fails with {one_line(error)}",
            where=text,
            remedy="Import it in Python to see where, and repair it",
        ) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    # At the end, so that a file called types.py does not hide the standard library.
    entry = str(folder)
    sys.path.append(entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            # The last one is ours: the folder may have been on the path before.
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]


def _names_in(found: object, part: str) -> str:
    public = [name for name in dir(found) if not name.startswith("_")]
    return nearest(part, public) if public else "It has no public names"


def one_line(error: BaseException) -> str:
    """``ValueError: what it says``, without line breaks."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
