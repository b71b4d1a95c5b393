"""How large values get while a model runs: what scales of floats, and their ranges, go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration.collector import collect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir

    from edgeq.types import Sample


def magnitudes(
    model: ir.Model, values: Sequence[str], samples: Iterable[Sample], *, threads: int = 0
) -> dict[str, float]:
    """The largest magnitude of values over samples, of whatever shapes these are.

    Args:
        model: Left as it is.
        values: Names of float values: inputs of the model, or anything a node computes.
        samples: Read once.
        threads: Threads of the session; 0 lets onnxruntime choose.

    Returns:
        By name. Values that no sample computed, or that were NaN or infinite, are missing.

    Raises:
        DataError: There is no sample, or the model does not run on one.
    """
    found = collect(model, values, samples, frozenset(), threads=threads).statistics
    return {name: max(-s.minimum, s.maximum) for name, s in found.items() if s.count}
