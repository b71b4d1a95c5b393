"""From two models to causes."""

import graphs
import models
import numpy as np

from edgeq.graph import loader
from edgeq.validation.diagnosis import _falls_before, diagnose, worst_layers, worst_values
from edgeq.validation.layers import LayerFidelity
from edgeq.validation.sensitivity import ValueFidelity

IO = "n (float[1,3,4,4] x) => (float[1,3,4,4] z)"
W = graphs.numbers(1, 3, 3, 1, 1)


def diagnosed(model, samples=None):
    found = graphs.quantize(model, samples)
    return diagnose(found.original, found.model, found.samples)


def test_channels_that_differ_are_found():
    """The second channel is a thousand times smaller, and the only one that is read."""
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[:, 1:] = W[:, 1:]
    model = graphs.build(f"{IO} {{ [c] z = Conv(x, w) }}", w=weight)
    samples = graphs.feeds(model)
    for sample in samples:
        sample["x"] *= np.array([1000, 1, 1], np.float32).reshape(1, 3, 1, 1)
    found = diagnosed(model, samples)
    (layer,) = found.layers
    assert layer.alone_db < 20
    assert "one range for all channels of x" in layer.cause
    assert "equalization" in layer.remedy
    assert found.parting.name == "c"
    assert found.parting.cause == layer.cause
    value = next(value for value in found.values if value.name == "x")
    assert "one range for all channels of x" in value.cause
    assert "equalization" in value.remedy


def test_models_that_stay_together_do_not_part():
    found = diagnosed(graphs.build(f"{IO} {{ [c] y = Conv(x, w) [e] z = Conv(y, w) }}", w=W))
    assert found.parting is None
    assert [layer.name for layer in found.layers] == ["c", "e"]
    assert [value.name for value in found.values] == ["x", "y", "z"]


def test_an_outlying_row_of_a_dynamic_layer():
    model = loader.load(models.mlp()).model
    samples = [{"x": graphs.numbers(i, 6, 16)} for i in range(4)]
    for sample in samples:
        sample["x"][0] *= 500
        sample["x"][1:] *= 0.2
    found = diagnosed(model, samples)
    causes = {layer.name: layer.cause for layer in found.layers}
    assert not causes["first"] or "row" in causes["first"]


def test_the_worst_by_themselves_come_first_and_close_ones_not_at_all():
    rows = [("a", 30.0), ("b", None), ("c", 10.0), ("d", 60.0)]
    layers = [LayerFidelity(name, "Conv", 5.0, 10.0, alone) for name, alone in rows]
    assert [layer.name for layer in worst_layers(layers)] == ["c", "a"]
    assert [layer.name for layer in worst_layers(layers, 1)] == ["c"]


def test_the_values_that_cost_their_readers_most_come_first_and_cheap_ones_not_at_all():
    rows = [("a", 30.0, 20.0), ("b", 15.0, None), ("c", 45.0, 50.0)]
    values = [ValueFidelity(name, "Conv", own, readers, "r", None) for name, own, readers in rows]
    assert [value.name for value in worst_values(values)] == ["b", "a"]
    assert [value.name for value in worst_values(values, 1)] == ["b"]


def test_a_layer_that_inherits_its_error_names_where_it_arose():
    pairs = (("a", 200.0, 23.0), ("b", 23.0, 22.5), ("c", 22.5, 19.0))
    layers = [LayerFidelity(name, "Conv", now, before, 40.0) for name, before, now in pairs]
    assert _falls_before(layers, layers[2]) == (
        "; quality falls most at a (200 -> 23 dB), b (23 -> 22 dB)"
    )
    assert _falls_before(layers, layers[0]) == ""
