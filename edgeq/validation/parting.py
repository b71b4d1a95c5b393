"""Where a quantized model parts from the float one: the first layer that is off, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.graph import shapes
from edgeq.graph.beside import add_whole, settle
from edgeq.graph.walk import name_of, node_name, nodes
from edgeq.runtime.session import Session
from edgeq.validation.layers import node_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.runtime.session import SessionConfig
    from edgeq.types import Array, Sample
    from edgeq.validation.layers import LayerFidelity

PARTED_DB = 20.0
"""SQNR under which the error exceeds a tenth of the signal."""

SHARP_DB = 12.0
"""A fall within one layer that says more than noise adding up does..."""

_STILL_CLOSE_DB = 26.0
"""... unless what comes out is closer than this."""

BINS = 48


@dataclass(frozen=True, slots=True)
class Parting:
    """The first layer where both models part.

    Attributes:
        name: Name of the node.
        op_type: Its operator.
        before_db: Lowest SQNR of what it reads.
        sqnr_db: Of what it writes.
        alone_db: Of what it writes when it reads exact numbers; None where nothing of it is
            rounded.
        cause: Why, in a sentence.
        remedy: What could be done.
        edges: Of the bins of both histograms, ascending; one more than counts. Empty where the
            value cannot be had whole.
        reference: Elements of the float value in each bin.
        candidate: Those of the quantized model's.
    """

    name: str
    op_type: str
    before_db: float
    sqnr_db: float
    alone_db: float | None
    cause: str
    remedy: str
    edges: tuple[float, ...]
    reference: tuple[int, ...]
    candidate: tuple[int, ...]


def first_parted(layers: Iterable[LayerFidelity]) -> LayerFidelity | None:
    """The first layer that is off or falls sharply; None where both models stay together.

    Args:
        layers: In the order of the graph.
    """
    for layer in layers:
        sharp = layer.fall_db >= SHARP_DB and layer.before_db < _FIRST_DB
        if layer.sqnr_db < PARTED_DB or (sharp and layer.sqnr_db < _STILL_CLOSE_DB):
            return layer
    return None


_FIRST_DB = 100.0
"""What stands for exact: a layer that reads the model's inputs falls from there, always."""


def describe_parting(
    reference: ir.Model,
    candidate: ir.Model,
    layer: LayerFidelity,
    samples: Sequence[Sample],
    config: SessionConfig | None = None,
) -> Parting:
    """Count what both models write at a layer.

    Args:
        reference: The float model; not changed.
        candidate: The quantized one; not changed.
        layer: Where they part.
        samples: A few; run twice, once for the edges.
        config: How the session is opened.
    """
    session, names = _open(reference, candidate, layer.name, config)
    edges, counts = _Histograms.of(session, names, samples) if session else ((), ((), ()))
    return Parting(
        layer.name, layer.op_type, layer.before_db, layer.sqnr_db, layer.alone_db, layer.cause,
        layer.remedy, edges, *counts,
    )  # fmt: skip


def _open(
    reference: ir.Model, candidate: ir.Model, node: str, config: SessionConfig | None
) -> tuple[Session | None, tuple[str, str]]:
    """A session that hands out the value of both models."""
    host = reference.clone()
    shapes.infer(host)
    makers = {node_name(each) for each in nodes(reference)}
    for pair in add_whole(host, candidate).values():
        home = pair.reference.producer()
        if node_behind(pair, makers) != node or home is None or home.graph is not host.graph:
            continue
        host.graph.outputs.clear()
        shown = pair.read if pair.rounds else pair.made
        host.graph.outputs.extend((pair.reference, shown))
        settle(host)
        return Session(host, config), (name_of(pair.reference), name_of(shown))
    return None, ("", "")


class _Histograms:
    """Counts of two values over the same edges."""

    @staticmethod
    def of(
        session: Session, names: tuple[str, str], samples: Sequence[Sample]
    ) -> tuple[tuple[float, ...], tuple[tuple[int, ...], tuple[int, ...]]]:
        ends = [_ends(session.run(sample).values()) for sample in samples]
        known = [end for end in ends if end is not None]
        if not known:
            return (), ((), ())
        low, high = min(end[0] for end in known), max(end[1] for end in known)
        edges = np.histogram_bin_edges(np.array([low, high]), BINS)
        counts = {name: np.zeros(BINS, np.int64) for name in names}
        for sample in samples:
            for name, array in session.run(sample).items():
                counts[name] += np.histogram(_finite(array), edges)[0]
        one, other = (tuple(counts[name].tolist()) for name in names)
        return tuple(edges.tolist()), (one, other)


def _ends(arrays: Iterable[Array]) -> tuple[float, float] | None:
    numbers = [array for array in map(_finite, arrays) if array.size]
    if not numbers:
        return None
    return min(float(a.min()) for a in numbers), max(float(a.max()) for a in numbers)


def _finite(array: Array) -> NDArray[np.float64]:
    flat = np.asarray(array, np.float64).ravel()
    return flat[np.isfinite(flat)]
