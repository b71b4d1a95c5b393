import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import parser

from edgeq.errors import UnsupportedError
from edgeq.graph.check import check
from edgeq.graph.interface import Interface, require_same
from edgeq.graph.loader import load
from edgeq.graph.naming import graphs
from edgeq.graph.opset import default_opset, upgrade
from edgeq.graph.saver import to_bytes

IMAGE = "float[1,2,5,5] x"
CASES = [
    (7, IMAGE, 'y = Upsample<scales=[1.0,1.0,2.0,2.0], mode="nearest">(x)'),
    (7, IMAGE, 'y = Upsample<scales=[1.0,1.0,2.5,1.7], mode="linear">(x)'),
    (9, IMAGE, 's = Constant<value=float[4]{1,1,2.3,1.7}>() y = Upsample<mode="nearest">(x, s)'),
    (10, IMAGE, 's = Constant<value=float[4]{1,1,2.3,1.7}>() y = Resize<mode="nearest">(x, s)'),
    (10, IMAGE, 's = Constant<value=float[4]{1,1,2.3,1.7}>() y = Resize<mode="linear">(x, s)'),
    (10, IMAGE, 's = Constant<value=float[4]{1,1,0.4,0.7}>() y = Resize<mode="nearest">(x, s)'),
    (10, IMAGE, 's = Constant<value=float[4]{1,1,0.4,0.7}>() y = Resize<mode="linear">(x, s)'),
    (9, "float[1,3,1,4] x", "a = Squeeze<axes=[0,2]>(x) y = Unsqueeze<axes=[1]>(a)"),
    (11, "float[2,3,4] x", "y = Softmax(x)"),
    (11, "float[2,3,4] x", "y = Softmax<axis=-1>(x)"),
    (11, "float[2,3] x", "y = Softmax(x)"),
    (11, "float[A,B,C] x", "y = LogSoftmax<axis=0>(x)"),
    (11, "float[2,3,4] x", "y = Hardmax(x)"),
    (9, "float[2,3] x", "y = Clip<min=-0.5, max=0.5>(x)"),
    (9, "float[2,3] x", "y = Clip<max=0.5>(x)"),
    (9, "float16[2,3] x", "y = Clip<min=-0.5, max=0.5>(x)"),
    (9, "float[2,3] x", "y = Pad<pads=[0,1,2,0], value=1.5>(x)"),
    (9, "float16[2,3] x", "y = Pad<pads=[0,1,2,0], value=1.5>(x)"),
    (9, "float[2,3] x", 'y = Pad<pads=[0,1,1,0], mode="reflect">(x)'),
    (7, "float[2,3] x", "y = Dropout<ratio=0.5>(x)"),
    (7, "float[2,3,4,4] x", "s = Constant<value=float[3]{1,2,3}>() "
     "y = BatchNormalization<spatial=1>(x, s, s, s, s)"),
    (9, "float[2,3,4,4] x", "y = ReduceSum<axes=[1,2], keepdims=0>(x)"),
    (11, "float[2,3,4,4] x", "y = ReduceMean<axes=[1]>(x)"),
    (9, "float[2,4] x", "y, z = Split<axis=1>(x)"),
    (11, "float[2,4] x", "y, z = Split<axis=1, split=[1,3]>(x)"),
    (9, "float[4,5] x", "y = Slice<starts=[1,0], ends=[3,-1], axes=[0,1]>(x)"),
    (9, "float[4,5] x", "y, z = TopK<axis=1, k=2>(x)"),
    (8, "float[3,2,4] x, float[1,12,4] w, float[1,12,3] r", "a, y = LSTM<hidden_size=3>(x, w, r)"),
    (11, "float[1,3] x", "c = Constant<value=bool{1}>() y = If(c) <then_branch = t () => "
     "(float[1,3] q) { s = Squeeze<axes=[0]>(x) q = Unsqueeze<axes=[0]>(s) }, else_branch = e () "
     "=> (float[1,3] q) { s = Softmax<axis=0>(x) q = Clip(s) }>"),
    (10, "float[1,3] x", "m = Constant<value=int64{3}>() c = Constant<value=bool{1}>() "
     "y = Loop(m, c, x) <body = b (int64 i, bool c2, float[1,3] s) => (bool c3, float[1,3] o) "
     "{ c3 = Identity(c2) d = Squeeze<axes=[0]>(s) e = Clip<min=0.0>(d) o = Unsqueeze<axes=[0]>(e) "
     "}>"),
]  # fmt: skip


def parsed(opset, inputs, body):
    outputs = "y, z" if "y, z" in body else "y"
    header = (
        f'<ir_version: 7, opset_import: ["": {opset}], doc_string: "d", metadata_props: ["k": "v"]>'
    )
    return parser.parse_model(f"{header} g ({inputs}) => ({outputs}) {{ {body} }}")


def run(data, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds_of(model):
    random = np.random.default_rng(0)
    return {
        value.name: random.standard_normal(
            [d if isinstance(d, int) else 3 for d in value.shape]
        ).astype(value.dtype.numpy())
        for value in model.graph.inputs
    }


@pytest.mark.parametrize("target", [13, 21])
@pytest.mark.parametrize(("opset", "inputs", "body"), CASES)
def test_outputs_stay_equal(opset, inputs, body, target):
    model = load(parsed(opset, inputs, body)).model
    before = to_bytes(model)
    raised = upgrade(model, target)
    assert default_opset(raised) == target
    assert to_bytes(model) == before
    require_same(Interface.of(model), Interface.of(raised))
    check(raised)
    feeds = feeds_of(model)
    for expected, found in zip(run(before, feeds), run(to_bytes(raised), feeds), strict=True):
        assert np.array_equal(expected, found)


def test_a_model_new_enough_is_returned_as_it_is():
    model = load(parsed(13, "float[2] x", "y = Relu(x)")).model
    assert upgrade(model, 13) is model
    assert upgrade(model, 11) is model


@pytest.mark.parametrize(("target", "ir_version"), [(9, 7), (13, 7), (15, 8), (19, 9), (21, 10)])
def test_the_ir_version_follows_the_opset(target, ir_version):
    assert (
        upgrade(load(parsed(7, "float[2] x", "y = Relu(x)")).model, target).ir_version == ir_version
    )


def test_the_ir_version_is_never_lowered():
    model = load(parsed(11, "float[2] x", "y = Relu(x)")).model
    model.ir_version = 12
    assert upgrade(model, 13).ir_version == 12


def test_only_what_changed_its_form_is_touched():
    model = load(parsed(11, "float[2,3,4] x", "a = Relu(x) y = Softmax<axis=1>(a)")).model
    model.graph[1].name, model.graph[1].doc_string = "attention", "why"
    raised = upgrade(model, 13)
    assert [n.op_type for n in raised.graph] == ["Relu", "Flatten", "Softmax", "Shape", "Reshape"]
    assert raised.graph[2].name == "attention"
    assert len({n.name for n in raised.graph}) == 5


def test_softmax_on_the_last_axis_stays_one_node():
    model = load(parsed(11, "float[2,3] x", "a = Exp(x) y = Softmax(a)")).model
    raised = upgrade(model, 13)
    assert [n.op_type for n in raised.graph] == ["Exp", "Softmax"]
    assert raised.graph[1].attributes["axis"].as_int() == -1


def test_names_stay_unique_in_sibling_bodies():
    opset, inputs, body = next(case for case in CASES if "If(c)" in case[2])
    raised = upgrade(load(parsed(opset, inputs, body)).model, 13)
    nodes = [n.name for g in graphs(raised) for n in g]
    assert len(set(nodes)) == len(nodes)


def test_weights_are_shared_not_copied(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(parsed(11, "float[2,3] x", "y = Softmax(x)").SerializeToString())
    model = load(path).model
    with (tmp_path / "w").open("wb") as file:
        file.truncate(2_300_000_000)
    tensor = ir.ExternalTensor(
        "w",
        0,
        2_300_000_000,
        ir.DataType.UINT8,
        shape=ir.Shape([2_300_000_000]),
        name="w",
        base_dir=tmp_path,
    )
    weight = ir.Value(
        name="w", const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
    )
    model.graph.register_initializer(weight)
    raised = upgrade(model, 13)
    assert raised.graph.initializers["w"].const_value is tensor
    check(raised)


def test_a_model_without_default_operators_gets_the_opset():
    model = load(
        parser.parse_model(
            '<ir_version: 7, opset_import: ["other": 1]> g (float[2] x) => (float[2] y)'
            "{ y = other.Op(x) }"
        )
    ).model
    assert default_opset(model) == 0
    assert default_opset(upgrade(model, 13)) == 13


def test_functions_are_raised_too():
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 11, "local": 1]> g (float[1,3] x) => (float[1,3] y)'
        "{ y = local.f(x) }"
        '<domain: "local", opset_import: ["": 11]> f (a) => (b)'
        "{ s = Squeeze<axes=[0]>(a) b = Unsqueeze<axes=[0]>(s) }"
    )
    loaded = load(model).model
    raised = upgrade(loaded, 13)
    function = next(iter(raised.functions.values()))
    assert function.opset_imports[""] == 13
    feeds = feeds_of(loaded)
    assert np.array_equal(run(to_bytes(loaded), feeds)[0], run(to_bytes(raised), feeds)[0])


@pytest.mark.parametrize(
    ("opset", "target", "inputs", "body", "message"),
    [
        (18, 21, "float[1,4,2,2] x, float[2] s", "y = GroupNormalization<num_groups=2>(x, s, s)",
         "per channel"),
        (10, 13, IMAGE, 's = Constant<value=float[4]{1,1,0.4,2.0}>() y = Resize(x, s)',
         "grows one axis"),
        (9, 15, "float[1,2,2,2] x, float[2] s",
         "a = Relu(x) y, m, v, p, q = BatchNormalization(a, s, s, s, s)", "outputs 4 and 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named(opset, target, inputs, body, message):
    model = load(parsed(opset, inputs, body)).model
    culprit = model.graph[-1]
    with pytest.raises(UnsupportedError, match=message) as caught:
        upgrade(model, target)
    assert caught.value.where == culprit.name
    assert caught.value.remedy


@pytest.mark.parametrize("minimum", [6, 22])
def test_the_range_of_opsets(minimum):
    with pytest.raises(ValueError, match="not between"):
        upgrade(load(parsed(13, "float[2] x", "y = Relu(x)")).model, minimum)


def test_the_stock_converter_still_forgets_how_resize_was():
    """Why modes are set by hand; when this fails, onnx has been repaired."""
    stock = onnx.version_converter.convert_version(parsed(*CASES[3]), 13)
    resize = next(n for n in stock.graph.node if n.op_type == "Resize")
    assert "coordinate_transformation_mode" not in {a.name for a in resize.attribute}
