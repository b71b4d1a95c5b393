"""Small graphs as text, quantized step by step, for the tests of every layer above ``graph``."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from edgeq.calibration.collector import collect
from edgeq.graph import loader, shapes
from edgeq.graph.rewire import drop_unused_initializers
from edgeq.graph.walk import subgraphs
from edgeq.metrics import FidelityMeter
from edgeq.quantization.annotate import annotate
from edgeq.quantization.insert import insert
from edgeq.quantization.plan import NodeForm
from edgeq.quantization.ranges import calibrators_for, choose_ranges, required_kinds
from edgeq.quantization.resolve import resolve
from edgeq.recipe import Recipe
from edgeq.runtime.kernels import executed_graph
from edgeq.runtime.session import Session, SessionConfig
from edgeq.targets.cpu import CPU

UNOPTIMIZED = SessionConfig(1, optimize=False)
OPTIMIZED = SessionConfig(1)


def numbers(seed, *shape, scale=1.0):
    """float32 numbers from a normal distribution."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def proto(text, opset=17, **constants):
    """The graph in ``text`` with ``constants`` as initializers, checked."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    onnx.checker.check_model(model)
    return model


def build(text, opset=17, **constants):
    """The same, loaded as edgeq loads it, with types and shapes inferred."""
    model = loader.load(proto(text, opset, **constants)).model
    shapes.infer(model)
    return model


UNPADDED = replace(CPU, kernels=tuple(replace(row, channel_multiple=1) for row in CPU.kernels))
"""The target whose layers read just what those of the float model read."""


def feeds(model, count=8, seed=0, **fixed):
    """Random samples for the float inputs of a model; ``fixed`` feeds the others."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sample = {}
        for value in model.graph.inputs:
            if value.name in fixed:
                sample[value.name] = np.asarray(fixed[value.name])
            elif not value.is_initializer():
                shape = [d if isinstance(d, int) else 2 for d in value.shape]
                sample[value.name] = generator.standard_normal(shape).astype(np.float32)
        found.append(sample)
    return found


@dataclass
class Quantized:
    """A model, what was planned for it, and what came out."""

    original: ir.Model
    samples: list
    annotations: object
    ranges: dict
    plan: object
    model: ir.Model

    def form(self, node):
        return next(d.form for d in self.plan.decisions if d.node == node)

    def reason(self, node):
        return next(d.reason for d in self.plan.decisions if d.node == node)

    def static(self):
        return {d.node for d in self.plan.decisions if d.form is NodeForm.STATIC}

    def sqnr(self, config=OPTIMIZED):
        """dB of the worst float output on the samples."""
        return closeness(self.original, self.model, self.samples, config)

    def executed(self):
        """Operators that onnxruntime runs, and how many conversions are left over."""
        graph = executed_graph(self.model, OPTIMIZED)
        return [node.op_type for node in graph.nodes], graph.leftover_qdq


def quantize(model, samples=None, recipe=None, target=CPU, calibrator="minmax", excluded=None):
    """Annotate, calibrate, resolve, insert."""
    samples = feeds(model) if samples is None else samples
    annotations = annotate(model, target, recipe or Recipe(), excluded)
    calibrators = calibrators_for(calibrator)
    names = [ref.name for ref in annotations.observed()]
    found = collect(model, names, samples, required_kinds(calibrators), threads=1)
    ranges = choose_ranges(model, annotations, found.statistics, calibrators)
    plan = resolve(model, annotations, {name: r.bounds for name, r in ranges.items()})
    return Quantized(model, samples, annotations, ranges, plan, insert(model, plan))


def closeness(left, right, samples, config=OPTIMIZED):
    """SQNR in dB of the worst output, the left model unoptimized."""
    reference, candidate = Session(left, UNOPTIMIZED), Session(right, config)
    meters = {name: FidelityMeter() for name in reference.outputs}
    for sample in samples:
        want, got = reference.run(sample), candidate.run(sample)
        for name, meter in meters.items():
            assert want[name].shape == got[name].shape
            assert want[name].dtype == got[name].dtype
            meter.add(want[name], got[name])
    results = [meter.result() for meter in meters.values()]
    assert all(result.finite for result in results)
    return min(result.sqnr_db for result in results)


def show(model):
    """The nodes of a model in order, one a line; numbers of quantization are left out."""
    copy = model.clone()
    drop_unused_initializers(copy)
    return "\n".join(_lines(copy.graph, ""))


def _lines(graph, indent):
    for node in graph:
        inputs = [_shown(value) for value in node.inputs]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            inputs = inputs[:1]
        names = ", ".join(output.name or "_" for output in node.outputs)
        yield f"{indent}{names} = {node.op_type}({', '.join(inputs)})"
        for attribute, body in subgraphs(node):
            yield f"{indent}  {attribute} -> {', '.join(o.name for o in body.outputs)}:"
            yield from _lines(body, f"{indent}    ")


def _shown(value):
    return "_" if value is None else value.name


def same_text(shown, wanted):
    """Whether a printed graph is the wanted text, indentation of the test's source aside."""
    lines = [line for line in wanted.splitlines() if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    assert shown == "\n".join(line[margin:].rstrip() for line in lines)
