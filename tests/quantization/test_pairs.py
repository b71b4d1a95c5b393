"""Sums of two products: which pairs there are, what they come to, and weights that are safe."""

from dataclasses import replace
from itertools import product

import graphs
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeq.quantization import affine
from edgeq.quantization.annotate import annotate
from edgeq.quantization.pairs import (
    LIMIT,
    PairForm,
    narrowed,
    pair_sums,
    rows_in_order,
    settled,
    unsigned,
    worst_sum,
)
from edgeq.quantization.resolve import resolve
from edgeq.recipe import Recipe
from edgeq.targets import PairSums, target_named
from edgeq.targets.cpu import CPU, X86_AVX2
from edgeq.types import EdgeRef, QuantSpec, QuantType, TensorRange

INT8 = QuantSpec(QuantType.INT8, symmetric=True)
ROWS = hnp.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 7)))
WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    elements=st.floats(-1, 1, width=32),
)


def worst_by_trying(first, second):
    """Over the ends of what both activations can be; the sum is linear in between."""
    ends = [a * int(first) + b * int(second) for a, b in product((0, 255), repeat=2)]
    return max(abs(each) for each in ends)


@given(ROWS)
def test_the_sum_of_a_pair_is_that_of_the_worst_activations(rows):
    found = pair_sums(rows) * 255
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    for line, place in np.ndindex(found.shape):
        first, second = padded[line, 2 * place : 2 * place + 2]
        assert found[line, place] == worst_by_trying(first, second)


@given(WEIGHTS, st.booleans(), st.booleans())
def test_narrowed_weights_have_no_pair_that_saturates(weight, fine, mse):
    spec = replace(INT8, axis=0 if fine else None)
    params = affine.params_for_weight(weight, spec, least_error=mse)
    found = narrowed(params, weight, (1,))
    integers = affine.quantize(weight, found)
    assert worst_sum(integers, (1,)) <= LIMIT
    assert (found.scale >= params.scale).all()
    assert (found.scale <= params.scale * 2.05).all()


@given(WEIGHTS)
def test_only_channels_that_need_it_are_narrowed(weight):
    params = affine.params_for_weight(weight, replace(INT8, axis=0))
    sums = pair_sums(affine.quantize(weight, params)).max(axis=1) * 255
    found = narrowed(params, weight, (1,))
    assert np.array_equal(found.scale != params.scale, sums > LIMIT)


@settings(max_examples=50)
@given(WEIGHTS)
def test_unsigned_weights_are_the_same_reals(weight):
    params = affine.params_for_weight(weight, replace(INT8, axis=0))
    here, there = (
        affine.dequantize(affine.quantize(weight, p), p) for p in (params, unsigned(params))
    )
    assert np.array_equal(here, there)
    assert unsigned(params).dtype is QuantType.UINT8


def test_convolutions_are_walked_channels_last():
    weight = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    rows = rows_in_order(weight, (2, 3, 1))
    assert rows.shape == (2, 12)
    assert rows[0, :4].tolist() == [weight[0, c, 0, 0] for c in range(3)] + [weight[0, 0, 0, 1]]


CASES = {
    "Conv": (
        "n (float[1,4,4,4] x) => (float[1,3,4,4] z) { [op] z = Conv(x, w) }",
        (3, 4, 1, 1), (0, 1),
    ),
    "Gemm": ("n (float[2,4] x) => (float[2,3] z) { [op] z = Gemm(x, w) }", (4, 3), (1, 0)),
    "Gemm transposed": (
        "n (float[2,4] x) => (float[2,3] z) { [op] z = Gemm<transB=1>(x, w) }", (3, 4), (0, 1),
    ),
    "MatMul": ("n (float[2,4] x) => (float[2,3] z) { [op] z = MatMul(x, w) }", (4, 3), (1, 0)),
    "MatMul of a stack": (
        "n (float[2,2,4] x) => (float[2,2,3] z) { [op] z = MatMul(x, w) }", (2, 4, 3), (2, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", [(0, 1), (1, 2), (2, 3)])
def test_a_pair_counts_where_products_are_added(case, place):
    """Two large weights side by side in the reduction: 0 and 1, 2 and 3 are added, 1 and 2 not."""
    text, shape, (output, inner) = CASES[case]
    weight = np.zeros(shape, np.float32)
    for step in place:
        index = [0] * len(shape)
        index[output], index[inner] = 0, step
        weight[tuple(index)] = 1.0
    model = graphs.build(text, w=weight)
    annotations = annotate(model, CPU, Recipe())
    assert annotations.paired == {EdgeRef("op", 1)}
    ranges = {ref.name: TensorRange(-1, 1) for ref in annotations.observed()}
    notes = resolve(model, annotations, ranges).pairs
    assert bool(notes) is (place != (1, 2))
    assert all(note.worst == 254 * 255 for note in notes)


@pytest.mark.parametrize(
    ("name", "paired"), [("cpu", True), ("x86-avx2", True), ("x86-vnni", False), ("arm64", False)]
)
def test_targets_with_exact_sums_have_no_pairs(name, paired):
    text, shape, _ = CASES["Conv"]
    model = graphs.build(text, w=np.ones(shape, np.float32))
    assert bool(annotate(model, target_named(name), Recipe()).paired) is paired


@pytest.mark.parametrize(
    ("group", "outputs", "paired"), [(4, 4, False), (4, 8, True), (2, 4, True), (1, 4, True)]
)
def test_depthwise_kernels_add_in_32_bits(group, outputs, paired):
    weight = np.ones((outputs, 4 // group, 3, 3), np.float32)
    ends = f"n (float[1,4,6,6] x) => (float[1,{outputs},4,4] z)"
    text = f"{ends} {{ [op] z = Conv<group={group}>(x, w) }}"
    assert bool(annotate(graphs.build(text, w=weight), CPU, Recipe()).paired) is paired


def resolved(form, target=CPU):
    text, shape, _ = CASES["Conv"]
    weight = np.zeros(shape, np.float32)
    weight[0, :2] = 1.0
    weight[1, 0] = 1.0
    model = graphs.build(text, w=weight)
    annotations = annotate(model, target, Recipe())
    ranges = {ref.name: TensorRange(-1, 1) for ref in annotations.observed()}
    return model, resolve(model, annotations, ranges, pairs=form)


@pytest.mark.parametrize("form", PairForm)
def test_the_plan_says_what_was_done(form):
    _, plan = resolved(form)
    (note,) = plan.pairs
    assert (note.node, note.input, note.worst, note.form) == ("op", 1, 254 * 255, form)
    (entry,) = plan.weights
    assert entry.params.dtype is (QuantType.UINT8 if form is PairForm.UNSIGNED else QuantType.INT8)
    raised = entry.params.scale > np.float32(1 / 127) * np.float32([1.0001, 1.0001, 0.5])
    assert raised[:2].tolist() == [form is PairForm.NARROW, False]
    assert f'"form": "{form.value}"' in plan.to_json()


def test_what_rounding_made_of_a_narrow_weight_is_settled():
    """A step that rounds 64.4 up twice would make a pair of 65s."""
    model, plan = resolved(PairForm.NARROW)
    scale = float(plan.weights[0].params.scale[0])
    rounded = model.clone()
    value = rounded.graph.initializers["w"]
    data = value.const_value.numpy().copy()
    data[0, :2, 0, 0] = np.float32(65 * scale)
    value.const_value = ir.tensor(data, name="w")
    safe = settled(rounded, plan)
    node = next(iter(safe.graph))
    integers = affine.quantize(node.inputs[1].const_value.numpy(), plan.weights[0].params)
    assert sorted(integers[0, :2, 0, 0].tolist()) == [63, 65]
    assert np.array_equal(node.inputs[1].const_value.numpy()[1:], data[1:])
    assert settled(safe, plan) is safe


def test_portable_and_avx2_differ_in_nothing_but_their_sums():
    assert replace(
        X86_AVX2, name="", summary="", machines=CPU.machines, pair_sums=PairSums.SOME
    ) == (replace(CPU, name="", summary=""))
