"""Small graphs written as text, and what the tests of passes ask about them."""

from itertools import islice

import numpy as np
import onnx_ir as ir

from edgeq.graph import walk
from edgeq.graph.interface import Interface, require_same
from edgeq.passes.infer_shapes import infer_shapes
from edgeq.passes.proof import prove
from edgeq.passes.random_inputs import random_samples
from edgeq.runtime.session import Session, SessionConfig

HEAD = '<ir_version: 8, opset_import: ["": {opset}]>\n'


def model(text, opset=17, *, shapes=True, **constants):
    """The graph; inputs named in ``constants`` become initializers of that content."""
    found = ir.from_onnx_text(HEAD.format(opset=opset) + text)
    for name, data in constants.items():
        value = next(v for v in found.graph.inputs if v.name == name)
        found.graph.inputs.remove(value)
        value.const_value = ir.Tensor(np.asarray(data), name=name)
        found.graph.register_initializer(value)
    for index, node in enumerate(walk.nodes(found)):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
    if shapes:
        infer_shapes(found)
    return found


def listing(found):
    """Nodes as lines of text, bodies indented."""
    return "\n".join(_lines(found.graph, ""))


def _lines(graph, indent):
    for node in graph:
        inputs = ", ".join("" if v is None else v.name for v in node.inputs)
        yield f"{indent}{', '.join(v.name for v in node.outputs)} = {node.op_type}({inputs})"
        for name, body in walk.subgraphs(node):
            yield f"{indent}  {name}:"
            yield from _lines(body, indent + "    ")


def ops(found):
    """The op types in order."""
    return [node.op_type for node in walk.nodes(found)]


def constant(found, name):
    """The data of an initializer."""
    return found.graph.initializers[name].const_value.numpy()


def apply(one, before, samples=None, *, runs=True):
    """Run a pass on a copy; checks that results and interface stay, and that it is idempotent."""
    after = before.clone()
    outcome = one(after)
    require_same(Interface.of(before), Interface.of(after))
    if runs:
        proof = prove(before, after, samples or islice(random_samples(before), 2), 1e-4)
        assert proof.holds, proof
    again = one(after)
    assert again.changes == 0, (again, listing(after))
    return after, outcome


def run(found, **feed):
    return list(Session(found, SessionConfig(optimize=False)).run(feed).values())


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)
