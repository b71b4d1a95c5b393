"""Top-k accuracy of classifiers, from raw outputs and labels of the usual shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.types import Array

LABEL = "label"
"""The label array that is meant where a source has several."""

_REMEDY = "Give one class number a prediction, or several padded with -1"


def top_k(outputs: Sequence[Mapping[str, Array]], labels: Mapping[str, Array], *, k: int) -> float:
    """Fraction of predictions with a right class among the ``k`` highest scores.

    Args:
        outputs: One mapping a sample; the first output holds the scores, classes on its last axis
            (axes of size 1 behind them do not count).
        labels: ``label``, or the only array there is: samples on axis 0, then one class number a
            prediction, or several right ones padded with -1.
        k: How many classes a prediction may name.

    Raises:
        DataError: There are no labels, or they do not fit the outputs.
    """
    name, wanted = _wanted(labels)
    if len(wanted) != len(outputs):
        raise DataError(
            f"there are {len(wanted)} labels for {len(outputs)} samples",
            where=f"label_{name}",
            remedy="Give each sample its label",
        )
    right = total = 0
    for output, accepted in zip(outputs, wanted, strict=True):
        hits = _hits(next(iter(output.values())), accepted, k, name)
        right, total = right + int(hits.sum()), total + hits.size
    return right / total if total else 0.0


def _wanted(labels: Mapping[str, Array]) -> tuple[str, Array]:
    if LABEL not in labels and len(labels) != 1:
        found = f"of {', '.join(sorted(labels))} none is called" if labels else "there is none"
        raise DataError(
            f"accuracy needs one array of labels, {found} {LABEL!r}",
            remedy="Save it as label_label beside the inputs, add labels.csv to a picture folder, "
            "or give a metric of your own as FILE.py:function",
        )
    name = LABEL if LABEL in labels else next(iter(labels))
    wanted = labels[name]
    if wanted.dtype.kind not in "biuf" or wanted.ndim == 0:
        raise DataError(
            f"accuracy needs class numbers, these labels are {wanted.dtype} of rank {wanted.ndim}",
            where=f"label_{name}",
            remedy=_REMEDY,
        )
    return name, wanted


def _hits(
    scores: Array, accepted: Array, k: int, name: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    while scores.ndim > 1 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    classes = scores.shape[-1] if scores.ndim else 0
    rows = math.prod(scores.shape[:-1])
    if classes <= 1 or not rows or not accepted.size or accepted.size % rows:
        raise DataError(
            f"labels of shape {list(accepted.shape)} a sample do not fit scores of shape "
            f"{list(scores.shape)}",
            where=f"label_{name}",
            remedy=_REMEDY,
        )
    # Stable, so that ties go to the lower class on every machine.
    order = np.argsort(-scores.reshape(rows, classes).astype(np.float64), axis=1, kind="stable")
    best = order[:, :k, None]
    found = best == accepted.reshape(rows, 1, -1)
    hits: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = found.any((1, 2))
    return hits
