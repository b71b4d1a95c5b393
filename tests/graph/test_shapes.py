"""Types and shapes."""

import graphs
import onnx_ir as ir
import pytest

from edgeq.graph import shapes
from edgeq.graph.walk import values


def test_types_and_shapes_of_inner_values_are_inferred():
    model = graphs.build("n (float[2,N] x) => (float[N,2] z) { y = Transpose(x) z = Sin(y) }")
    assert shapes.infer(model)
    assert values(model)["y"].dtype is ir.DataType.FLOAT
    assert shapes.rank(values(model)["y"]) == 2


def test_a_model_that_reverses_sequences_has_none():
    model = graphs.build(
        "n (float[2,3] x, int64[3] k) => (float[2,3] z) { y = ReverseSequence(x, k) z = Sin(y) }"
    )
    assert shapes.infer(model)
    assert shapes.static(values(model)["y"]) == (2, 3)


def test_inference_that_fails_says_so_and_changes_nothing(caplog):
    model = graphs.build("n (float[2,3] x) => (float[2,3] z) { y = MatMul(x, x) z = Sin(y) }")
    before = graphs.show(model)
    assert not shapes.infer(model) or shapes.static(values(model)["y"]) is None
    assert graphs.show(model) == before
    assert not caplog.records


@pytest.mark.parametrize(
    ("shape", "known", "rank"),
    [
        ([2, 3], (2, 3), 2),
        ([], (), 0),
        ([2, "N"], None, 2),
        ([2, None], None, 2),
        ([2, -1], None, 2),
        (None, None, None),
    ],
)
def test_a_shape_is_static_when_every_dimension_is_known(shape, known, rank):
    value = ir.Value(name="v", shape=None if shape is None else ir.Shape(shape))
    assert shapes.static(value) == known
    assert shapes.rank(value) == rank


def test_nothing_has_no_shape():
    assert shapes.static(None) is None
    assert shapes.rank(None) is None


def test_a_constant_that_is_declared_without_a_shape_has_its_own():
    model = graphs.build("n (float[2,N] x, float s) => (float[2,N] z) { y = Mul(x, s) z = Sin(y) }")
    constant = next(v for v in model.graph.inputs if v.name == "s")
    model.graph.inputs.remove(constant)
    constant.shape, constant.const_value = None, ir.tensor(2.0, name="s")
    model.graph.register_initializer(constant)
    assert shapes.infer(model)
    assert shapes.rank(values(model)["y"]) == 2
