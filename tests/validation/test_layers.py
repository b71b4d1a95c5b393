"""Closeness layer by layer."""

import graphs
import models
import numpy as np

from edgeq.graph import loader
from edgeq.validation.sensitivity import measure_sensitivity

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def layers(model, samples=None):
    found = graphs.quantize(model, samples, target=graphs.UNPADDED)
    return measure_sensitivity(model, found.model, found.samples).layers


def test_layers_come_in_the_order_of_the_graph_with_growing_error():
    text = f"{IO} {{ [c] y = Conv(x, w) [d] p = Conv(y, w) [e] z = Conv(p, w) }}"
    found = layers(graphs.build(text, w=W))
    assert [(layer.name, layer.op_type) for layer in found] == [(n, "Conv") for n in "cde"]
    assert all(20 < layer.sqnr_db < 60 for layer in found)


def test_a_layer_whose_relu_was_absorbed_is_compared_behind_it():
    text = f"{IO} {{ [c] y = Conv(x, w) [r] p = Relu(y) [e] z = Conv(p, w) }}"
    assert [layer.sqnr_db > 25 for layer in layers(graphs.build(text, w=W))] == [True, True]


def test_outputs_of_the_model_are_compared_as_it_gives_them():
    (layer,) = layers(graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W))
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=W)
    assert abs(layer.sqnr_db - graphs.quantize(model, target=graphs.UNPADDED).sqnr()) < 0.1


def test_dynamic_layers_are_compared_too():
    found = layers(loader.load(models.mlp()).model, models.rows(4))
    assert [layer.name for layer in found] == ["first", "second"]
    assert all(layer.sqnr_db > 30 for layer in found)


def test_layers_in_branches_are_compared_where_they_run():
    model = loader.load(models.branches()).model
    samples = [{**row, "wide": np.array(True)} for row in models.rows(4)]
    found = {layer.name: layer.sqnr_db for layer in layers(model, samples)}
    assert 30 < found["wide_product"] < 100
