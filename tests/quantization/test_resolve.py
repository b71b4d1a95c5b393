"""Specs and ranges become numbers: shared, fixed, derived, absorbed."""

import graphs
import numpy as np
import pytest

from edgeq.errors import CalibrationError
from edgeq.quantization.annotate import annotate
from edgeq.quantization.resolve import resolve
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.types import EdgeRef, TensorRange, ValueRef

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1, scale=0.5)


def planned(model, recipe=None, **ranges):
    annotations = annotate(model, CPU, recipe or Recipe())
    wanted = {ref.name: TensorRange(-1.0, 1.0) for ref in annotations.observed()}
    wanted |= {name: TensorRange(*bounds) for name, bounds in ranges.items()}
    return resolve(model, annotations, wanted)


def activation(plan, name):
    return next(entry.params for entry in plan.activations if entry.value == ValueRef(name))


def weight(plan, node, index):
    return next(entry.params for entry in plan.weights if entry.edge == EdgeRef(node, index))


def test_a_bias_is_stored_at_the_product_of_the_scales():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w, b) }}", w=W, b=graphs.numbers(2, 3))
    plan = planned(model, x=(-2.0, 3.0))
    product = activation(plan, "x").scale * weight(plan, "c", 1).scale
    np.testing.assert_array_equal(weight(plan, "c", 2).scale, product)
    assert weight(plan, "c", 2).axis == 0


def test_a_bias_that_would_overflow_raises_the_scale_of_its_channel_only():
    tiny = W.copy()
    tiny[1] = 1e-12
    bias = np.array([0.1, 50.0, 0.1], np.float32)
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w, b) }}", w=tiny, b=bias)
    found = graphs.quantize(model)
    scales = weight(found.plan, "c", 1).scale
    np.testing.assert_allclose(scales[[0, 2]], np.abs(W[[0, 2]]).max(axis=(1, 2, 3)) / 127)
    assert scales[1] > 1e-12
    assert found.sqnr() > 30


def test_ops_that_move_elements_share_the_numbers_of_their_input():
    text = (
        f"{IO} {{ [c] y = Conv(x, w) [t] u = Transpose<perm=[0,1,3,2]>(y)"
        " [p] v = MaxPool<kernel_shape=[1,1]>(u) [d] z = Conv(v, w) }"
    )
    plan = planned(graphs.build(text, w=W), y=(-0.5, 2.5))
    assert activation(plan, "u").same(activation(plan, "y"))
    assert activation(plan, "v").same(activation(plan, "y"))


def test_sigmoid_gets_the_range_of_its_definition():
    text = f"{IO} {{ [c] y = Conv(x, w) [s] u = Sigmoid(y) [d] z = Conv(u, w) }}"
    plan = planned(graphs.build(text, w=W), Recipe(include=("Sigmoid",)))
    assert float(activation(plan, "u").scale) == pytest.approx(1 / 255)
    assert int(activation(plan, "u").zero_point) == 0


def test_weights_get_one_scale_a_channel_and_constants_one_scale():
    text = f"{IO} {{ [c] y = Conv(x, w) [a] u = Add(y, k) [d] z = Conv(u, w) }}"
    plan = planned(graphs.build(text, w=W, k=graphs.numbers(3, 1, 3, 1, 1)))
    assert weight(plan, "c", 1).axis == 0
    assert weight(plan, "a", 1).axis is None


@pytest.mark.parametrize(("trans", "axis"), [(0, 1), (1, 0)])
def test_the_channels_of_a_gemm_lie_where_trans_b_says(trans, axis):
    text = f"n (float[2,3] x) => (float[2,3] z) {{ [g] z = Gemm<transB={trans}>(x, w) }}"
    plan = planned(graphs.build(text, w=graphs.numbers(1, 3, 3)))
    (entry,) = plan.dynamic["g"]
    assert entry.params.axis == axis


def test_a_missing_range_names_the_value():
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    with pytest.raises(CalibrationError, match="value x: calibration never saw it"):
        resolve(model, annotate(model, CPU, Recipe()), {"z": TensorRange(0.0, 1.0)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("broken", ["w", "b"])
def test_weights_that_are_no_numbers_name_the_node_and_the_constant(broken, bad):
    constants = {"w": W.copy(), "b": graphs.numbers(2, 3)}
    constants[broken].flat[0] = bad
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w, b) }}", **constants)
    with pytest.raises(CalibrationError, match=f"node c: its constant '{broken}' holds NaN or Inf"):
        planned(model)


def clipped(low, high):
    text = f"{IO} {{ [c] y = Conv(x, w) [k] u = Clip(y, lo, hi) [d] z = Conv(u, w) }}"
    return graphs.build(text, w=W, lo=np.float32(low), hi=np.float32(high))


def test_a_range_beyond_an_absorbed_clip_is_a_defect_that_is_told():
    with pytest.raises(CalibrationError, match="value u: the range chosen for it reaches beyond"):
        planned(clipped(0.0, 6.0), u=(0.0, 9.0))


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (0.0, 0.25), (-0.5, 0.5), (-1e-6, 0.0)])
def test_a_clip_that_all_samples_made_zero_is_still_expressed(bounds):
    params = activation(planned(clipped(*bounds), u=(0.0, 0.0)), "u")
    low, high = (float(params.scale) * (q - int(params.zero_point)) for q in (0, 255))
    half = float(params.scale) * 0.51
    assert bounds[0] - half <= low <= high <= bounds[1] + half


def test_a_relu_that_all_samples_made_zero_quantizes():
    text = f"{IO} {{ [c] y = Conv(x, w, b) [r] u = Relu(y) [d] z = Conv(u, w, b) }}"
    model = graphs.build(text, w=W, b=np.full(3, -99.0, np.float32))
    assert graphs.quantize(model).sqnr() > 40
