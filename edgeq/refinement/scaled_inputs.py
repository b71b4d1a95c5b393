"""Factors per channel for what products read, taken up where they cost nothing at run time.

A value is divided by the factors of its channels, and the weights of all that multiplies it are
multiplied by them: the model computes the same. What makes the value takes the inverse up: a
normalization, a constant, the rows of another product. Where something else wants the value as it
is, nothing is scaled, and the reason is told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ModelError
from edgeq.graph import constants, rewire
from edgeq.graph.walk import is_op, node_name
from edgeq.refinement.find_ties import find_ties
from edgeq.refinement.scaling import write_constant, write_layer
from edgeq.runtime.memory import let_go

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.refinement.ties import LayerTie, Ties
    from edgeq.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ScaledInputs:
    """What was scaled.

    Attributes:
        nodes: Names of the products whose weights hold the factors of what they read.
        declined: Names of products, the first of those that read a value, whose inputs keep their
            numbers -> why.
    """

    nodes: frozenset[str]
    declined: dict[str, str]


def scale_inputs(
    model: ir.Model,
    wanted: Callable[[ir.Node], bool],
    choose: Callable[[Sequence[ir.Node]], FloatArray | None],
) -> ScaledInputs:
    """Scale what products read; the model goes on computing the same.

    Args:
        model: Changed in place. Scaled matrices are computed anew whenever they are asked for.
        wanted: Whether a node is a product that gains from it.
        choose: Factors of the channels that some products read in common, float64 [channels],
            above 0; None for none.
    """
    ties = find_ties(model)
    roots, frozen = ties.factors.roots(), ties.factors.frozen()
    scale = np.ones(roots.size)
    declined: dict[str, str] = {}
    chosen: set[str] = set()
    groups = _groups(ties, roots)
    crowd = Counter(slot for members in groups for slot in roots[_slots(members[0])].tolist())
    for members in groups:
        nodes = [tie.layer.node for tie in members if wanted(tie.layer.node)]
        if not nodes:
            continue
        slots = _slots(members[0])
        reason = _obstacle(ties, members[0], frozen)
        if not reason and any(crowd[slot] > 1 for slot in roots[slots].tolist()):
            reason = "other values carry some of its channels"
        if reason:
            declined[node_name(nodes[0])] = reason
            continue
        factors = choose(nodes)
        if factors is not None:
            scale[roots[slots]] = factors
            chosen |= {node_name(node) for node in nodes}
    _apply(ties, scale[roots], rewire.Names(model))
    return ScaledInputs(frozenset(chosen), declined)


def _groups(ties: Ties, roots: IntArray) -> list[list[LayerTie]]:
    """The layers that read the same channels, and every layer whose input has none."""
    found: dict[bytes | int, list[LayerTie]] = {}
    for place, tie in enumerate(ties.layers):
        key = place if tie.inner is None else roots[tie.inner].tobytes()
        found.setdefault(key, []).append(tie)
    return list(found.values())


def _slots(tie: LayerTie) -> IntArray:
    return np.zeros(0, np.int64) if tie.inner is None else tie.inner


def _obstacle(ties: Ties, tie: LayerTie, frozen: np.ndarray) -> str:
    """Why the channels in front of a layer keep their numbers; empty where they need not."""
    if tie.inner is None:
        value = tie.layer.node.inputs[0]
        producer = None if value is None else value.producer()
        made = "the caller" if producer is None else producer.op_type
        return f"{made} hands it over and takes no factors up"
    if not frozen[tie.inner].any():
        return ""
    roots = ties.factors.roots()
    here = roots[tie.inner]
    for refusal in ties.refusals:
        place = ties.place(refusal.value)
        if place is not None and np.isin(roots[place.slots], here).any():
            return f"{refusal.node.op_type} needs its numbers as they are"
    return "it leaves the graph as it is"


def _apply(ties: Ties, scale: FloatArray, names: rewire.Names) -> None:
    for tie in ties.layers:
        into = scale[tie.inner] if tie.inner is not None else np.ones(tie.layer.in_channels)
        out = scale[tie.outer]
        if np.all(into == 1) and np.all(out == 1):
            continue
        if is_op(tie.layer.node, "MatMul"):
            _scale_matrix(tie.layer.node, into[:, None] / out)
        elif not write_layer(tie, scale, names):
            raise ModelError("factors overflow its weights", where=node_name(tie.layer.node))
    for constant in ties.constants:
        write_constant(constant, scale, names)


def _scale_matrix(node: ir.Node, factors: FloatArray) -> None:
    """Multiply the weights of a MatMul whenever they are read: nothing is kept in memory."""
    value = node.inputs[1]
    plain = constants.tensor(value)
    if value is None or plain is None:
        raise ValueError(f"{node_name(node)!r} has no constant weight")
    narrow = factors.astype(np.float32)

    def made() -> ir.TensorProtocol:
        scaled = plain.numpy() * narrow
        let_go(plain)
        return ir.Tensor(scaled, name=value.name)

    shape = ir.Shape(list(plain.shape.numpy()))
    value.const_value = ir.LazyTensor(made, dtype=plain.dtype, shape=shape, name=value.name)
