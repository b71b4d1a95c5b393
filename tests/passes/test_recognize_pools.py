import numpy as np
import onnx_ir as ir
import pytest
from pass_graphs import apply, model, numbers, ops

from edgeq.passes.recognize_pools import recognize_pools


def reduced(op="ReduceMean", axes="axes=[2,3]", *, shape="[N,3,8,W]", opset=13, keep=1):
    out = "[?,?,?,?]" if keep else "[?,?]"
    text = f"""
g (float{shape} x, float[3,3,1,1] w) => (float{out} y) {{
  c = Conv(x, w)
  r = Relu(c)
  y = {op}<{axes}, keepdims={keep}>(r)
}}
"""
    return model(text, opset, w=numbers(3, 3, 1, 1))


@pytest.mark.parametrize(
    ("op", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")]
)
@pytest.mark.parametrize("axes", ["axes=[2,3]", "axes=[3,2]", "axes=[-1,-2]"])
@pytest.mark.parametrize("opset", [9, 13])
def test_all_positions(op, pool, axes, opset):
    assert ops(apply(recognize_pools, reduced(op, axes, opset=opset))[0])[2:] == [pool]


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_other_ranks_and_axes_as_an_input(rank):
    size, ones = ",".join("5" * (rank - 2)), ",".join("1" * (rank - 2))
    text = f"""
g (float[N,3,{size}] x, float[3,3,{ones}] w, int64[{rank - 2}] a) => (float[N,3,{ones}] y) {{
  c = Conv(x, w)
  s = Sigmoid(c)
  m = Mul(c, s)
  y = ReduceMean(m, a)
}}
"""
    found = model(text, 18, a=np.arange(2, rank), w=numbers(3, 3, *(1,) * (rank - 2)))
    assert ops(apply(recognize_pools, found)[0])[3:] == ["GlobalAveragePool"]


def test_what_no_convolution_computes_stays():
    text = "g (float[N,3,8,8] x) => (float[N,3,1,1] y) { y = ReduceMean<axes=[2,3]>(x) }"
    assert apply(recognize_pools, model(text, 13))[1].changes == 0


@pytest.mark.parametrize("axes", ["axes=[1,2]", "axes=[2]", "axes=[1,2,3]"])
def test_other_axes_stay(axes):
    assert apply(recognize_pools, reduced(axes=axes))[1].changes == 0


def test_what_loses_its_axes_stays():
    assert apply(recognize_pools, reduced(keep=0))[1].changes == 0


@pytest.mark.parametrize("attributes", ["", "<noop_with_empty_axes=1>"])
@pytest.mark.parametrize("axes", ["", ", a"])
def test_reductions_of_everything_nothing_or_computed_axes_stay(attributes, axes):
    text = f"""
g (float[2,3,4,5] x, float[3,3,1,1] w, int64[2] a) => (float[?,?,?,?] y) {{
  c = Conv(x, w)
  y = ReduceMean{attributes}(c{axes})
}}
"""
    found = model(text, 18, w=numbers(3, 3, 1, 1))
    assert apply(recognize_pools, found, runs=not axes)[1].changes == 0


def test_unknown_ranks_and_other_types_stay():
    found = reduced(shape="[2,3,4,5]")
    found.graph[1].outputs[0].shape = None
    assert apply(recognize_pools, found, runs=False)[1].changes == 0
    found = reduced(shape="[2,3,4,5]")
    found.graph[1].outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    assert apply(recognize_pools, found, runs=False)[1].changes == 0
