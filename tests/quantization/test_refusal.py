"""Models that are turned down, with a way out."""

import graphs
import models
import numpy as np
import pytest

from edgeq.errors import UnsupportedError
from edgeq.graph import loader
from edgeq.quantization.annotate import annotate
from edgeq.quantization.refusal import other_scheme, refuse_quantized, refuse_unreachable
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU
from edgeq.targets.edge_generic import EDGE_GENERIC


def refuse(model, recipe=None, target=CPU):
    decisions = annotate(model, target, recipe or Recipe()).decisions
    refuse_unreachable(model, decisions, target)


def test_a_quantized_model_is_refused_with_the_operators_that_show_it():
    with pytest.raises(UnsupportedError, match="quantized already") as caught:
        refuse_quantized(loader.load(models.quantized()).model)
    assert "QuantizeLinear" in str(caught.value)
    assert "float model" in caught.value.remedy


def test_what_edgeq_makes_is_refused_too():
    made = graphs.quantize(loader.load(models.mlp()).model, models.rows(4)).model
    with pytest.raises(UnsupportedError, match="MatMulInteger"):
        refuse_quantized(made)


def test_weights_stored_in_integers_are_no_quantized_model():
    text = """n (float[2,4] x) => (float[2,4] z) {
        w = DequantizeLinear(q, s) z = MatMul(x, w) }"""
    model = graphs.build(text, q=np.ones((4, 4), np.int8), s=np.float32(0.1))
    refuse_quantized(model)


def test_a_model_without_compute_is_refused():
    with pytest.raises(UnsupportedError, match="no convolution, matrix product"):
        refuse(loader.load(models.elementwise()).model)


def test_a_model_out_of_reach_names_the_reason_and_another_scheme():
    with pytest.raises(UnsupportedError, match="none of its 2 compute nodes") as caught:
        refuse(loader.load(models.mlp()).model, Recipe(exclude=("MatMul",)))
    assert "excluded by the recipe" in str(caught.value)
    assert "--scheme w8" in caught.value.remedy


def test_a_scheme_is_named_that_reaches_the_model():
    text = "n (float[5,2,3] x) => (float[5,1,2,4] z) { z, h = GRU<hidden_size=4>(x, w, r) }"
    weights = {"w": graphs.numbers(1, 1, 12, 3), "r": graphs.numbers(2, 1, 12, 4)}
    with pytest.raises(UnsupportedError, match="no integer kernel is known for GRU") as caught:
        refuse(graphs.build(text, **weights))
    assert "--scheme fp16" in caught.value.remedy


def test_sizes_to_fix_are_told_with_the_inputs_that_have_them():
    text = """n (float[N,3,H,8] left, float[1,4,1,8] right) => (float[N,4,H,8] z) {
        y = Conv(left, w) z = Add(y, right) }"""
    with pytest.raises(UnsupportedError, match="fixed shapes only") as caught:
        refuse(graphs.build(text, w=graphs.numbers(1, 4, 3, 1, 1)), target=EDGE_GENERIC)
    assert caught.value.remedy.endswith("optimize MODEL --fix-shape left=N,3,N,8")


def test_a_model_reached_partly_goes_on():
    refuse(loader.load(models.mlp()).model, Recipe(exclude=("first",)))


CONV = "n (float[1,2,8] x) => (float[1,4,6] y) { y = Conv(x, k) }"
PRODUCT = "n (float[4,8] x) => (float[4,8] y) { y = MatMul(x, w) }"
PLAIN = "n (float[4,8] x) => (float[4,8] y) { y = Add(x, w) }"
BARE = "n (float[4,8] x) => (float[4,8] y) { y = Relu(x) }"


@pytest.mark.parametrize(
    ("text", "scheme", "told"),
    [
        (CONV, "w4", "--scheme int8 quantizes convolutions, too; --scheme fp16 halves its size"),
        (CONV, "bf16", "--scheme int8 quantizes convolutions, too"),
        (PRODUCT, "int8", "--scheme w8 stores the weights of matrix products in 8 bits"),
        (PLAIN, "dynamic", "--scheme fp16 halves its size"),
        (PLAIN, "fp16", "Leave it as it is: no scheme makes it smaller"),
        (BARE, "w4", "Leave it as it is: no scheme makes it smaller"),
    ],
)
def test_only_schemes_that_reach_a_model_are_advised(text, scheme, told):
    constants = {"k": graphs.numbers(0, 4, 2, 3), "w": graphs.numbers(1, 8, 8)}
    read = {name: data for name, data in constants.items() if f", {name})" in text}
    read = {name: data[:1] if "Add" in text else data for name, data in read.items()}
    assert other_scheme(graphs.build(text, **read), scheme) == told
