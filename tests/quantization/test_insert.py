"""The quantized graph, as text: where pairs stand, what is forked, what keeps its name."""

import golden_cases
import graphs
import numpy as np
import onnx_ir as ir
import pytest
from golden_cases import samples
from graphs import OPTIMIZED, UNOPTIMIZED, UNPADDED

from edgeq.errors import ModelError
from edgeq.graph import check
from edgeq.graph.interface import Interface
from edgeq.quantization.insert import insert
from edgeq.quantization.plan import ActivationEntry, QuantPlan, WeightEntry
from edgeq.targets.cpu import CPU
from edgeq.types import EdgeRef, QuantParams, QuantType, ValueRef

GOLDEN = {
    "shared_weight": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    b_dequantized_1 = DequantizeLinear(b_quantized_1)
    b_dequantized = DequantizeLinear(b_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized, b_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    z__z_dequantized = Conv(y_dequantized, w_dequantized, b_dequantized_1)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "mixed_readers": """
    w_dequantized = DequantizeLinear(w_quantized)
    y = Exp(x)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    z__z_dequantized = Conv(y_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    e = Sin(y)
    """,
    "integer_value_read_in_float": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    z = Sin(y_dequantized)
    """,
    "twice_in_add": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    s = Add(y_dequantized, y_dequantized)
    s_quantized = QuantizeLinear(s)
    s_dequantized = DequantizeLinear(s_quantized)
    z__z_dequantized = Conv(s_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "constant_node": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    w = Constant()
    z__z_dequantized = Conv(x_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "clashing_names": """
    in/put:0 [é]_quantized = QuantizeLinear(in/put:0 [é])
    in/put:0 [é]_dequantized = DequantizeLinear(in/put:0 [é]_quantized)
    w_dequantized_1 = DequantizeLinear(w_quantized)
    x_quantized__x_quantized_dequantized = Conv(in/put:0 [é]_dequantized, w_dequantized_1)
    x_quantized_quantized = QuantizeLinear(x_quantized__x_quantized_dequantized)
    x_quantized = DequantizeLinear(x_quantized_quantized)
    w_dequantized__w_dequantized_dequantized = Conv(in/put:0 [é]_dequantized, w_dequantized_1)
    w_dequantized_quantized = QuantizeLinear(w_dequantized__w_dequantized_dequantized)
    w_dequantized = DequantizeLinear(w_dequantized_quantized)
    """,
    "relu_with_two_sources": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    p = Relu(y_dequantized)
    s = Add(p, y_dequantized)
    s_quantized = QuantizeLinear(s)
    s_dequantized = DequantizeLinear(s_quantized)
    z__z_dequantized = Conv(s_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "relu_then_clip": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    q = Conv(x_dequantized, w_dequantized)
    q_quantized = QuantizeLinear(q)
    q_dequantized = DequantizeLinear(q_quantized)
    z__z_dequantized = Conv(q_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "narrow_clip_then_relu": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    q = Clip(y_dequantized, lo, hi)
    p = Relu(q)
    p_quantized = QuantizeLinear(p)
    p_dequantized = DequantizeLinear(p_quantized)
    z__z_dequantized = Conv(p_dequantized, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "mixed_concat": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    v_dequantized = DequantizeLinear(v_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    s = Sin(x)
    u = Concat(y_dequantized, s)
    u_quantized = QuantizeLinear(u)
    u_dequantized = DequantizeLinear(u_quantized)
    z__z_dequantized = Conv(u_dequantized, v_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "input_read_by_pool_and_conv": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    a__a_dequantized = Conv(x_dequantized, w_dequantized)
    a_quantized = QuantizeLinear(a__a_dequantized)
    a = DequantizeLinear(a_quantized)
    y = MaxPool(x_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    b__b_dequantized = Conv(y_dequantized, w_dequantized)
    b_quantized = QuantizeLinear(b__b_dequantized)
    b = DequantizeLinear(b_quantized)
    """,
    "output_that_is_read_on": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y__y_dequantized = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y__y_dequantized)
    y = DequantizeLinear(y_quantized)
    z__z_dequantized = Conv(y, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "output_behind_relu_that_is_read_on": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    p__p_dequantized = Conv(x_dequantized, w_dequantized)
    p_quantized = QuantizeLinear(p__p_dequantized)
    p = DequantizeLinear(p_quantized)
    z__z_dequantized = Conv(p, w_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    """,
    "split_half_read": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    k_dequantized = DequantizeLinear(k_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    u, v = Split(y_dequantized, parts)
    v_quantized = QuantizeLinear(v)
    v_dequantized = DequantizeLinear(v_quantized)
    u_quantized = QuantizeLinear(u)
    u_dequantized = DequantizeLinear(u_quantized)
    z__z_dequantized = Conv(u_dequantized, k_dequantized)
    z_quantized = QuantizeLinear(z__z_dequantized)
    z = DequantizeLinear(z_quantized)
    t = Sin(v_dequantized)
    """,
    "used_in_a_branch_and_outside": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    o__o_dequantized = Conv(y_dequantized, w_dequantized)
    o_quantized = QuantizeLinear(o__o_dequantized)
    o = DequantizeLinear(o_quantized)
    z = If(c)
      then_branch -> t:
        y_dequantized_1 = DequantizeLinear(y_quantized)
        w_dequantized_1 = DequantizeLinear(w_quantized_1)
        t__t_dequantized = Conv(y_dequantized_1, w_dequantized_1)
        t_quantized = QuantizeLinear(t__t_dequantized)
        t = DequantizeLinear(t_quantized)
      else_branch -> e:
        e = Sin(y_dequantized)
    """,
    "branches_on_the_input": """
    x_quantized = QuantizeLinear(x)
    z = If(c)
      then_branch -> t:
        x_dequantized = DequantizeLinear(x_quantized)
        w_dequantized = DequantizeLinear(w_quantized)
        t__t_dequantized = Conv(x_dequantized, w_dequantized)
        t_quantized = QuantizeLinear(t__t_dequantized)
        t = DequantizeLinear(t_quantized)
      else_branch -> e:
        x_dequantized_1 = DequantizeLinear(x_quantized)
        w_dequantized_1 = DequantizeLinear(w_quantized_1)
        e__e_dequantized = Conv(x_dequantized_1, w_dequantized_1)
        e_quantized = QuantizeLinear(e__e_dequantized)
        e = DequantizeLinear(e_quantized)
    """,
    "loop": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    z = Loop(times, go, y_dequantized)
      body -> more, next:
        more = Identity(on)
        s = Conv(state, w)
        next = Add(s, y_dequantized)
    """,
    "mlp": """
    y_input_quantized, y_input_scale, y_input_zero_point = DynamicQuantizeLinear(x)
    y_product = MatMulInteger(y_input_quantized, w_quantized, y_input_zero_point, w_zero_point)
    y_real = Cast(y_product)
    y_factor = Mul(y_input_scale, w_scale)
    y_scaled = Mul(y_real, y_factor)
    y = Add(y_scaled, b)
    p = Relu(y)
    z_input_quantized, z_input_scale, z_input_zero_point = DynamicQuantizeLinear(p)
    z_product = MatMulInteger(z_input_quantized, w_quantized_1, z_input_zero_point, w_zero_point_1)
    z_real = Cast(z_product)
    z_factor = Mul(z_input_scale, w_scale_1)
    z = Mul(z_real, z_factor)
    """,
    "head_in_integers": """
    x_quantized = QuantizeLinear(x)
    x_dequantized = DequantizeLinear(x_quantized)
    b1_dequantized = DequantizeLinear(b1_quantized)
    w2_dequantized = DequantizeLinear(w2_quantized)
    w1_dequantized = DequantizeLinear(w1_quantized)
    w_dequantized = DequantizeLinear(w_quantized)
    y = Conv(x_dequantized, w_dequantized)
    y_quantized = QuantizeLinear(y)
    y_dequantized = DequantizeLinear(y_quantized)
    f = Flatten(y_dequantized)
    f_quantized = QuantizeLinear(f)
    f_dequantized = DequantizeLinear(f_quantized)
    p = Gemm(f_dequantized, w1_dequantized, b1_dequantized)
    p_quantized = QuantizeLinear(p)
    p_dequantized = DequantizeLinear(p_quantized)
    q = Gemm(p_dequantized, w2_dequantized)
    z = Softmax(q)
    """,
}

UNIT = QuantParams(np.array(1, np.float32), np.array(128), QuantType.UINT8)


def quantized(name, target=CPU):
    model = getattr(golden_cases, name)()
    return graphs.quantize(model, samples(model), target=target)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_graph_is_the_wanted_one(name):
    graphs.same_text(graphs.show(quantized(name, UNPADDED).model), GOLDEN[name])


@pytest.mark.parametrize("name", golden_cases.NAMES)
def test_the_result_is_valid_close_and_has_the_same_interface(name):
    found = quantized(name)
    check.check(found.model)
    assert Interface.of(found.model) == Interface.of(found.original)
    optimized, plain = found.sqnr(OPTIMIZED), found.sqnr(UNOPTIMIZED)
    assert min(optimized, plain) > 25.0
    assert optimized == pytest.approx(plain, abs=0.5)


@pytest.mark.parametrize("name", ["shared_weight", "branches_on_the_input", "mlp"])
def test_the_model_that_was_given_is_left_as_it_was(name):
    model = getattr(golden_cases, name)()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    graphs.quantize(model, samples(model))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_constant_that_is_no_weight_any_more_is_not_stored():
    initializers = quantized("shared_weight").model.graph.initializers
    assert {name for name in initializers if name in ("w", "b")} == set()
    assert initializers["w_quantized"].dtype == ir.DataType.INT8
    assert initializers["b_quantized"].dtype == ir.DataType.INT32


def test_two_outputs_may_name_one_value():
    model = golden_cases.output_that_is_read_on()
    first = model.graph.outputs[0]
    del model.graph.outputs[1]
    model.graph.outputs.append(first)
    found = graphs.quantize(model)
    assert [output.name for output in found.model.graph.outputs] == ["y", "y"]


@pytest.mark.parametrize(
    "plan",
    [
        QuantPlan(activations=(ActivationEntry(ValueRef("nobody"), UNIT, None),)),
        QuantPlan(activations=(ActivationEntry(ValueRef("x"), UNIT, (EdgeRef("nobody", 0),)),)),
        QuantPlan(weights=(WeightEntry(EdgeRef("nobody", 1), UNIT),)),
        QuantPlan(weights=(WeightEntry(EdgeRef("c", 0), UNIT),)),
        QuantPlan(dropped=("nobody",)),
    ],
)
def test_a_plan_for_another_model_is_refused(plan):
    with pytest.raises(ModelError, match=r"nobody|no constant"):
        insert(golden_cases.integer_value_read_in_float(), plan)
