"""The format of a test pack: what its entries are called, and what its manifest says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeq.device.runner import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.device.tolerance import Tolerance

FORMAT: Final = "edgeq-pack"
MANIFEST: Final = "manifest.json"
MODEL: Final = "model.onnx"
REFERENCE: Final = "reference.onnx"
RUNNER: Final = "runner.py"
WEB_RUNNER: Final = "runner.mjs"
README: Final = "README.md"
SUFFIX: Final = ".edgeq.zip"

ENTRY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")
"""What an entry may be called: nothing that a shell or a file system takes for something else."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output.

    Attributes:
        name: Its name in the model.
        dtype: Name of its numpy dtype.
        tolerance: What an output is held to; None of an input.
    """

    name: str
    dtype: str
    tolerance: Tolerance | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        row: dict[str, Any] = {"name": self.name, "dtype": self.dtype}
        if self.tolerance is not None:
            row["tolerance"] = {
                "kind": self.tolerance.kind,
                "absolute": self.tolerance.absolute,
                "outliers": self.tolerance.outliers,
                "because": list(self.tolerance.because),
            }
        return row


@dataclass(frozen=True, slots=True)
class Contents:
    """What a manifest says beside the hashes.

    Attributes:
        model: Entries of the model, the .onnx first.
        model_sha256: Of the model as it was given, its external data included.
        reference: Entries of the float original; empty without one.
        inputs: What the model is fed.
        outputs: What it answers.
        samples: Per sample the entries of inputs and outputs, in the order of the ports.
        made_with: Versions of what decided on the expected outputs.
    """

    model: tuple[str, ...]
    model_sha256: str
    reference: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    samples: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    made_with: Mapping[str, str]

    def manifest(self, files: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
        """The manifest; ``files`` is sha256 and size of every other entry."""
        reference = {"files": list(self.reference)} if self.reference else None
        return {
            "format": FORMAT,
            "version": VERSION,
            "made_with": dict(self.made_with),
            "model": {"files": list(self.model), "sha256": self.model_sha256},
            "reference": reference,
            "inputs": [port.to_dict() for port in self.inputs],
            "outputs": [port.to_dict() for port in self.outputs],
            "samples": [
                {"inputs": list(fed), "outputs": list(answered)} for fed, answered in self.samples
            ],
            "files": {
                name: {"sha256": digest, "bytes": size} for name, (digest, size) in files.items()
            },
        }
