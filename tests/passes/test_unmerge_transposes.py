"""Transposes between reshapes that merge leading axes and split them again need no reshapes."""

import graphs
import numpy as np
import pytest

from edgeq.graph import walk
from edgeq.passes.pipelines import FINALIZE, run_pipeline
from edgeq.passes.unmerge_transposes import unmerge_transposes
from edgeq.runtime.session import Session

TURNED = """net (float[b,2,s,8] x) => (float[b,2,8,s] y) {{
  sizes = Shape(x)
  length = Slice(sizes, two, three)
  lead = Slice(sizes, zero, two)
  merged_to = Concat<axis = 0>(minus, length, eight)
  split_to = Concat<axis = 0>({split})
  merged = Reshape(x, merged_to)
  turned = Transpose<perm = {perm}>(merged)
  y = Reshape(turned, split_to)
}}"""


def net(perm="[0, 2, 1]", split="lead, eight, length"):
    numbers = {"zero": 0, "two": 2, "three": 3, "minus": -1, "eight": 8}
    ints = {name: np.array([number]) for name, number in numbers.items()}
    return graphs.build(TURNED.format(perm=perm, split=split), **ints)


def operators(model):
    return [node.op_type for node in walk.nodes(model)]


def test_one_transpose_is_left_and_computes_the_same():
    model = net()
    made = model.clone()
    assert unmerge_transposes(made).changes == 1
    run_pipeline(made, FINALIZE)
    assert operators(made) == ["Transpose"]
    sample = {"x": graphs.numbers(0, 3, 2, 5, 8)}
    want, got = Session(model).run(sample), Session(made).run(sample)
    np.testing.assert_array_equal(got["y"], want["y"])


@pytest.mark.parametrize(
    ("perm", "split"),
    [
        # The merged axes move, or other ones come out.
        ("[2, 0, 1]", "lead, eight, length"),
        ("[0, 2, 1]", "lead, length, eight"),
    ],
)
def test_others_stay(perm, split):
    model = net(perm, split)
    assert unmerge_transposes(model).changes == 0
    assert "Reshape" in operators(model)
