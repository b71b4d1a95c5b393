"""Models that are turned down, with a way out."""

import graphs
import models
import numpy as np
import pytest

from edgeq.errors import UnsupportedError
from edgeq.graph import loader
from edgeq.quantization.annotate import annotate
from edgeq.quantization.refusal import refuse_quantized, refuse_unreachable
from edgeq.recipe import Recipe
from edgeq.targets.cpu import CPU


def refuse(model, recipe=None):
    decisions = annotate(model, CPU, recipe or Recipe()).decisions
    refuse_unreachable(model, decisions, CPU)


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


def test_a_model_reached_partly_goes_on():
    refuse(loader.load(models.mlp()).model, Recipe(exclude=("first",)))
