"""What `edgeq optimize` made of a model, it leaves as it is."""

from io import BytesIO
from pathlib import Path

import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pass_graphs import listing, model, numbers

from edgeq.graph import loader, walk
from edgeq.passes.pipelines import FINALIZE, OPTIMIZE, PREPARE, run_pipeline
from edgeq.passes.prepare import prepare

LEVIT = """
g (float[1,4,8] x, float[8,8] w, float[8] scale, float[8] shift, float[8] mean,
   float[8] variance, int64[2] flat, int64[3] deep, int64[4] heads) => (float[1,2,4,4] y) {
  p = MatMul(x, w)
  q = Reshape(p, flat)
  r = BatchNormalization(q, scale, shift, mean, variance)
  s = Reshape(r, deep)
  y = Reshape(s, heads)
}
"""

GATHERS = """
g (float[N,5,6] x, int64[1] one, int64[1] also, int64 first) => (float[N,6] y, float[N,6] z) {
  p = Gather<axis=1>(x, one)
  q = Gather<axis=1>(x, also)
  y = Gather<axis=1>(p, first)
  z = Gather<axis=1>(q, first)
}
"""

BIAS = """
g (float[N,6,9,8] x, float[6,6,3,3] a, float[6,6] w, float[6] b) => (float[N,6,9,8] y) {
  p = Conv<pads=[1,1,1,1]>(x, a)
  q = Transpose<perm=[0,2,3,1]>(p)
  r = Gelu(q)
  s = MatMul(r, w)
  t = Add(s, b)
  u = Transpose<perm=[0,3,1,2]>(t)
  v = Add(u, p)
  y = Conv<pads=[1,1,1,1]>(v, a)
}
"""

BRANCHES = """
g (float[N,6,9,8] x, float[6,6,3,3] a, float[6,6,1,1] c, float[6] scale, float[6] shift,
   float[6] mean, float[6] variance, float[1,6,1,1] last) => (float[N,6,9,8] y) {
  h = Relu(x)
  p = Conv<pads=[1,1,1,1]>(h, a)
  q = BatchNormalization(p, scale, shift, mean, variance)
  r = Conv(h, c)
  s = BatchNormalization(r, scale, shift, mean, variance)
  t = BatchNormalization(h, scale, shift, mean, variance)
  u = Sub(q, s)
  v = Add(u, t)
  w = Mul(v, last)
  z = Add(w, h)
  y = HardSigmoid<alpha=0.2>(z)
}
"""

DYNAMIC = """
g (float[N,4,6] x, float[6,6] w, int64[1] open, int64[1] six, int64[1] zero, int64[1] one)
    => (float[?,?] y) {
  p = Shape(x)
  q = Cast<to=6>(p)
  r = Slice(q, zero, one, zero)
  s = Cast<to=7>(r)
  t = Mul(s, open)
  u = Concat<axis=0>(t, six)
  v = Reshape(x, u)
  y = MatMul(v, w)
}
"""

AFFINE = """
g (float[N,6,9,8] x, float[1,6,1,1] a, float[6,1,1] b) => (float[N,6,?,?] y) {
  p = Mul(x, a)
  q = Add(p, b)
  r = MaxPool<kernel_shape=[2,2]>(q)
  s = Mul(a, r)
  t = Sub(s, b)
  u = HardSigmoid<alpha=0.16666667, beta=0.5>(t)
  y = Mul(u, t)
}
"""

NORMALIZATION = {"scale": numbers(6), "shift": numbers(6, seed=1), "mean": numbers(6, seed=2),
                 "variance": numbers(6, seed=3)}  # fmt: skip
KERNELS = {"a": numbers(6, 6, 3, 3), "c": numbers(6, 6, 1, 1, seed=4)}
TEXTS = {
    "levit": (LEVIT, {"w": numbers(8, 8), **{k: numbers(8) for k in NORMALIZATION},
                      "flat": np.array([-1, 8]), "deep": np.array([1, 4, 8]),
                      "heads": np.array([1, 2, 4, 4])}),
    "gathers": (GATHERS, {"one": np.array([1]), "also": np.array([1]), "first": np.array(0)}),
    "bias": (BIAS, {"a": KERNELS["a"], "w": numbers(6, 6), "b": numbers(6)}),
    "branches": (BRANCHES, {**KERNELS, **NORMALIZATION, "last": numbers(1, 6, 1, 1)}),
    "dynamic": (DYNAMIC, {"w": numbers(6, 6), "open": np.array([4]), "six": np.array([6]),
                          "zero": np.array([0]), "one": np.array([1])}),
    "affine": (AFFINE, {"a": numbers(1, 6, 1, 1), "b": numbers(6, 1, 1)}),
}  # fmt: skip


def reloaded(found):
    """A model as it comes back from a file."""
    content = BytesIO()
    onnx.save(ir.to_proto(found), content)
    return loader.load(content.getvalue()).model


def check(found, pipeline):
    first = prepare(found, pipeline=pipeline)
    assert first.proof.holds, first
    assert not first.dropped
    run_pipeline(first.model, FINALIZE)
    again = reloaded(first.model)
    before = listing(again)
    reports = run_pipeline(again, (*pipeline, *FINALIZE))
    assert {r.name: r.changes for r in reports if r.changes} == {}
    assert listing(again) == before
    assert len(walk.computing(again)) == len(walk.computing(first.model))


@pytest.mark.parametrize("pipeline", [OPTIMIZE, PREPARE], ids=["optimize", "prepare"])
@pytest.mark.parametrize("name", TEXTS)
def test_graphs(name, pipeline):
    text, data = TEXTS[name]
    check(model(text, 20, shapes=False, **data), pipeline)


@pytest.mark.parametrize("pipeline", [OPTIMIZE, PREPARE], ids=["optimize", "prepare"])
@pytest.mark.parametrize("build", [models.conv_net, models.mlp, models.branches, models.quantized])
def test_models(build, pipeline):
    check(ir.from_proto(build()), pipeline)


@pytest.mark.parametrize("name", ["digits", "text", "tones"])
def test_sample_models(name):
    path = Path(__file__).parents[2] / "sample_models" / name / "model.onnx"
    check(loader.load(path).model, OPTIMIZE)
