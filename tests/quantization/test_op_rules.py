"""Every operator rule, run: the quantized model loads, is close to float, and is as was planned."""

from functools import cache

import graphs
import numpy as np
import pytest
from graphs import OPTIMIZED, UNOPTIMIZED
from op_cases import CASES

from edgeq.graph.interface import Interface
from edgeq.graph.walk import nodes
from edgeq.ops import RULES, Role, rule_for
from edgeq.quantization.plan import NodeForm
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU


@cache
def done(case):
    model = case.model()
    recipe = Recipe(include=("op",)) if case.costly else Recipe()
    return graphs.quantize(model, case.samples(model), recipe)


def cases(form):
    return pytest.mark.parametrize("case", [c for c in CASES if c.form is form], ids=str)


def op_node(quantized):
    return next(node for node in nodes(quantized.model) if node.name == "op")


def producers(values):
    made = [value.producer() for value in values]
    return {node.op_type for node in made if node is not None}


def readers(values):
    return {use.node.op_type for value in values for use in value.uses()}


def test_every_rule_has_a_case():
    assert {case.op for case in CASES} == {rule.op_type for rule in RULES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_quantized_model_is_close_to_float_optimized_or_not(case):
    optimized, plain = done(case).sqnr(OPTIMIZED), done(case).sqnr(UNOPTIMIZED)
    assert min(optimized, plain) > case.floor
    assert optimized == pytest.approx(plain, abs=1.0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_interface_stays(case):
    assert Interface.of(done(case).model) == Interface.of(done(case).original)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_node_runs_in_the_form_the_target_wants(case):
    assert done(case).form("op") is case.form
    assert (case.reason or "") in done(case).reason("op")


@cases(NodeForm.STATIC)
def test_a_static_node_reads_dequantized_values_and_writes_quantized_ones(case):
    node = op_node(done(case))
    rule, row = rule_for(node), CPU.kernel(node.op_type)
    read = [v for i, v in enumerate(node.inputs) if v is not None and rule.role(i) != Role.SKIP]
    assert producers(read) == {"DequantizeLinear"}
    assert all(value.producer() is not None for value in read)
    written = node.outputs if rule.outputs < 0 else node.outputs[: rule.outputs]
    if row.needs_quantized_output:
        assert all(readers([value]) == {"QuantizeLinear"} for value in written)


@cases(NodeForm.FLOAT)
def test_a_float_node_is_as_it_was(case):
    before = next(node for node in nodes(done(case).original) if node.name == "op")
    assert before.attributes.keys() == op_node(done(case)).attributes.keys()
    assert readers(op_node(done(case)).outputs) <= {"QuantizeLinear"}


@cases(NodeForm.ABSORBED)
def test_an_absorbed_node_is_gone(case):
    assert case.op not in {node.op_type for node in nodes(done(case).model)}


@cases(NodeForm.DYNAMIC)
def test_a_dynamic_node_quantizes_its_own_input(case):
    made = {node.op_type for node in nodes(done(case).model)}
    assert made & {"DynamicQuantizeLinear", "DynamicQuantizeLSTM"}
    assert not made & {"QuantizeLinear", "DequantizeLinear", case.op}


@pytest.mark.parametrize("case", [case for case in CASES if case.costly], ids=str)
def test_costly_kernels_are_used_on_request_only(case):
    quantized = graphs.quantize(case.model(), case.samples(case.model(), 2))
    assert quantized.form("op") is NodeForm.FLOAT
    assert quantized.reason("op")


@pytest.mark.parametrize("case", [case for case in CASES if case.reason is None], ids=str)
def test_excluded_nodes_stay_float_and_say_why(case):
    model = case.model()
    recipe = Recipe(include=("op",), exclude=(case.op,))
    quantized = graphs.quantize(model, case.samples(model, 2), recipe)
    assert quantized.form("op") is NodeForm.FLOAT
    assert quantized.reason("op") == "excluded by the recipe"
    assert op_node(quantized).op_type == case.op


def test_a_resize_that_extrapolates_with_a_number_stays_float():
    model = graphs.build(
        """n (float[1,4,4,4] x) => (float[1,4,6,6] z) {
          [first] a = Conv(x, w)
          [grow] b = Resize<mode="nearest", coordinate_transformation_mode="tf_crop_and_resize",
                            extrapolation_value=5.0>(a, roi, , sizes)
          [second] z = Conv(b, w)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
        roi=np.float32([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5]),
        sizes=np.int64([1, 4, 6, 6]),
    )
    found = graphs.quantize(model)
    assert found.form("grow") is NodeForm.FLOAT
    assert found.sqnr() > 30


def test_argmax_is_no_reason_to_round_the_scores_it_compares():
    model = graphs.build(
        """n (float[4,16] x) => (int64[4,1] z) {
          [first] a = Gemm(x, w)
          [best] z = ArgMax<axis=1>(a)
        }""",
        w=graphs.numbers(0, 16, 32),
    )
    found = graphs.quantize(model)
    assert found.form("best") is NodeForm.FLOAT
    assert "a_quantized" not in {value.name for node in found.model.graph for value in node.outputs}


def test_a_constant_mask_of_infinities_stays_float():
    model = graphs.build(
        """n (float[1,4,4,4] x) => (float[1,4,4,4] z) {
          [first] a = Conv(x, w)
          [mask] b = Add(a, hole)
          [pool] c = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(b)
          [second] z = Conv(c, w)
        }""",
        w=graphs.numbers(0, 4, 4, 1, 1),
        hole=np.where(np.arange(16) == 5, -np.inf, 0).astype(np.float32).reshape(1, 1, 4, 4),
    )
    found = graphs.quantize(model)
    assert "NaN or Inf" in found.reason("mask")
    assert found.form("first") is NodeForm.STATIC
    assert found.sqnr() > 25


def test_more_products_than_an_int32_accumulator_holds_stay_float():
    model = graphs.build(
        "n (float[1,70000] x) => (float[1,2] z) { [wide] z = MatMul(x, w) }",
        w=np.ones((70000, 2), np.float32),
    )
    assert "overflow the int32 accumulator" in graphs.quantize(model).reason("wide")
