"""What a row demands of a node, one condition at a time, with the reason for the user."""

from dataclasses import replace

import graphs
import numpy as np
import pytest

from edgeq.ops import rule_for
from edgeq.quantization.fitting import obstacle
from edgeq.targets import Condition, KernelRow, Placement
from edgeq.targets.cpu import CPU
from edgeq.types import QuantType

IMAGE = "n (float[1,4,6,6] x) => (float[1,4,4,4] z) { [op] z = Conv(x, w) }"
GROUPS = "n (float[1,4,6,6] x) => (float[1,4,4,4] z) { [op] z = Conv<group=%d>(x, w) }"
BATCHES = "n (float[N,4,6,6] x) => (float[N,4,4,4] z) { [op] z = Conv(x, w) }"
ANY_SIZE = "n (float[1,4,H,W] x) => (float[1,4,h,w2] z) { [op] z = Conv(x, w) }"
W = graphs.numbers(1, 4, 4, 3, 3)


def reason(text, target=CPU, constants=None, **row):
    constants = {"w": W} if constants is None else constants
    model = graphs.build(text, **constants)
    node = next(node for node in model.graph if node.name == "op")
    kernel = KernelRow(node.op_type, Placement.COMPUTE, source="test", **row)
    return obstacle(node, rule_for(node), kernel, target)


def only(condition):
    return {"conditions": frozenset({condition})}


@pytest.mark.parametrize(
    ("text", "row", "part"),
    [
        (IMAGE, {}, None),
        (IMAGE, {"data_ranks": frozenset({4})}, None),
        (IMAGE, {"data_ranks": frozenset({3, 5})}, "has 4 dimensions, the integer kernel takes 3"),
        (IMAGE, {"weight_ranks": frozenset({3})}, "its weight has 4 dimensions"),
        (IMAGE, {"activations": frozenset({QuantType.UINT8})}, None),
        (IMAGE, {"activations": frozenset({QuantType.INT8})}, "takes int8 activations"),
        (IMAGE, only(Condition.STATIC_SHAPES), None),
        (BATCHES, only(Condition.STATIC_SHAPES), "sizes that are all known only"),
        (BATCHES, only(Condition.STATIC_IMAGE), None),
        (ANY_SIZE, only(Condition.STATIC_IMAGE), "sizes that are all known, but for the batch"),
        (IMAGE, only(Condition.PLAIN_OR_DEPTHWISE), None),
    ],
)
def test_ranks_types_and_sizes(text, row, part):
    found = reason(text, **row)
    assert found is None if part is None else part in found


@pytest.mark.parametrize(("groups", "fits"), [(1, True), (2, False), (4, True)])
def test_groups(groups, fits):
    weight = {"w": graphs.numbers(1, 4, 4 // groups, 3, 3)}
    found = reason(GROUPS % groups, constants=weight, **only(Condition.PLAIN_OR_DEPTHWISE))
    assert (found is None) is fits


@pytest.mark.parametrize(("axis", "fits"), [(-1, True), (1, True), (0, False)])
def test_the_last_axis(axis, fits):
    text = f"n (float[2,3] x) => (float[2,3] z) {{ [op] z = Softmax<axis={axis}>(x) }}"
    assert (reason(text, constants={}, **only(Condition.LAST_AXIS)) is None) is fits


@pytest.mark.parametrize(("parts", "fits"), [((2, 2), True), ((1, 3), False)])
def test_even_parts(parts, fits):
    text = "n (float[4] x) => (float[a] y, float[b] z) { [op] y, z = Split(x, p) }"
    found = reason(text, constants={"p": np.int64(parts)}, **only(Condition.EVEN_PARTS))
    assert (found is None) is fits


def test_a_target_with_fixed_shapes_takes_no_others():
    fixed = replace(CPU, dynamic_shapes=False)
    assert reason(IMAGE, fixed) is None
    assert "fixed shapes only" in reason(BATCHES, fixed)


def test_the_first_row_that_fits_counts():
    from edgeq.quantization.annotate import annotate
    from edgeq.recipe import Recipe

    flat = KernelRow("Conv", Placement.COMPUTE, data_ranks=frozenset({4}), source="test")
    rest = KernelRow("Conv", Placement.COMPUTE, provider="CPU", source="test")
    target = replace(CPU, kernels=(flat, rest))
    sound = "n (float[1,4,6] x) => (float[1,4,6] z) { [op] z = Conv(x, w) }"
    for text, weight, provider in ((IMAGE, W, ""), (sound, graphs.numbers(1, 4, 4, 1), "CPU")):
        decision = annotate(graphs.build(text, w=weight), target, Recipe()).decisions["op"]
        assert (decision.form.value, decision.provider) == ("static", provider)
