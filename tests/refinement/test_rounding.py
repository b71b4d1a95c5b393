"""Learned rounding: exact integers, smaller errors, and what is left alone."""

import graphs
import numpy as np
import pytest

from edgeq.graph.walk import nodes
from edgeq.quantization import affine
from edgeq.quantization.insert import insert
from edgeq.recipe import Recipe
from edgeq.refinement.rounding import round_weights
from edgeq.runtime.session import Session
from edgeq.types import EdgeRef, QuantParams, QuantType

CHAIN = (
    "n (float[2,4,8,8] x) => (float[2,6] z) {"
    " [a] a = Conv<pads=[1,1,1,1]>(x, w, b) [r] r = Relu(a)"
    " [d] d = Conv<group=8, strides=[2,2]>(r, v, c) [g] g = GlobalAveragePool(d)"
    " [f] f = Flatten(g) [m] z = Gemm(f, u, e) }"
)


def chain():
    return graphs.build(
        CHAIN,
        w=graphs.numbers(0, 8, 4, 3, 3, scale=0.3),
        b=graphs.numbers(1, 8, scale=0.3),
        v=graphs.numbers(2, 8, 1, 3, 3, scale=0.3),
        c=graphs.numbers(3, 8, scale=0.3),
        u=graphs.numbers(4, 8, 6, scale=0.3),
        e=graphs.numbers(5, 6, scale=0.3),
    )


def correlated(model, count=16):
    """Samples whose channels and neighbours go together, as in pictures."""
    generator = np.random.default_rng(0)
    mix = graphs.numbers(1, 4, 4)
    found = []
    for _ in range(count):
        raw = generator.standard_normal((2, 4, 9, 9)).astype(np.float32)
        smooth = raw[..., 1:, 1:] + raw[..., :-1, 1:] + raw[..., 1:, :-1] + raw[..., :-1, :-1]
        found.append({"x": np.einsum("bchw,dc->bdhw", smooth, mix).astype(np.float32)})
    return found


def coarse(plan, bits=4):
    """The plan with weights of fewer bits, on which rounding matters more."""
    steps = (2**7 - 1) / (2 ** (bits - 1) - 1)

    def coarser(entry):
        if entry.params.dtype is not QuantType.INT8:
            return entry
        old = entry.params
        params = QuantParams(
            (old.scale * steps).astype(np.float32), old.zero_point, old.dtype, old.axis
        )
        return type(entry)(entry.edge, params)

    weights = [coarser(entry) for entry in plan.weights]
    dynamic = {name: tuple(map(coarser, entries)) for name, entries in plan.dynamic.items()}
    scales = {entry.edge: entry.params for entry in weights}
    values = {entry.value.name: entry.params.scale for entry in plan.activations}
    inputs = {"a": "x", "d": "r", "m": "f"}
    for position, entry in enumerate(weights):
        if entry.params.dtype is QuantType.INT32:
            node = entry.edge.node
            params = affine.bias_params(values[inputs[node]], scales[EdgeRef(node, 1)])
            weights[position] = type(entry)(entry.edge, params)
    return type(plan)(plan.activations, tuple(weights), dynamic, plan.dropped, plan.decisions)


def stored(model, node):
    """The integers that a node of a quantized model multiplies with."""
    value = next(n for n in nodes(model) if n.name == node).inputs[1]
    producer = value.producer()
    return (value if producer is None else producer.inputs[0]).const_value.numpy()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_quantized_model_gets_closer(bits):
    model = chain()
    samples = correlated(model)
    found = graphs.quantize(model, samples)
    plan = found.plan if bits == 8 else coarse(found.plan, bits)
    rounded = round_weights(model, plan, samples[::2])
    assert {layer.node for layer in rounded.layers} == {"a", "d", "m"}
    assert all(layer.after <= layer.before for layer in rounded.layers)
    before = graphs.closeness(model, insert(model, plan), samples[1::2])
    after = graphs.closeness(model, insert(rounded.model, plan), samples[1::2])
    assert after > before + (2 if bits == 4 else -0.5)


def test_insertion_stores_exactly_the_chosen_integers():
    model = chain()
    samples = correlated(model)
    plan = coarse(graphs.quantize(model, samples).plan)
    rounded = round_weights(model, plan, samples).model
    quantized, plain = insert(rounded, plan), insert(model, plan)
    for node in ("a", "d", "m"):
        params = next(e.params for e in plan.weights if e.edge == EdgeRef(node, 1))
        real = next(n for n in nodes(rounded) if n.name == node).inputs[1].const_value.numpy()
        integers = stored(quantized, node)
        np.testing.assert_array_equal(affine.dequantize(integers, params), real)
        assert np.abs(integers).max() <= np.abs(stored(plain, node)).max()
        assert (integers != stored(plain, node)).any()


def test_a_reduced_range_is_not_left():
    model = chain()
    samples = correlated(model)
    plan = coarse(graphs.quantize(model, samples).plan, bits=7)
    quantized = insert(round_weights(model, plan, samples).model, plan)
    assert max(np.abs(stored(quantized, node)).max() for node in ("a", "d", "m")) == 63


def test_products_that_quantize_while_running_are_rounded_as_well():
    text = "n (float[40,16] x) => (float[40,8] z) { [t] y = Tanh(x) [m] z = MatMul(y, w) }"
    model = graphs.build(text, w=graphs.numbers(0, 16, 8))
    mix = graphs.numbers(3, 16, 16)
    samples = [{"x": sample["x"] @ mix / 4} for sample in graphs.feeds(model, 8)]
    found = graphs.quantize(model, samples)
    assert "m" in found.plan.dynamic
    plan = coarse(found.plan)
    rounded = round_weights(model, plan, samples[::2])
    before = graphs.closeness(model, insert(model, plan), samples[1::2])
    assert graphs.closeness(model, insert(rounded.model, plan), samples[1::2]) > before + 2


def test_shared_weights_float_layers_and_the_given_model_stay():
    text = (
        "n (float[1,3,6,6] x) => (float[1,3,6,6] z) {"
        " [a] a = Conv(x, w) [b] b = Conv(a, w) [c] c = Conv(b, v) [d] z = Conv(c, u) }"
    )
    constants = {name: graphs.numbers(i, 3, 3, 1, 1) for i, name in enumerate("wvu")}
    model = graphs.build(text, **constants)
    found = graphs.quantize(model, recipe=Recipe(exclude=("d",)))
    rounded = round_weights(model, found.plan, found.samples)
    assert [layer.node for layer in rounded.layers] == ["c"]
    assert [node.inputs[1].name for node in rounded.model.graph] == ["w", "w", "v_refined", "u"]
    assert [node.inputs[1].name for node in model.graph] == ["w", "w", "v", "u"]


def test_one_sample_is_enough():
    model = chain()
    samples = correlated(model, 4)
    found = graphs.quantize(model, samples)
    rounded = round_weights(model, found.plan, samples[:1])
    assert Session(insert(rounded.model, found.plan)).run(samples[1])["z"].shape == (2, 6)


def test_biases_stay_on_request():
    model = chain()
    samples = correlated(model)
    found = graphs.quantize(model, samples)
    for wanted, names in (
        (False, ["b", "c", "e"]),
        (True, ["b_refined", "c_refined", "e_refined"]),
    ):
        made = round_weights(model, found.plan, samples, with_biases=wanted).model
        layers = [node for node in made.graph if node.op_type in ("Conv", "Gemm")]
        assert [node.inputs[2].name for node in layers] == names
