"""Caches of language models: the attention over them fused, and their numbers in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeq.api.measuring import compared, recorded
from edgeq.errors import DataError, ModelError, RecipeError, UnsupportedError, nearest
from edgeq.passes.fuse_cached_attention import fuse_cached_attention
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.merge_duplicates import merge_duplicates
from edgeq.passes.merge_reshapes import merge_reshapes
from edgeq.passes.merge_transposes import merge_transposes
from edgeq.passes.move_transposes import move_transposes
from edgeq.passes.pipelines import FINALIZE, Repeat, run_pipeline
from edgeq.passes.remove_dead import remove_dead
from edgeq.passes.remove_noops import remove_noops
from edgeq.quantization.caches import BITS, CacheRanges, find_caches, store_caches
from edgeq.recipe import CONVERTED_SCHEMES, FLOAT_SCHEMES
from edgeq.runtime.session import VERSION, Session, SessionConfig
from edgeq.targets import releases

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.passes.pipelines import Pipeline
    from edgeq.quantization.cache_forms import StoredCache
    from edgeq.types import FloatArray, Sample

FLOAT: Final = "float32"
FORMS: Final = (FLOAT, *BITS)
"""What ``--kv-cache`` takes: attention fused alone, or integers as well."""

SCHEMES: Final = tuple(scheme for scheme in CONVERTED_SCHEMES if scheme not in FLOAT_SCHEMES)

_FUSE: Final[Pipeline] = (
    infer_shapes,
    fuse_cached_attention,
    infer_shapes,
    Repeat((move_transposes, merge_transposes, merge_reshapes, remove_noops, remove_dead)),
    merge_duplicates,
    *FINALIZE,
)
_PROOF_SAMPLES: Final = 2
_CLOSE_DB: Final = 60.0
"""What a fusion may change: sums in another order. Measured: over 100 dB."""


def require_cache_choice(form: str, scheme: str, *, has_data: bool, has_operators: bool) -> None:
    """Check what is asked for of a cache.

    Raises:
        RecipeError: It is unknown, does not go with the scheme or the target, or lacks data.
    """
    where = "--kv-cache"
    if form not in FORMS:
        raise RecipeError(f"unknown cache {form!r}", where=where, remedy=nearest(form, FORMS))
    if scheme not in SCHEMES:
        raise RecipeError(
            f"scheme {scheme} leaves caches as they are",
            where=where,
            remedy=f"Take --scheme {', '.join(SCHEMES)}",
        )
    if not has_operators:
        raise RecipeError(
            "the target has no operator that reads such a cache",
            where=where,
            remedy="Leave it out, or take a target that runs onnxruntime's CPU provider",
        )
    if form != FLOAT and not has_data:
        raise RecipeError(
            "scales of a cache are found on samples, and there are none",
            where=where,
            remedy="Give --calib DATA: texts, or samples with the cache filled",
        )


def fused(model: ir.Model, samples: Sequence[Sample]) -> tuple[ir.Model, tuple[str, ...]]:
    """A copy of a model with its attention over caches fused, proven to answer alike.

    Args:
        model: A prepared model with caches.
        samples: What it runs on.

    Returns:
        The copy, and what was done in sentences.

    Raises:
        UnsupportedError: The model has no cache, or onnxruntime is too old for the copy.
        ModelError: The copy answers otherwise.
    """
    count = len(find_caches(model))
    if not count:
        raise UnsupportedError(
            "the model has no cache: no input [batch, heads, tokens, channels] that an output "
            "continues",
            where="--kv-cache",
            remedy="Export it with past_key_values as inputs and present as outputs "
            "(text-generation-with-past); without them every token computes all keys anew",
        )
    copy = model.clone()
    reports = {report.name: report for report in run_pipeline(copy, _FUSE)}
    report = reports[fuse_cached_attention.__name__]
    if not report.changes:
        told = (
            f"None of its attention is fused: nothing that reads the {count} caches looks like "
            "softmax(query @ keys^T * scale + mask) @ values"
        )
        return model.clone(), report.declined or (told,)
    releases.require(copy, VERSION)
    few = list(samples[:_PROOF_SAMPLES])
    # One after the other: two sessions of a large model are twice its weights.
    answers = recorded(model, SessionConfig(), few)
    found = compared(answers, Session(copy, what="the model with fused attention"), few)
    worst = min(found, key=lambda name: found[name].sqnr_db)
    if found[worst].sqnr_db < _CLOSE_DB:
        raise ModelError(
            f"with fused attention output {worst!r} is {found[worst].sqnr_db:.0f} dB from before",
            remedy="Leave --kv-cache out, and please report the model",
        )
    told = (
        f"Attention of {report.changes} layers is fused to GroupQueryAttention, whose kernel takes "
        "several new tokens behind a filled cache for a batch of 1 only"
    )
    return copy, (told, *report.declined)


def cache_scales(
    model: ir.Model, samples: Sequence[Sample], form: str, *, threads: int = 0
) -> dict[str, FloatArray]:
    """Scales of the caches of a float model, found on what they hold behind each sample.

    Args:
        model: The model.
        samples: Read twice.
        form: ``int8`` or ``int4``.
        threads: Threads of onnxruntime.

    Returns:
        float32 [heads, channels] by name of the input.

    Raises:
        DataError: The samples leave every cache empty.
    """
    caches = find_caches(model)
    outputs = {cache.present.name or "": cache.name for cache in caches}
    ranges, session = CacheRanges(caches, BITS[form]), Session(model, SessionConfig(threads))
    tokens = 0
    for look in (ranges.widen, ranges.weigh):
        for sample in samples:
            answer = session.run(sample, list(outputs))
            look({outputs[name]: array for name, array in answer.items()})
            tokens += sum(array.shape[2] for array in answer.values())
    if not tokens:
        raise DataError(
            "the samples leave every cache empty",
            where="--kv-cache",
            remedy="Give samples with tokens",
        )
    return ranges.scales()


def stored(
    model: ir.Model, scales: dict[str, FloatArray], form: str
) -> tuple[tuple[StoredCache, ...], tuple[str, ...]]:
    """Let the caches of a model be integers.

    Args:
        model: Changed in place, its interface as well.
        scales: What :func:`cache_scales` found.
        form: As given there.

    Returns:
        The caches, and what was done in sentences.
    """
    made = store_caches(model, scales, BITS[form])
    now = sum(cache.bytes_per_token for cache in made)
    before = sum(4 * cache.scale.size for cache in made)
    count = sum(cache.fused for cache in made)
    told = [
        f"{len(made)} caches take {now} bytes a token in place of {before}; inputs and outputs of "
        f"the model hold {form} now"
    ]
    if count < len(made):
        told.append(
            f"{len(made) - count} of them are converted to floats in front of their attention, "
            "which is not fused"
        )
    return made, tuple(told)
