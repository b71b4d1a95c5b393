"""The last step before a model is run: cleaned up, valid, and with the interface it came with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import check
from edgeq.graph.interface import Interface, require_same
from edgeq.passes.pipelines import for_finishing, run_pipeline
from edgeq.quantization.narrow_weights import store_as_given
from edgeq.runtime.session import VERSION
from edgeq.targets import releases

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.targets import TargetProfile


def finished(model: ir.Model, original: ir.Model, target: TargetProfile) -> ir.Model:
    """A cleaned-up copy of a quantized model, proven to be valid and to fit its callers.

    Args:
        model: What quantization made; left as it is.
        original: The model as it was given.
        target: What it shall run on.

    Raises:
        ModelError: It is no valid model, or its interface changed.
        UnsupportedError: The onnxruntime that is installed is known not to run it.
    """
    final = model.clone()
    if target.contrib_operators:
        # Only onnxruntime is known to compute what Casts make of constants while it loads a model.
        store_as_given(final, original)
    run_pipeline(final, for_finishing(target))
    require_same(Interface.of(original), Interface.of(final), stage="quantization")
    check.check(final)
    releases.require(final, VERSION)
    return final
