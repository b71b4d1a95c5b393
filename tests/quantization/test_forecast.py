"""What is foretold of a run: arithmetic, regions, borders, partitions."""

from dataclasses import replace

import graphs
import pytest

from edgeq.graph import macs, shapes
from edgeq.graph.walk import nodes
from edgeq.quantization.annotate import annotate
from edgeq.quantization.forecast import forecast
from edgeq.recipe import Recipe
from edgeq.targets import target_named
from edgeq.targets.cpu import CPU

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)
CONV = 16 * 3 * 3


def foretold(lines, target=CPU, head=IO, **constants):
    model = graphs.build(f"{head} {{ {lines} }}", w=W, **constants)
    annotations = annotate(model, target, Recipe())
    compute = [node for node in nodes(model) if macs.is_compute(node)]
    counted = {node.name: macs.count(node, shapes.static) for node in compute}
    return forecast(model, annotations.decisions, counted, target, annotations.rounded)


def test_arithmetic_is_split_by_form():
    found = foretold(
        "[c] y = Conv(x, w) [t] z = ConvTranspose(y, w)",
    )
    assert (found.int8, found.float_) == (CONV, CONV)
    assert found.ratio == 0.5
    (left,) = found.float_nodes
    assert (left.node, left.op_type, left.macs) == ("t", "ConvTranspose", CONV)
    assert "no integer kernel" in left.reason


@pytest.mark.parametrize(
    ("lines", "integer", "floats", "crossings"),
    [
        ("[c] z = Conv(x, w)", 1, 0, 2),
        ("[c] y = Conv(x, w) [d] z = Conv(y, w)", 1, 0, 2),
        ("[c] y = Conv(x, w) [r] z = Relu(y)", 1, 0, 2),
        ("[c] y = Conv(x, w) [s] u = Sin(y) [d] z = Conv(u, w)", 2, 1, 4),
        ("[s] u = Sin(x) [t] z = Cos(u)", 0, 1, 0),
        ("[c] y = Conv(x, w) [s] u = Sin(y) [a] v = Add(u, y) [d] z = Conv(v, w)", 2, 1, 5),
    ],
)
def test_regions_and_borders(lines, integer, floats, crossings):
    found = foretold(lines)
    assert found.integer_regions == integer
    assert found.float_regions == floats
    assert found.crossings == crossings


def test_borders_are_those_of_the_quantized_model():
    """Each conversion that is foretold is a node that onnxruntime runs."""
    lines = "[c] y = Conv(x, w) [s] u = Sin(y) [a] v = Add(u, y) [d] z = Conv(v, w)"
    model = graphs.build(f"{IO} {{ {lines} }}", w=W)
    _, left_over = graphs.quantize(model).executed()
    assert foretold(lines).crossings == left_over


def test_kernels_that_write_floats_convert_nothing_back():
    found = foretold("[c] y = Conv(x, w) [d] z = Conv(y, w)", target_named("tensorrt"))
    assert found.crossings == 1  # what the first one reads


def test_a_dynamic_node_converts_for_itself():
    lines = "[m] z = MatMul(x, k)"
    head = "n (float[2,3] x) => (float[2,3] z)"
    found = foretold(lines, head=head, k=graphs.numbers(2, 3, 3))
    assert (found.crossings, found.integer_regions, found.ratio) == (1, 0, 1.0)


def test_a_target_that_runs_everything_has_no_partitions():
    assert foretold("[c] y = Conv(x, w) [s] z = Sin(y)").partitions is None


@pytest.mark.parametrize(
    ("lines", "partitions", "fallback"),
    [
        ("[c] y = Conv(x, w) [r] z = Relu(y)", 1, 0),
        ("[c] y = Conv(x, w) [e] u = Erf(y) [d] z = Conv(u, w)", 2, 1),
        ("[e] u = Erf(x) [d] y = Conv(u, w) [f] z = Erf(y)", 1, 2),
        (
            "[c] y = Conv(x, w) [e] u = Erf(y) [d] v = Conv(x, w) [a] z = Add(u, v)",
            2, 1,
        ),
    ],
)  # fmt: skip
def test_partitions_of_a_provider_with_a_fallback(lines, partitions, fallback):
    found = foretold(lines, target_named("nnapi"))
    assert (found.partitions, found.on_fallback) == (partitions, fallback)


def test_what_another_provider_runs_is_on_the_fallback():
    rows = tuple(replace(row, provider="CPU") for row in CPU.kernels)
    target = replace(CPU, kernels=rows, float_operators=frozenset())
    found = foretold("[c] z = Conv(x, w)", target)
    assert (found.partitions, found.on_fallback, found.ratio) == (0, 1, 1.0)
