"""Handing memory that nobody uses any more back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import onnx_ir as ir


def hand_back() -> None:
    """Let the C library return what was freed.

    glibc keeps freed blocks of up to 32 MB in its heap, which is what the weights of a session are
    made of: behind a closed session of 650 MB, 440 MB stayed in use until a later free happened
    to trim the heap (mallopt(3), M_MMAP_THRESHOLD). Other C libraries have no such call.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def let_go(*tensors: ir.TensorProtocol | None) -> None:
    """Unmap data that was read from files: it is read again when it is asked for."""
    for tensor in tensors:
        if isinstance(tensor, ir.ExternalTensor):
            # Somebody may still look at an array of it.
            with contextlib.suppress(BufferError):
                tensor.release()
