"""onnxruntime's own file format for phones, and what its mobile providers would take."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.errors import ModelError
from edgeq.runtime.session import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

_COREML = "coreml_supported_mlprogram_ops.md"


@dataclass(frozen=True, slots=True)
class OrtFiles:
    """What a conversion made.

    Attributes:
        model: The .ort file.
        config: The operators and types that a reduced build of onnxruntime needs for it.
    """

    model: Path
    config: Path


@dataclass(frozen=True, slots=True)
class ProviderFit:
    """How much of a model a provider of phones would take, by operator type: an upper bound.

    Attributes:
        provider: ``NNAPI`` or ``CoreML``.
        nodes: All nodes.
        supported: Nodes that it would take.
        partitions: Pieces that the model falls into; between them, numbers move.
        unsupported: Operators that it does not know.
        advice: ``yes``, ``maybe`` or ``no``: whether to try it.
    """

    provider: str
    nodes: int
    supported: int
    partitions: int
    unsupported: tuple[str, ...]
    advice: str


def convert(model: Path, folder: Path) -> OrtFiles:
    """Write a model in the format, optimized for any processor.

    Args:
        model: An .onnx file.
        folder: Where the files go; empty.

    Raises:
        ModelError: onnxruntime does not convert it.
    """
    try:
        from onnxruntime.tools import convert_onnx_models_to_ort as tool

        with _silence():
            tool.convert_onnx_models_to_ort(
                model,
                output_dir=folder,
                optimization_styles=[tool.OptimizationStyle.Fixed],
                enable_type_reduction=True,
            )
        (made,), (config,) = list(folder.glob("*.ort")), list(folder.glob("*.config"))
    except Exception as error:
        raise ModelError(
            f"onnxruntime does not convert the model: {first_line(error)}",
            remedy="Check that it loads; models over 2 GB do not fit into the format",
        ) from error
    return OrtFiles(made, config)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the tool off stdout, which belongs to our reports, and from logging what it does."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            # It leaves the closing of its files to Python.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        logging.disable(before)


def provider_fits(proto: onnx.ModelProto) -> tuple[ProviderFit, ...]:
    """What the providers of Android and iOS would take; empty where onnxruntime does not tell.

    Args:
        proto: The model, shapes inferred.
    """
    try:
        from onnxruntime.tools.mobile_helpers import usability_checker as checker
    except ImportError:
        return ()
    with _silence():
        found = {
            "NNAPI": checker.check_nnapi_partitions(proto, True),
            "CoreML": checker.check_coreml_partitions(proto, True, _COREML),
        }
    return tuple(_fit(name, info) for name, info in found.items())


def _fit(provider: str, info: Any) -> ProviderFit:
    return ProviderFit(
        provider,
        int(info.num_nodes),
        int(info.num_supported_nodes),
        int(info.num_partitions),
        tuple(sorted(name.rpartition(":")[2] for name in info.unsupported_ops)),
        str(info.suitability().name).lower() if info.num_nodes else "no",
    )
