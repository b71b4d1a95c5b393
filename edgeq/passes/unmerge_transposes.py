"""Transposes a value as it is, where its leading axes are merged for that and split again behind.

PyTorch's exporter turns the keys of attention so, [batch, heads, tokens, channels]: to
[-1, tokens, channels], transposed, and back to four axes, with sizes that are computed on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.graph import rewire, walk
from edgeq.graph.walk import is_op, name_of
from edgeq.passes import edits
from edgeq.passes.outcome import Outcome
from edgeq.passes.pattern import produced_by, sole_reader
from edgeq.passes.symbolic import Symbols

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.graph.rewire import Names
    from edgeq.passes.outcome import Answer


def unmerge_transposes(model: ir.Model) -> Outcome:
    """Take away reshapes around transposes that leave the merged axes where they are."""
    places = [n for n in walk.nodes(model) if is_op(n, "Transpose") and _between(n) is not None]
    if not places:
        return Outcome()
    symbols, names = Symbols(model), rewire.Names(model)
    return Outcome.of(_rewrite(node, symbols, names) for node in places)


def _between(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The Reshape in front of a Transpose and the only one behind it."""
    merge, reader = produced_by(node.inputs[0], "Reshape"), sole_reader(node.outputs[0])
    if merge is None or reader is None or not is_op(reader.node, "Reshape") or reader.index != 0:
        return None
    return merge, reader.node


def _rewrite(node: ir.Node, symbols: Symbols, names: Names) -> Answer:
    found = _between(node)
    perm = tuple(node.attributes.get_ints("perm", ()))
    if found is None or perm[:1] != (0,):
        return False
    merge, split = found
    source = merge.inputs[0]
    shapes = [symbols.shape(value) for value in (source, merge.outputs[0], split.outputs[0])]
    whole, merged, last = shapes
    if source is None or whole is None or merged is None or last is None:
        return False
    kept = len(perm) - 1
    lead = len(whole) - kept
    if lead < 1 or whole[lead:] != merged[1:]:
        return False
    if last != (*whole[:lead], *(merged[axis] for axis in perm[1:])):
        return False
    axes = (*range(lead), *(axis + lead - 1 for axis in perm[1:]))
    old = split.outputs[0]
    made = edits.add_node(
        split, "Transpose", [source], names, f"{name_of(old)}__unmerged", {"perm": axes}, like=old
    )
    rewire.take_place(old, made)
    return True
