"""What is the same in every run."""

import graphs
import numpy as np
import pytest

from edgeq.graph import constants
from edgeq.graph.walk import values

TEXT = """n (float[2] x) => (float[2] z) {
    k = Constant<value = float[2] {1.0, 2.0}>()
    f = Constant<value_float = 3.5>()
    y = Add(x, k)
    u = Add(y, f)
    v = Add(u, a)
    z = Add(v, b)
}"""


@pytest.fixture
def known():
    model = graphs.build(TEXT, a=np.float32([4.0]), b=np.float32([[5.0, 6.0]]))
    model.graph.inputs.append(model.graph.initializers["b"])
    return values(model)


@pytest.mark.parametrize(
    ("name", "constant"),
    [("x", False), ("k", True), ("f", True), ("y", False), ("a", True), ("b", False)],
)
def test_initializers_and_constant_nodes_are_constants_and_defaults_of_inputs_are_not(
    known, name, constant
):
    assert constants.is_constant(known[name]) is constant
    assert (constants.array(known[name]) is not None) is constant


def test_data_is_that_of_the_model(known):
    assert constants.array(known["k"]).tolist() == [1.0, 2.0]
    assert constants.array(known["a"]).tolist() == [4.0]
    assert tuple(constants.tensor(known["k"]).shape) == (2,)


def test_scalars_have_one_element_of_any_rank(known):
    assert constants.scalar(known["f"]) == 3.5
    assert constants.scalar(known["a"]) == 4.0
    assert constants.scalar(known["k"]) is None
    assert constants.scalar(known["x"]) is None


def test_nothing_is_no_constant():
    assert not constants.is_constant(None)
    assert constants.array(None) is None
