import onnx_ir as ir
import pytest

from edgeq.errors import RecipeError
from edgeq.graph.fix_inputs import fix_inputs

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
g (float[batch, 3, side, side] x, float[batch, K] k, float[?, 2] z)
=> (float[batch, Q] y, float w) {
  a = GlobalMaxPool(x)
  b = Flatten(a)
  y = Concat<axis=1>(b, k)
  w = ReduceMean<keepdims=0>(z)
}
"""


def shapes(model):
    return {
        v.name: [d if isinstance(d, int) else d.value for d in v.shape]
        for v in (*model.graph.inputs, *model.graph.outputs)
    }


def test_symbols_are_fixed_wherever_they_stand():
    model = ir.from_onnx_text(TEXT)
    fixed = fix_inputs(model, {"x": (2, 3, 8, 8), "K": (5,), "z": (4, 2)})
    assert shapes(fixed) == {"x": [2, 3, 8, 8], "k": [2, 5], "z": [4, 2], "y": [2, 8], "w": []}
    assert shapes(model)["x"] == ["batch", 3, "side", "side"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"x": (1, 3, 8, 9)}, "'side' cannot be both 8 and 9"),
        ({"batch": (1, 2)}, "a dimension has one size"),
        ({"x": ()}, "sizes are positive"),
        ({"y": (1,)}, "no input or symbolic dimension 'y'"),
    ],
)
def test_contradictions_are_refused(wanted, said):
    with pytest.raises(RecipeError, match=said):
        fix_inputs(ir.from_onnx_text(TEXT), wanted)


@pytest.mark.parametrize("name", ["?", "unk", "dynamic"])
def test_names_that_say_nothing_are_not_shared(name):
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, h, w] x) => (float[1, 3, h, w] y) { y = Relu(x) }"""
    model = ir.from_onnx_text(text)
    model.graph.inputs[0].shape = ir.Shape([1, 3, name, name])
    assert shapes(fix_inputs(model, {"x": (1, 3, 48, 192)}))["x"] == [1, 3, 48, 192]
    with pytest.raises(RecipeError, match="no input or symbolic dimension"):
        fix_inputs(model, {name: (4,)})
