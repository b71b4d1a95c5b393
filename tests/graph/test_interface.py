import onnx_ir as ir
import pytest

from edgeq.errors import ModelError
from edgeq.graph.interface import (
    Interface,
    Port,
    differences,
    require_same,
    require_same_sizes,
)

TEXT = """
<ir_version: 8, opset_import: ["": 17], doc_string: "about", metadata_props: ["k": "v"]>
g (float[N,3,?] x, int64[2] i) => (float[N,3,?] y, int64[2] j) { y = Relu(x) j = Identity(i) }
"""


def model():
    return ir.from_onnx_text(TEXT)


def test_snapshot():
    found = Interface.of(model())
    assert found.inputs == (Port("x", "FLOAT", ("N", 3, None)), Port("i", "INT64", (2,)))
    assert [port.name for port in found.outputs] == ["y", "j"]
    assert found.metadata_props == (("k", "v"),)
    assert found.doc_string == "about"
    assert str(found.inputs[0]) == "x: FLOAT[N, 3, ?]"


def test_a_snapshot_does_not_follow_the_model():
    changing = model()
    before = Interface.of(changing)
    changing.graph.inputs[0].name = "renamed"
    changing.metadata_props.clear()
    assert before == Interface.of(model())


def test_equal_interfaces_pass():
    require_same(Interface.of(model()), Interface.of(model()))


def rename_input(m):
    m.graph.inputs[0].name = "q"


def swap_outputs(m):
    m.graph.outputs.append(m.graph.outputs.pop(0))


def fix_shape(m):
    m.graph.inputs[0].shape = ir.Shape([1, 3, None])


def change_type(m):
    m.graph.outputs[1].type = ir.TensorType(ir.DataType.INT32)


def drop_metadata(m):
    m.metadata_props.clear()


def drop_doc(m):
    m.doc_string = None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_input, "input 'x' is gone; input 'q' is new"),
        (swap_outputs, "outputs were ordered y, j and are j, y"),
        (fix_shape, r"input was x: FLOAT\[N, 3, \?\] and is x: FLOAT\[1, 3, \?\]"),
        (change_type, r"output was j: INT64\[2\] and is j: INT32\[2\]"),
        (drop_metadata, "metadata 'k' was 'v' and is None"),
        (drop_doc, "the doc string differs"),
    ],
)
def test_every_difference_is_told(change, message):
    changed = model()
    change(changed)
    with pytest.raises(ModelError, match=message) as caught:
        require_same(Interface.of(model()), Interface.of(changed), stage="fold")
    assert caught.value.where == "fold"


def test_an_unknown_rank_differs_from_a_scalar():
    scalar, unknown = Port("x", "FLOAT", ()), Port("x", "FLOAT", None)
    one, two = (Interface((port,), (), (), "") for port in (scalar, unknown))
    assert len(list(differences(one, two))) == 1


def writing(shape):
    return Interface((), (Port("y", "FLOAT", shape),), (), "")


@pytest.mark.parametrize("other", [(1, 12), (1, 10, 1), (2, None)])
def test_outputs_of_other_declared_sizes_are_refused(other):
    with pytest.raises(ModelError, match=r"output 'y' has other sizes.*y: FLOAT\[1, 10\]"):
        require_same_sizes(writing((1, 10)), writing(other))


@pytest.mark.parametrize("other", [(1, 10), (None, 10), ("N", "M"), None])
def test_sizes_that_are_not_declared_are_nothing_to_refuse(other):
    require_same_sizes(writing((1, 10)), writing(other))
    require_same_sizes(writing(other), writing((1, 10)))
