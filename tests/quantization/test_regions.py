"""Where integer regions begin and end."""

from dataclasses import replace

import graphs
import numpy as np
import pytest

from edgeq.quantization.annotate import annotate
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def forms(lines, head=IO, **constants):
    model = graphs.build(f"{head} {{ {lines} }}", **{"w": W, **constants})
    decisions = annotate(model, CPU, Recipe()).decisions
    return {name: decision.form.value for name, decision in decisions.items()}


@pytest.mark.parametrize(
    ("lines", "carried"),
    [
        ("[c] y = Conv(x, w) [a] s = Add(y, y) [d] z = Conv(s, w)", "static"),
        ("[c] y = Conv(x, w) [a] z = Add(y, y)", "float"),
        ("[a] s = Add(x, x) [d] z = Conv(s, w)", "float"),
        ("[c] y = Conv(x, w) [a] s = Add(y, x) [d] z = Conv(s, w)", "static"),
        ("[c] y = Conv(x, w) [e] e = Sin(x) [a] s = Add(y, e) [d] z = Conv(s, w)", "float"),
        ("[c] y = Conv(x, w) [a] s = Add(y, y) [e] z = Sin(s)", "float"),
    ],
)
def test_carried_operators_join_between_integers_only(lines, carried):
    assert forms(lines)["a"] == carried


def test_a_chain_of_carried_operators_falls_together():
    lines = (
        "[c] y = Conv(x, w) [a] s = Add(y, y) [t] t = Transpose<perm=[0,1,3,2]>(s) [e] z = Sin(t)"
    )
    assert forms(lines) == {"c": "static", "a": "float", "t": "float"}


def test_carried_operators_do_not_keep_each_other():
    """Two Adds that read each other's neighbour, with no integer node before them."""
    lines = "[e] e = Sin(x) [a] s = Add(e, e) [b] t = Add(s, e) [d] z = Conv(t, w)"
    assert forms(lines) == {"a": "float", "b": "float", "d": "static"}


@pytest.mark.parametrize(
    ("lines", "form"),
    [
        ("[c] y = Conv(x, w) [r] z = Relu(y)", "absorbed"),
        ("[e] e = Sin(x) [r] z = Relu(e)", "float"),
        ("[c] y = Conv(x, w) [t] t = Transpose(y) [r] z = Relu(t)", "float"),
        ("[c] y = Conv(x, w) [r] p = Relu(y) [a] z = Add(p, y)", "float"),
    ],
)
def test_a_relu_is_absorbed_by_arithmetic_in_integers_only(lines, form):
    head = IO.replace("[1,3,4,4] z", "[a,b,c,d] z")
    assert forms(lines, head)["r"] == form


def test_a_relu_whose_source_is_an_output_stays():
    head = "n (float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] z)"
    assert forms("[c] y = Conv(x, w) [r] z = Relu(y)", head)["r"] == "float"


def test_a_relu_behind_a_product_with_float_output_stays():
    """The last Gemm writes float: nothing there could absorb."""
    head = "n (float[1,3,4,4] x) => (float[1,5] z)"
    lines = "[c] y = Conv(x, w) [f] f = Flatten(y) [g] h = Gemm(f, k) [r] z = Relu(h)"
    found = forms(lines, head, k=graphs.numbers(2, 48, 5))
    assert found == {"c": "static", "f": "static", "g": "static", "r": "float"}


def test_products_behind_products_in_float_are_dynamic():
    head = "n (float[2,3] x) => (float[2,3] z)"
    lines = "[a] y = MatMul(x, k) [r] p = Relu(y) [b] q = MatMul(p, k) [c] z = MatMul(q, k)"
    found = forms(lines, head, k=graphs.numbers(2, 3, 3))
    assert found == {"a": "dynamic", "r": "float", "b": "dynamic", "c": "dynamic"}


def test_a_product_of_computed_matrices_is_never_dynamic():
    """Its second factor has no numbers before the model runs."""
    text = "n (float[2,3] x, float[3,3] k) => (float[2,3] z) { [m] z = MatMul(x, k) }"
    model = graphs.build(text)
    found = annotate(model, CPU, Recipe(include=("m",))).decisions["m"]
    assert found.form is NodeForm.STATIC


def test_a_bound_given_as_input_cannot_be_absorbed():
    head = "n (float[1,3,4,4] x, float hi) => (float[1,3,4,4] z)"
    assert forms("[c] y = Conv(x, w) [k] z = Clip(y, , hi)", head)["k"] == "float"


@pytest.mark.parametrize("bounds", [(1.0, 6.0), (-6.0, -1.0), (0.0, 0.0), (1.0, -1.0)])
def test_bounds_that_no_range_around_zero_has_cannot_be_absorbed(bounds):
    low, high = (np.float32(bound) for bound in bounds)
    lines = "[c] y = Conv(x, w) [k] q = Clip(y, lo, hi) [d] z = Conv(q, w)"
    assert forms(lines, lo=low, hi=high)["k"] == "float"


def test_a_symmetric_target_absorbs_nothing():
    model = graphs.build(f"{IO} {{ [c] y = Conv(x, w) [r] z = Relu(y) }}", w=W)
    target = replace(CPU, activation_symmetric=True)
    assert annotate(model, target, Recipe()).decisions["r"].form is NodeForm.FLOAT
    assert np.isfinite(graphs.quantize(model, target=target).sqnr())
