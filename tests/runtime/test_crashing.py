"""Models on which onnxruntime would end the process are known, and opened without its crash."""

import graphs
import numpy as np
import pytest

from edgeq.runtime.crashing import crashes
from edgeq.runtime.session import Session

SIZES = (2, 3, 4, 8)


def across(order, between="u = Identity(t)", kind="float16"):
    """A Transpose and what stands between it and a product with a constant."""
    text = (
        f"n ({kind}{list(SIZES)} x) => ({kind}[a,b,c,d] y)"
        f" {{ t = Transpose<perm={order}>(x) {between} y = MatMul(u, w) }}"
    )
    numbers = np.float16 if kind == "float16" else np.float32
    weights = np.ones((SIZES[order[-1]], 5), numbers)
    return graphs.build(text, w=weights, two=np.full((), 2, numbers))


def without_types(model):
    for node in model.graph:
        for value in node.outputs:
            value.type = None
    return model


@pytest.mark.parametrize("between", ["u = Identity(t)", "u = Mul(t, two)", "u = Div(t, two)"])
@pytest.mark.parametrize("order", [[1, 2, 0, 3], [1, 2, 3, 0]], ids=str)
def test_a_model_on_which_onnxruntime_crashes_runs(order, between):
    model = across(order, between)
    assert crashes(model)
    result = Session(model).run({"x": np.ones(SIZES, np.float16)})["y"]
    factor = {"Mul": 2, "Div": 0.5}.get(between[4:7], 1)
    assert np.all(result == factor * SIZES[order[-1]])


def test_types_that_nobody_told_are_taken_for_those_of_the_constants():
    assert crashes(without_types(across([1, 2, 0, 3])))
    assert not crashes(without_types(across([1, 2, 0, 3], kind="float")))


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [2, 1, 0, 3], [0, 1, 3, 2]], ids=str)
def test_other_orders_keep_the_fusion(order):
    assert not crashes(across(order))


def test_what_no_product_reads_keeps_the_fusion():
    assert not crashes(across([1, 2, 0, 3], "u = Relu(t)"))


def test_float32_keeps_the_fusion():
    assert not crashes(across([1, 2, 0, 3], kind="float"))
