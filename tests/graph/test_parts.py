"""Boxes beside scores in one output are told apart; what is alike stays together."""

import graphs
import numpy as np
import pytest

from edgeq.graph import shapes
from edgeq.graph.parts import parts_of

HEAD = "b = Exp(x) s = Sigmoid(x)"


def parts(body, output="float[1,10,7]"):
    model = graphs.build(f"n (float[1,5,7] x) => ({output} z) {{ {body} }}")
    shapes.infer(model)
    return [(p.name, p.axis, p.probabilities) for p in parts_of(model)]


@pytest.mark.parametrize(
    "body",
    [
        f"{HEAD} z = Concat<axis=1>(b, s)",
        f"{HEAD} c = Concat<axis=-2>(b, s) z = Identity(c)",
        "b = Exp(x) g = Sigmoid(x) s = Identity(g) z = Concat<axis=1>(b, s)",
    ],
)
def test_probabilities_beside_other_numbers_are_a_part(body):
    assert parts(body) == [("z[0:5]", 1, False), ("z[5:10]", 1, True)]


def test_the_seam_is_followed_through_what_moves_numbers():
    body = (
        f"{HEAD} c = Concat<axis=1>(b, s) d = Concat<axis=2>(c, c) z = Transpose<perm=[0,2,1]>(d)"
    )
    assert parts(body, "float[1,14,10]") == [("z[0:5]", 2, False), ("z[5:10]", 2, True)]


@pytest.mark.parametrize(
    "body",
    [
        "b = Exp(x) c = Tanh(x) z = Concat<axis=1>(b, c)",
        "b = Sigmoid(x) c = Softmax(x) z = Concat<axis=1>(b, c)",
        f"{HEAD} c = Concat<axis=1>(b, s) z = Neg(c)",
    ],
)
def test_what_is_alike_or_computed_with_has_no_parts(body):
    assert parts(body) == []


def test_a_part_reads_its_slice():
    model = graphs.build(
        f"n (float[1,5,7] x) => (float[1,10,7] z) {{ {HEAD} z = Concat<axis=1>(b, s) }}"
    )
    shapes.infer(model)
    array = np.arange(70.0).reshape(1, 10, 7)
    assert [part.of(array).tolist() for part in parts_of(model)] == [
        array[:, :5].tolist(),
        array[:, 5:].tolist(),
    ]
