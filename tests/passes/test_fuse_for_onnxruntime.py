import numpy as np
import onnx_ir as ir
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.graph import check
from edgeq.passes import fuse_for_onnxruntime as module
from edgeq.passes.fuse_for_onnxruntime import fuse_for_onnxruntime
from edgeq.passes.pipelines import for_target, names
from edgeq.targets import target_named

SWISH = "g (float[N,4] x, float[4,4] w) => (float[N,4] y) { a = MatMul(x, w) s = Sigmoid(a) "
SWISH += "y = Mul(a, s) }"
NORM = """
g (float[N,4] x, float two, float eps, float[4] w, float[4] b) => (float[N,4] y) {
  m = ReduceMean <axes = [-1]> (x)
  d = Sub(x, m)
  p = Pow(d, two)
  v = ReduceMean <axes = [-1]> (p)
  e = Add(v, eps)
  s = Sqrt(e)
  n = Div(d, s)
  q = Mul(n, w)
  z = Add(q, b)
  t = Sigmoid(z)
  y = Mul(z, t)
}
"""
RMS = """
g (float[N,4] x, float two, float eps, float[4] w) => (float[N,4] y) {
  p = Pow(x, two)
  v = ReduceMean <axes = [-1]> (p)
  e = Add(v, eps)
  s = Sqrt(e)
  n = Div(x, s)
  q = Mul(n, w)
  y = Relu(q)
}
"""


def swish(**more):
    found = model(SWISH, w=numbers(4, 4), **more)
    found.graph.outputs[0].shape = ir.Shape(["N", 4])
    return found


def norm(text, opset):
    constants = {"two": np.float32(2), "eps": np.float32(1e-5), "w": numbers(4)}
    constants |= {"b": numbers(4, seed=1)} if text is NORM else {}
    return model(text, opset, **constants)


def test_operators_of_the_runtime_appear_and_the_interface_stays():
    before = swish()
    before.graph.inputs[0].doc_string = "pixels"
    before.metadata_props["author"] = "somebody"
    after, outcome = apply(fuse_for_onnxruntime, before)
    assert ops(after) == ["MatMul", "QuickGelu"]
    assert outcome.notes
    assert after.opset_imports == {"": 17, "com.microsoft": 1}
    assert after.graph.inputs[0].doc_string == "pixels"
    assert after.metadata_props["author"] == "somebody"
    assert (after.graph.name, after.ir_version) == (before.graph.name, before.ir_version)
    check.check(after)


@pytest.mark.parametrize(("opset", "fused"), [(17, True), (13, False)])
def test_layer_norm_below_its_opset_is_left_to_the_runtime(opset, fused):
    after, outcome = apply(fuse_for_onnxruntime, norm(NORM, opset))
    assert ("LayerNormalization" in ops(after)) is fused
    assert outcome.changes
    check.check(after)


def test_operators_that_onnx_does_not_have_stay_out():
    after, outcome = apply(fuse_for_onnxruntime, norm(RMS, 17))
    assert "SimplifiedLayerNormalization" not in ops(after)
    assert outcome.changes == 0


def test_a_pool_does_not_take_up_the_zeros_in_front_of_it():
    text = """
g (float[1,2,6,6] x, int64[8] p, float[2,2,1,1] w) => (float[1,2,3,3] y) {
  a = Pad(x, p)
  b = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)
  c = Conv(b, w)
  y = Relu(c)
}
"""
    before = model(text, p=np.array([0, 0, 1, 1, 0, 0, 1, 1]), w=-numbers(2, 2, 1, 1))
    found, _ = apply(fuse_for_onnxruntime, before, [{"x": np.full((1, 2, 6, 6), -1, np.float32)}])
    assert ops(found) == ["Pad", "MaxPool", "FusedConv"]


def test_nothing_to_fuse():
    before = model("g (float[4] x) => (float[4] y) { y = Exp(x) }")
    _, outcome = apply(fuse_for_onnxruntime, before)
    assert (outcome.changes, outcome.declined) == (0, ())


@pytest.mark.parametrize(
    "text",
    [
        "g (float[4] x) => (float[4] y) { r = RandomNormalLike(x) y = Add(x, r) }",
        "g (float[4] x, float s, uint8 z) => (float[4] y) { q = QuantizeLinear(x, s, z) "
        "y = DequantizeLinear(q, s, z) }",
    ],
)
def test_models_that_it_leaves_alone(text):
    outcome = fuse_for_onnxruntime(model(text))
    assert not outcome.changes
    assert len(outcome.declined) == 1


def test_large_weights_and_models_that_do_not_load(monkeypatch):
    broken = swish()
    broken.graph[0].op_type = "Nonesuch"
    assert "did not write" in fuse_for_onnxruntime(broken).declined[0]
    monkeypatch.setattr(module, "_LARGEST", 10)
    assert "too large" in fuse_for_onnxruntime(swish()).declined[0]


def test_weights_in_files_are_read(tmp_path):
    before = swish()
    before.graph.initializers["w"].const_value = ir.Tensor(numbers(4, 4), name="w")
    ir.save(before, tmp_path / "m.onnx", external_data="m.data")
    after, _ = apply(fuse_for_onnxruntime, ir.load(tmp_path / "m.onnx"))
    assert ops(after) == ["MatMul", "QuickGelu"]


def test_only_for_targets_that_have_the_operators():
    name = fuse_for_onnxruntime.__name__
    assert name not in names(for_target(None))
    assert names(for_target(target_named("cpu")))[-1] == name


def test_bodies_are_fused_as_well():
    text = """
    g (float[N,4] x, bool wide, float[4,4] w) => (float[N,4] y) {
      y = If (wide) <
        then_branch = one () => (float[N,4] p) { a = MatMul(x, w) s = Sigmoid(a) p = Mul(a, s) },
        else_branch = two () => (float[N,4] q) { q = Relu(x) }
      >
    }
    """
    sample = {"x": numbers(2, 4), "wide": np.array(True)}
    after, _ = apply(fuse_for_onnxruntime, model(text, w=numbers(4, 4)), [sample])
    assert "QuickGelu" in ops(after)
    check.check(after)
