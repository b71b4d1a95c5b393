"""Blocks of nodes in functions of the model's own, and in branches that are always taken."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.graph import constants, rewire, walk
from undoing.pen import is_float

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from undoing.pen import Line, Pen

_DOMAIN = "blocks"
_LENGTH = 5


def blocks(pen: Pen) -> int:
    """Wrap every run of a few nodes in a function, a function of a function, or an If."""
    forms = itertools.cycle((_function, _nested, _always, _computed, _by_shape))
    pen.model.opset_imports[_DOMAIN] = 1
    done = 0
    for graph in list(pen.model.graphs()):
        for nodes in _runs(graph):
            next(forms)(pen, _Block.of(nodes))
            done += 1
    return done


@dataclass(frozen=True)
class _Block:
    """Nodes in a row.

    Attributes:
        nodes: The nodes, in order.
        reads: What they read from outside.
        writes: What others read of them.
    """

    nodes: tuple[ir.Node, ...]
    reads: tuple[ir.Value, ...]
    writes: tuple[ir.Value, ...]

    @classmethod
    def of(cls, nodes: Sequence[ir.Node]) -> _Block:
        inside = set(nodes)
        read = dict.fromkeys(
            v for n in nodes for v in n.inputs if v is not None and v.producer() not in inside
        )
        written = [
            v
            for n in nodes
            for v in n.outputs
            if v.is_graph_output() or any(use.node not in inside for use in v.uses())
        ]
        return cls(tuple(nodes), tuple(read), tuple(written))

    def copies(self, known: dict[ir.Value, ir.Value], pen: Pen) -> list[ir.Node]:
        """Copies of the nodes; ``known`` says what they read, and learns what they write."""
        made = []
        for node in self.nodes:
            inputs = [None if v is None else known.get(v, v) for v in node.inputs]
            copy = ir.Node(
                node.domain, node.op_type, inputs, node.attributes.values(),
                num_outputs=len(node.outputs), name=node.name,
            )  # fmt: skip
            for old, new in zip(node.outputs, copy.outputs, strict=True):
                known[old] = new
                new.name = pen.fresh(old.name or "value")
                new.type, new.shape = old.type, old.shape
            made.append(copy)
        return made

    def replace(self, by: ir.Node) -> None:
        """Let the outputs of ``by`` be what the block writes, and remove the block."""
        for old, new in zip(self.writes, by.outputs, strict=True):
            new.type, new.shape = old.type, old.shape
            rewire.take_place(old, new)
        for node in reversed(self.nodes):
            rewire.remove(node)


def _runs(graph: ir.Graph) -> Iterator[list[ir.Node]]:
    """Neighbours without bodies, a few at a time; some nodes between them stay outside."""
    run: list[ir.Node] = []
    for node in list(graph):
        if any(True for _ in walk.subgraphs(node)) or node.op_type == "Constant":
            run = []
            continue
        run.append(node)
        if len(run) == _LENGTH + 1:
            # The last one stays where it is.
            yield run[:-1]
            run = []


def _call(pen: Pen, block: _Block, body: Callable[[_Block], ir.Function]) -> None:
    function = body(block)
    pen.model.functions[function.identifier()] = function
    shared = [v for v in block.reads if not _inner(v)]
    node = ir.Node(_DOMAIN, function.name, shared, num_outputs=len(block.writes))
    block.nodes[-1].graph.insert_after(block.nodes[-1], pen.name(node, function.name))  # type: ignore[union-attr]
    block.replace(node)


def _inner(value: ir.Value) -> bool:
    """Constants that a function holds itself: integers, mostly shapes; weights are handed in."""
    tensor = constants.tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.INT64


def _function(pen: Pen, block: _Block) -> None:
    _call(pen, block, lambda given: _made(pen, given, given.copies))


def _made(
    pen: Pen,
    block: _Block,
    write: Callable[[dict[ir.Value, ir.Value], Pen], list[ir.Node]],
) -> ir.Function:
    """A function of what the block reads, with the nodes that ``write`` makes."""
    known: dict[ir.Value, ir.Value] = {}
    held = []
    for value in block.reads:
        if _inner(value):
            node = pen.name(ir.node("Constant", [], {"value": constants.tensor(value)}), "held")
            held.append(node)
            known[value] = node.outputs[0]
        else:
            known[value] = ir.Value(name=pen.fresh("given"))
    given = [known[v] for v in block.reads if not _inner(v)]
    nodes = [*held, *write(known, pen)]
    imports = {"": pen.opset, _DOMAIN: 1}
    body = ir.Graph(given, [known[v] for v in block.writes], nodes=nodes, opset_imports=imports)
    return ir.Function(_DOMAIN, pen.fresh("block"), graph=body, attributes=[])


def _nested(pen: Pen, block: _Block) -> None:
    """A function that calls a function for its first nodes."""
    half = len(block.nodes) // 2
    first = _Block.of(block.nodes[:half])
    inner = _made(pen, first, first.copies)
    pen.model.functions[inner.identifier()] = inner

    def write(known: dict[ir.Value, ir.Value], pen: Pen) -> list[ir.Node]:
        inputs = [known[v] for v in first.reads if not _inner(v)]
        call = ir.Node(_DOMAIN, inner.name, inputs, num_outputs=len(first.writes))
        pen.name(call, inner.name)
        known.update(zip(first.writes, call.outputs, strict=True))
        return [call, *_Block.of(block.nodes[half:]).copies(known, pen)]

    _call(pen, block, lambda given: _made(pen, given, write))


def _always(pen: Pen, block: _Block) -> None:
    _choose(pen, block, lambda line, wanted: line("Identity", np.array(wanted)))


def _computed(pen: Pen, block: _Block) -> None:
    """A condition that is computed from numbers."""

    def condition(line: Line, wanted: bool) -> ir.Value:
        less = line("Less", np.array(3.0, np.float32), np.array(5.0, np.float32))
        return less if wanted else line("Not", less)

    _choose(pen, block, condition)


def _by_shape(pen: Pen, block: _Block) -> None:
    """A condition on a size that never changes, or on a rank."""
    value = next(
        (v for v in block.reads if v.shape is not None and not constants.is_constant(v)), None
    )

    def condition(line: Line, wanted: bool) -> ir.Value:
        if value is None:
            return line("Identity", np.array(wanted))
        dims = list(value.shape or ())
        known = [axis for axis, size in enumerate(dims) if isinstance(size, int) and size > 0]
        shape = line("Shape", value)
        axis = known[0] if known else 0
        size = dims[axis] if known else len(dims)
        found = line("Gather", shape if known else line("Shape", shape), np.array(axis), axis=0)
        equal = line("Equal", found, np.array(size, np.int64))
        return equal if wanted else line("Not", equal)

    _choose(pen, block, condition)


def _choose(pen: Pen, block: _Block, condition: Callable[[Line, bool], ir.Value]) -> None:
    """An If that always takes the branch with the block; the other one computes something else."""
    wanted = bool(pen.rng.integers(2))
    anchor = block.nodes[-1]
    line = pen.behind(anchor)
    chosen = condition(line, wanted)
    right, wrong = _branch(pen, block, negated=False), _branch(pen, block, negated=True)
    branches = (right, wrong) if wanted else (wrong, right)
    names = ("then_branch", "else_branch")
    graphs = [ir.AttrGraph(name, graph) for name, graph in zip(names, branches, strict=True)]
    node = ir.Node("", "If", [chosen], graphs, num_outputs=len(block.writes))
    line.anchor.graph.insert_after(line.anchor, pen.name(node, "choice"))  # type: ignore[union-attr]
    block.replace(node)


def _branch(pen: Pen, block: _Block, *, negated: bool) -> ir.Graph:
    known: dict[ir.Value, ir.Value] = {}
    nodes = block.copies(known, pen)
    outputs = []
    for value in block.writes:
        result = known[value]
        if negated and is_float(value):
            nodes.append(pen.name(ir.node("Neg", [result]), "neg"))
            result, like = nodes[-1].outputs[0], result
            result.type, result.shape = like.type, like.shape
        outputs.append(result)
    return ir.Graph([], outputs, nodes=nodes, name=pen.fresh("branch"))
