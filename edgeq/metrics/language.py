"""Perplexity of language models: how surprised a model is by text that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.types import Array, FloatArray, Sample

NEXT: Final = "next"
"""The label array that holds the token behind each position."""

_TOKENS: Final = "input_ids"
_LOGITS: Final = "logits"
_REMEDY: Final = "Save the token behind each position as label_next, shape [samples, positions]"


def token_losses(
    outputs: Mapping[str, Array], sample: Sample, labels: Mapping[str, Array]
) -> dict[str, Array]:
    """What is left of one sample's logits: the loss of every token, in nats.

    Args:
        outputs: ``logits``, or the only output of three axes: [..., positions, tokens known].
        sample: What the model was fed. Without labels, ``input_ids``, or the only integers of two
            axes, are the text: each position is held against the token behind it.
        labels: ``next``: the token behind each position; with fewer tokens than positions they
            belong to the last ones.

    Returns:
        ``loss`` float64 [tokens] and ``right`` bool [tokens]: whether the token was the likeliest.

    Raises:
        DataError: There are no logits or no text, or they do not fit each other.
    """
    logits = _logits(outputs)
    rows = logits.reshape(-1, logits.shape[-1])
    if NEXT in labels:
        targets = np.asarray(labels[NEXT]).reshape(-1)
        rows = rows[max(0, len(rows) - len(targets)) :]
    else:
        text = _text(sample)
        # Rows of a batch follow each other: the last position of each has nothing behind it.
        rows = logits.reshape(text.shape[0], -1, logits.shape[-1])[:, :-1]
        rows, targets = rows.reshape(-1, logits.shape[-1]), text[:, 1:].reshape(-1)
    if len(rows) != len(targets) or targets.dtype.kind not in "iu":
        raise DataError(
            f"there are {len(targets)} tokens of {targets.dtype} for {len(rows)} positions",
            where=f"label_{NEXT}",
            remedy=_REMEDY,
        )
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < rows.shape[-1]:
        raise DataError(
            f"the tokens run from {targets.min()} to {targets.max()}, and the model knows "
            f"{rows.shape[-1]}",
            where=f"label_{NEXT}",
            remedy="Encode the text with the tokenizer of this model",
        )
    return _losses(rows, targets)


def _losses(rows: Array, targets: Array) -> dict[str, Array]:
    """Row by row: all rows at once in float64 would take twice the memory of the logits."""
    loss = np.empty(len(targets), np.float64)
    right = np.empty(len(targets), np.bool_)
    for place, (row, target) in enumerate(zip(rows, targets, strict=True)):
        wide: FloatArray = row.astype(np.float64)
        top = wide.max()
        loss[place] = top + np.log(np.exp(wide - top).sum()) - wide[target]
        right[place] = wide[target] == top
    return {"loss": loss, "right": right}


def perplexity(
    outputs: Sequence[Mapping[str, Array]], _labels: Mapping[str, Array]
) -> dict[str, float]:
    """Perplexity, bits a token and accuracy over all tokens of all samples.

    Args:
        outputs: What :func:`token_losses` left of each sample.

    Raises:
        DataError: There is no token.
    """
    loss = np.concatenate([output["loss"] for output in outputs]) if outputs else np.empty(0)
    if not loss.size:
        raise DataError("there are no tokens to predict", where="perplexity", remedy=_REMEDY)
    right = np.concatenate([output["right"] for output in outputs])
    mean = float(loss.mean())
    return {
        "perplexity": float(np.exp(mean)),
        "bits": mean / float(np.log(2.0)),
        "accuracy": float(right.mean()),
    }


def _logits(outputs: Mapping[str, Array]) -> Array:
    wide = [array for array in outputs.values() if array.dtype.kind == "f" and array.ndim == 3]
    found = outputs.get(_LOGITS, wide[0] if len(wide) == 1 else None)
    if found is None or found.dtype.kind != "f" or found.ndim < 2:
        raise DataError(
            f"no output is called {_LOGITS!r}, and {len(wide)} have three axes",
            where="perplexity",
            remedy="Name the output [batch, positions, tokens] logits, or give a metric of your "
            "own as FILE.py:function",
        )
    return found


def _text(sample: Sample) -> Array:
    flat = [array for array in sample.values() if array.dtype.kind in "iu" and array.ndim == 2]
    found = sample.get(_TOKENS, flat[0] if len(flat) == 1 else None)
    if found is None or found.ndim != 2:
        raise DataError(
            f"no input is called {_TOKENS!r}, and there are no labels",
            where="perplexity",
            remedy=_REMEDY,
        )
    return found
